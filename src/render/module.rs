//! What a Terraform module declares and how it uses it, read from its text.

use std::collections::BTreeMap;

use hcl::{Block, BlockLabel, Body, Expression, Structure};

/// Reads HCL, the language of `.tf` files.
#[derive(Debug, thiserror::Error)]
#[error("`{file}` is not valid: {source}")]
pub struct InvalidModule {
    pub file: String,
    // Boxed: it carries the text around the mistake.
    pub source: Box<hcl::Error>,
}

/// A module's files, with the blocks in them.
#[derive(Debug, Clone, Default)]
pub struct Module {
    files: BTreeMap<String, String>,
    blocks: Vec<Block>,
}

/// A `variable` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub has_default: bool,
    pub sensitive: bool,
}

impl Module {
    /// Reads the `.tf` files of a module; the others are kept out.
    pub fn parse(files: impl IntoIterator<Item = (String, String)>) -> Result<Module, InvalidModule> {
        let mut module = Module::default();
        for (file, text) in files.into_iter().filter(|(name, _)| name.ends_with(".tf")) {
            let body: Body = hcl::parse(&text)
                .map_err(|source| InvalidModule { file: file.clone(), source: Box::new(source) })?;
            let blocks = body.into_iter().filter_map(|structure| match structure {
                Structure::Block(block) => Some(block),
                Structure::Attribute(_) => None,
            });
            module.blocks.extend(blocks);
            module.files.insert(file, text);
        }
        Ok(module)
    }

    /// Texts by file name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    pub fn variables(&self) -> impl Iterator<Item = Variable> {
        self.of_kind("variable").map(|block| Variable {
            name: label(block, 0).to_owned(),
            has_default: attribute(block, "default").is_some(),
            sensitive: attribute(block, "sensitive") == Some(&Expression::Bool(true)),
        })
    }

    pub fn declares(&self, variable: &str) -> bool {
        self.of_kind("variable").any(|block| label(block, 0) == variable)
    }

    pub fn has_output(&self, name: &str) -> bool {
        self.of_kind("output").any(|block| label(block, 0) == name)
    }

    /// Managed resources as `type.name`.
    pub fn resources(&self) -> impl Iterator<Item = String> {
        self.of_kind("resource").map(|block| format!("{}.{}", label(block, 0), label(block, 1)))
    }

    /// Whether there is such a `data` block.
    pub fn has_data(&self, kind: &str, name: &str) -> bool {
        self.of_kind("data").any(|block| label(block, 0) == kind && label(block, 1) == name)
    }

    /// Providers with the version constraint of each, from `required_providers`.
    pub fn required_providers(&self) -> BTreeMap<String, Option<String>> {
        let blocks = self.of_kind("terraform").flat_map(|block| block.body.blocks());
        let entries = blocks
            .filter(|block| block.identifier.as_str() == "required_providers")
            .flat_map(|block| block.body.attributes());
        entries.map(|entry| (entry.key.to_string(), version(&entry.expr))).collect()
    }

    /// Whether some expression reads `reference`, such as `var.tags`: looked for in the text, as a whole word.
    pub fn mentions(&self, reference: &str) -> bool {
        let pattern = format!(r"(^|[^\w.]){}($|[^\w])", regex::escape(reference));
        let pattern = regex::Regex::new(&pattern).expect("an escaped text is a pattern");
        self.files.values().any(|text| pattern.is_match(text))
    }

    /// Whether some object has an entry `name = …`, as the values of a `templatefile` have.
    pub fn passes(&self, name: &str) -> bool {
        let pattern = format!(r#"(?m)(^|[{{,])\s*"?{}"?\s*[=:][^=]"#, regex::escape(name));
        let pattern = regex::Regex::new(&pattern).expect("an escaped text is a pattern");
        self.files.values().any(|text| pattern.is_match(text))
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| block.identifier.as_str() == kind)
    }
}

fn label(block: &Block, index: usize) -> &str {
    block.labels.get(index).map(BlockLabel::as_str).unwrap_or_default()
}

fn attribute<'b>(block: &'b Block, name: &str) -> Option<&'b Expression> {
    block.body.attributes().find(|attribute| attribute.key.as_str() == name).map(|attribute| &attribute.expr)
}

fn version(entry: &Expression) -> Option<String> {
    let Expression::Object(object) = entry else { return None };
    object.iter().find(|(key, _)| key.to_string().trim_matches('"') == "version").and_then(|(_, value)| {
        match value {
            Expression::String(text) => Some(text.clone()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(text: &str) -> Result<Module, InvalidModule> {
        Module::parse([("main.tf".to_owned(), text.to_owned()), ("README.md".to_owned(), "{".to_owned())])
    }

    #[test]
    fn declarations_are_found_and_text_in_comments_and_strings_is_not_taken_for_them() {
        let module = module(
            r#"
            # variable "commented" {}
            variable "region" { default = "x" }
            variable "run_key" {
              type      = string
              sensitive = true
            }
            locals { s = "variable \"in_string\" {}" }
            data "terraform_remote_state" "meta" { backend = "local" }
            resource "x_machine" "host" { tags = var.region }
            output "run_id" { value = var.run_key }
            terraform {
              required_providers {
                x = { source = "a/x", version = "1.2.3" }
                y = { source = "a/y" }
              }
            }
            "#,
        )
        .unwrap();
        let variables: Vec<_> = module.variables().collect();
        assert_eq!(
            variables.iter().map(|v| (v.name.as_str(), v.has_default, v.sensitive)).collect::<Vec<_>>(),
            [("region", true, false), ("run_key", false, true)]
        );
        assert!(module.has_output("run_id") && !module.has_output("meta"));
        assert!(module.has_data("terraform_remote_state", "meta"));
        assert_eq!(module.resources().collect::<Vec<_>>(), ["x_machine.host"]);
        let providers = module.required_providers();
        assert_eq!((providers["x"].as_deref(), providers["y"].as_deref()), (Some("1.2.3"), None));
        assert!(module.passes("tags") && !module.passes("labels"));
        assert!(module.mentions("var.region") && !module.mentions("var.regio"));
    }

    #[test]
    fn a_file_that_is_not_hcl_is_named() {
        let error = module("resource {").unwrap_err();
        assert!(error.to_string().starts_with("`main.tf` is not valid"), "{error}");
    }
}
