//! PURE. From a planned provider instance to the files of its Terraform folder. No files are read or written
//! here, no clock is asked.
//!
//! ```text
//!  Module (*.tf) ───────────────────────────────▶ *.tf, as they are
//!  RunFacts, PlannedProvider, Runner, settings ─▶ terraform.tfvars.json  (only what the module declares)
//!  Templates (handlebars: structure) ───────────▶ user-data.tftpl  (Terraform's templatefile: values)
//!                                                   └─▶ Size, with the longest values, against the limit
//! ```

mod files;
mod functions;
mod inputs;
mod module;
mod template;
#[cfg(test)]
mod tests;
mod user_data;
mod variables;

pub use files::Files;
pub use inputs::{BinaryFile, Inputs, RunFacts, Runner};
pub use module::{InvalidModule, Module, Variable};
pub use template::{TemplateError, Templates};
pub use user_data::{Size, USER_DATA, encoded_size, fill, fill_unknown};
pub use variables::{STANDARD, TFVARS};

/// What is to be written, and how large user-data will be.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    pub files: Files,
    /// Absent where the backend has no user-data.
    pub user_data: Option<Size>,
}

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// What handlebars made is not a template that Terraform can fill in.
    #[error("the rendered user-data is not a template that can be filled in")]
    UserData { source: Box<hcl::Error> },
    #[error(
        "user-data of `{provider}` can become {} bytes long, and `{backend}` takes {}; \
         shorten the names in the config, or the template",
        .size.encoded, .size.limit
    )]
    TooLarge { provider: String, backend: String, size: Size },
}

/// Renders one provider instance's folder.
pub fn render(inputs: &Inputs<'_>) -> Result<Rendered, RenderError> {
    let mut files = Files::default();
    inputs.module.files().for_each(|(name, text)| files.insert(name, text));
    inputs.extra.iter().for_each(|(name, bytes)| files.insert(name, bytes.clone()));
    files.insert(TFVARS, format!("{:#}\n", serde_json::Value::Object(variables::values(inputs))));
    let Some(user_data) = &inputs.manifest.user_data else { return Ok(Rendered { files, user_data: None }) };
    let template = user_data::render(inputs, user_data)?;
    let size = user_data::size(inputs, user_data, &template)?;
    if !size.fits() {
        let (provider, backend) = (inputs.provider.name.clone(), inputs.provider.backend.clone());
        return Err(RenderError::TooLarge { provider, backend, size });
    }
    files.insert(USER_DATA, template);
    Ok(Rendered { files, user_data: Some(size) })
}
