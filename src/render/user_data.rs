//! User-data: rendered for Terraform, and measured before anything is created.
//!
//! Terraform fills in values only known later (the orchestrator's address, the run's key), so the size is
//! taken with values at least as long as any real one.

use std::io::Write as _;
use std::str::FromStr as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use hcl::eval::{Context, Evaluate as _};
use serde_json::{Value, json};

use super::functions;
use super::{Inputs, RenderError, Runner};
use crate::provider::{Encoding, UserData};

/// Name of the file beside the module.
pub const USER_DATA: &str = "user-data.tftpl";

/// Longest URL of an orchestrator: a host name of 253 characters, scheme and port.
const LONGEST_URL: usize = 270;
/// A pin is `sha256//` and 44 characters of base64.
const PIN: &str = "sha256//AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdEf=";
/// Length of a value that only the module knows, bytes.
const UNKNOWN_LENGTH: usize = 256;
/// Terraform's own gzip and this one differ by less.
const GZIP_MARGIN: f64 = 1.02;

/// How large one alias's user-data becomes at most, bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// The text itself.
    pub raw: usize,
    /// As it is sent.
    pub encoded: usize,
    pub limit: usize,
}

impl Size {
    pub fn fits(&self) -> bool {
        self.encoded <= self.limit
    }
}

/// The text for Terraform's `templatefile`.
pub(super) fn render(inputs: &Inputs<'_>, user_data: &UserData) -> Result<String, RenderError> {
    let ssh =
        inputs.provider.settings.iter().any(|(name, value)| name.starts_with("ssh_") && is_given(value));
    let context = super::template::context(user_data, inputs.runner, ssh);
    Ok(inputs.templates.render(&user_data.template, &context)?)
}

fn is_given(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
        && value.as_str() != Some("")
        && value.as_array().is_none_or(|list| !list.is_empty())
}

/// The largest user-data of a provider instance, of all its aliases.
pub(super) fn size(inputs: &Inputs<'_>, user_data: &UserData, template: &str) -> Result<Size, RenderError> {
    let sizes = (0..inputs.provider.instance_types.len()).map(|row| {
        // A module may pass values of its own to its template.
        let (text, _) = fill_unknown(template, &worst_case(inputs, row))?;
        Ok(Size {
            raw: text.len(),
            encoded: encoded_size(&text, user_data.encoding),
            limit: user_data.limit_bytes as usize,
        })
    });
    let sizes: Result<Vec<Size>, RenderError> = sizes.collect();
    let none = Size { raw: 0, encoded: 0, limit: user_data.limit_bytes as usize };
    Ok(sizes?.into_iter().max_by_key(|size| size.encoded).unwrap_or(none))
}

/// What Terraform's `templatefile` would make of it.
pub fn fill(template: &str, values: &Value) -> Result<String, RenderError> {
    Filling::new(template, values)?.evaluate().map_err(invalid)
}

/// As [`fill`], where a name that has no value gets one of `UNKNOWN_LENGTH` characters. Also gives those names.
pub fn fill_unknown(template: &str, values: &Value) -> Result<(String, Vec<String>), RenderError> {
    let mut filling = Filling::new(template, values)?;
    let mut unknown: Vec<String> = Vec::new();
    // Kinds that the last unknown value was not tried as yet: where a text does not do, the template reckons with
    // it or walks through it.
    let mut kinds = [].iter();
    loop {
        let error = match filling.evaluate() {
            Ok(text) => return Ok((text, unknown)),
            Err(error) => error,
        };
        match (undefined(&error).filter(|name| !unknown.contains(name)), unknown.last()) {
            (Some(name), _) => {
                filling.context.declare_var(name.as_str(), noise(UNKNOWN_LENGTH));
                unknown.push(name);
                kinds = OTHER_KINDS.iter();
            }
            (None, Some(name)) => match kinds.next() {
                Some(kind) => filling.context.declare_var(name.as_str(), kind()),
                None => return Err(invalid(error)),
            },
            (None, None) => return Err(invalid(error)),
        }
    }
}

/// What an unknown value can be besides a text.
const OTHER_KINDS: [fn() -> hcl::Value; 3] =
    [|| 1.into(), || true.into(), || hcl::Value::Array(vec!["x".into()])];

struct Filling<'a> {
    template: hcl::Template,
    context: Context<'a>,
}

