//! What rendering needs of a backend's folder, read from where it is.

use std::io;

use include_dir::{Dir, include_dir};

use crate::provider::Folder;
use crate::render::{Files, InvalidModule, Module, Templates};

/// `templates/` as it was when the program was built.
static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// A backend's module and templates.
#[derive(Debug, Clone)]
pub struct Source {
    pub module: Module,
    /// Other files that the module names as `${path.module}/FILE`.
    pub extra: Vec<(String, Vec<u8>)>,
    /// The built-in templates, overridden and joined by the folder's own.
    pub templates: Templates,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("could not read `{file}`")]
    Read { file: String, source: io::Error },
    #[error(transparent)]
    Module(#[from] InvalidModule),
    #[error("there is no Terraform module in `{folder}`: no file there ends in .tf")]
    NoModule { folder: String },
}

impl Source {
    pub fn load(folder: &Folder) -> Result<Source, SourceError> {
        let names =
            folder.files().map_err(|source| SourceError::Read { file: folder.display(""), source })?;
        let texts = |extension: &str| {
            let wanted = names.iter().filter(|name| name.ends_with(extension));
            wanted
                .map(|name| Ok((name.clone(), text(folder, name)?)))
                .collect::<Result<Vec<_>, SourceError>>()
        };
        let module = Module::parse(texts(".tf")?)?;
        if module.files().next().is_none() {
            return Err(SourceError::NoModule { folder: folder.display("") });
        }
        let named = names.iter().filter(|name| !name.ends_with(".tf") && is_named(&module, name));
        let extra =
            named.map(|name| Ok((name.clone(), read(folder, name)?))).collect::<Result<_, SourceError>>()?;
        let templates = built_in_templates().with(Templates::new(texts(".hbs")?));
        Ok(Source { module, extra, templates })
    }

    /// The module as it is, for one that needs no rendering.
    pub fn files(&self) -> Files {
        let mut files = Files::default();
        self.module.files().for_each(|(name, text)| files.insert(name, text));
        self.extra.iter().for_each(|(name, bytes)| files.insert(name.clone(), bytes.clone()));
        files
    }
}

/// The templates in the binary.
pub fn built_in_templates() -> Templates {
    let files = EMBEDDED.files().filter_map(|file| {
        let name = file.path().file_name()?.to_string_lossy().into_owned();
        Some((name, file.contents_utf8()?.to_owned()))
    });
    Templates::new(files)
}

fn is_named(module: &Module, file: &str) -> bool {
    let reference = format!("${{path.module}}/{file}");
    module.files().any(|(_, text)| text.contains(&reference))
}

fn read(folder: &Folder, name: &str) -> Result<Vec<u8>, SourceError> {
    folder.read(name).map_err(|source| SourceError::Read { file: folder.display(name), source })
}

fn text(folder: &Folder, name: &str) -> Result<String, SourceError> {
    String::from_utf8(read(folder, name)?).map_err(|error| SourceError::Read {
        file: folder.display(name),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    })
}
