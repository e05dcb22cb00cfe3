//! Handlebars: chooses the structure of user-data from what is known about backend and runner. Values come
//! later, by Terraform's `templatefile`, so nothing here needs quoting.

use std::collections::BTreeMap;

use handlebars::{Handlebars, no_escape};
use serde_json::{Value, json};

use super::Runner;
use crate::provider::UserData;

/// Templates by name: `NAME.hbs` is known as NAME, and each can use the others as partials.
#[derive(Debug, Clone, Default)]
pub struct Templates(BTreeMap<String, String>);

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("there is no template `{name}`; there are {}", .known.join(", "))]
    Missing { name: String, known: Vec<String> },
    #[error("the template `{name}` is not valid")]
    Invalid { name: String, source: Box<handlebars::TemplateError> },
    #[error("the template `{name}` cannot be rendered")]
    Render { name: String, source: Box<handlebars::RenderError> },
}

const EXTENSION: &str = ".hbs";

impl Templates {
    /// From files: only those named `*.hbs` count. Later ones win.
    pub fn new(files: impl IntoIterator<Item = (String, String)>) -> Templates {
        let named = files.into_iter().filter_map(|(file, text)| Some((name(&file)?.to_owned(), text)));
        Templates(named.collect())
    }

    /// These, with others that win over them.
    #[must_use]
    pub fn with(mut self, others: Templates) -> Templates {
        self.0.extend(others.0);
        self
    }

    /// Renders one. Strict: a name that the context lacks is an error, not an empty text.
    pub fn render(&self, template: &str, context: &Value) -> Result<String, TemplateError> {
        let wanted = name(template).unwrap_or(template);
        if !self.0.contains_key(wanted) {
            let known = self.0.keys().cloned().collect();
            return Err(TemplateError::Missing { name: template.to_owned(), known });
        }
        let mut handlebars = Handlebars::new();
        handlebars.set_strict_mode(true);
        handlebars.register_escape_fn(no_escape);
        for (name, text) in &self.0 {
            handlebars
                .register_template_string(name, text)
                .map_err(|source| TemplateError::Invalid { name: name.clone(), source: Box::new(source) })?;
        }
        handlebars
            .render(wanted, context)
            .map_err(|source| TemplateError::Render { name: wanted.to_owned(), source: Box::new(source) })
    }
}

fn name(file: &str) -> Option<&str> {
    file.strip_suffix(EXTENSION)
}

/// What user-data templates can ask for. Everything optional is there as `null`.
pub(super) fn context(user_data: &UserData, runner: &Runner, ssh: bool) -> Value {
    let manifest = serde_json::to_value(user_data).unwrap_or_default();
    let of = |name: &str, otherwise: Value| manifest.get(name).cloned().unwrap_or(otherwise);
    let mode = runner.mode();
    json!({
        "mode": mode,
        "mode_image": mode == "image",
        "mode_build": mode == "build",
        "mode_binary": mode == "binary",
        "package_manager": of("package_manager", json!("apt")),
        "ssh": ssh,
        "spot_watch": of("spot_watch", Value::Null),
        "power_off": of("power_off", json!([])),
        "metadata": of("metadata", Value::Null),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates() -> Templates {
        let files = [
            ("main.sh.hbs", "{{#if metadata}}m {{metadata.url}}{{else}}h{{/if}} '{{x}}' ${v} {{> part}}"),
            ("part.hbs", "[{{x}}]"),
            ("notes.txt", "{{broken"),
        ];
        Templates::new(files.map(|(name, text)| (name.to_owned(), text.to_owned())))
    }

    #[test]
    fn nothing_is_escaped_and_partials_are_found() {
        let context = json!({ "metadata": null, "x": "<&'" });
        assert_eq!(templates().render("main.sh.hbs", &context).unwrap(), "h '<&'' ${v} [<&']");
    }

    #[test]
    fn what_the_context_lacks_is_an_error() {
        let error = templates().render("main.sh.hbs", &json!({ "metadata": null })).unwrap_err();
        assert!(matches!(error, TemplateError::Render { .. }), "{error}");
        let error = templates().render("other.hbs", &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "there is no template `other.hbs`; there are main.sh, part");
        let error =
            Templates::new([("a.hbs".into(), "{{#if".into())]).render("a.hbs", &json!({})).unwrap_err();
        assert!(matches!(error, TemplateError::Invalid { .. }), "{error}");
    }
}