impl Filling<'_> {
    fn new(template: &str, values: &Value) -> Result<Self, RenderError> {
        let template = hcl::Template::from_str(template).map_err(invalid)?;
        let mut context = Context::new();
        functions::declare(&mut context);
        for (name, value) in values.as_object().into_iter().flatten() {
            context.declare_var(name.as_str(), hcl::to_value(value).map_err(invalid)?);
        }
        Ok(Filling { template, context })
    }

    fn evaluate(&self) -> Result<String, hcl::Error> {
        self.template.evaluate(&self.context).map_err(hcl::Error::from)
    }
}

fn invalid(source: hcl::Error) -> RenderError {
    RenderError::UserData { source: Box::new(source) }
}

fn undefined(error: &hcl::Error) -> Option<String> {
    let hcl::Error::Eval(error) = error else { return None };
    match error.kind() {
        hcl::eval::ErrorKind::UndefinedVar(name) => Some(name.to_string()),
        _ => None,
    }
}

/// Every name that a module may pass to its template, with a long value each.
fn worst_case(inputs: &Inputs<'_>, row: usize) -> Value {
    let Inputs { run, provider, runner, .. } = inputs;
    let planned = &provider.instance_types[row];
    let binary = runner.binaries().and_then(|binaries| binaries.get(&planned.arch));
    let (image, repo, reference) = match runner {
        Runner::Image { image } => (image.as_str(), "", ""),
        Runner::Build { repo, reference, .. } => ("", repo.as_str(), reference.as_str()),
        Runner::Binary { .. } => ("", "", ""),
    };
    json!({
        "orchestrator_url": format!("https://{}", noise(LONGEST_URL - 8)),
        "orchestrator_pin": PIN,
        "run_key": run.run_key.expose(),
        "run_id": run.run_id,
        "owner": run.owner,
        "provider": provider.name,
        "backend": provider.backend,
        "instance_type": planned.instance_type,
        "alias": planned.alias,
        "runners": planned.effective_vcpu,
        "ttl_minutes": run.ttl_minutes,
        "expires_at": run.expires_at,
        "image": image,
        "repo": repo,
        "ref": reference,
        "binary_url": binary.map_or("", |binary| &binary.url),
        "binary_sha256": binary.map_or("", |binary| &binary.sha256),
        "ruby_version": run.ruby_version.as_deref().unwrap_or_default(),
        "mock": run.mock,
        "debug": run.debug,
    })
}

/// Text that gzip does not shorten, from a linear congruential generator (Numerical Recipes' constants).
fn noise(length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ALPHABET[(state >> 27) as usize] as char
    };
    (0..length).map(|_| next()).collect()
}

/// Bytes that a text has in a cloud's API.
pub fn encoded_size(text: &str, encoding: Encoding) -> usize {
    let base64 = |bytes: usize| bytes.div_ceil(3) * 4;
    match encoding {
        Encoding::Plain => text.len(),
        Encoding::Base64 => base64(text.len()),
        Encoding::GzipBase64 => base64((gzip(text) as f64 * GZIP_MARGIN).ceil() as usize),
    }
}

fn gzip(text: &str) -> usize {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    written.expect("writing into memory does not fail").len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_as_terraform_does() {
        let template =
            "a='${replace(x, \"'\", \"'\\\\''\")}' b=$${B} n=${n} %%{x\n%{ if m ~}\nmock\n%{ endif ~}\nend\n";
        let text = fill(template, &json!({ "x": "it's", "n": 3, "m": true })).unwrap();
        assert_eq!(text, "a='it'\\''s' b=${B} n=3 %{x\nmock\nend\n");
        assert!(fill("${missing}", &json!({})).is_err());
        let (text, unknown) = fill_unknown("${a}-${missing}", &json!({ "a": 1 })).unwrap();
        assert_eq!((text.len(), unknown), (2 + UNKNOWN_LENGTH, vec!["missing".to_owned()]));
        assert!(fill("${no_such_function(\"x\")}", &json!({})).is_err());
    }

    #[test]
    fn sizes_follow_the_encoding() {
        let text = "x".repeat(9_000);
        assert_eq!(encoded_size(&text, Encoding::Plain), 9_000);
        assert_eq!(encoded_size(&text, Encoding::Base64), 12_000);
        assert!(encoded_size(&text, Encoding::GzipBase64) < 200);
        // Incompressible: five bits of every eight are information.
        let packed = encoded_size(&noise(8_000), Encoding::GzipBase64);
        assert!(packed > 8_000 * 5 / 8 * 4 / 3, "{packed}");
    }
}
