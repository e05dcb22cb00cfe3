//! A new backend's folder that keeps the contract from the start.

use std::io;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde_json::json;

use crate::render::{TemplateError, Templates};

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/templates/provider");

#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    #[error("`{0}` is not a name for a backend: 1 to 32 characters from a-z, 0-9 and `-`, a letter first")]
    Name(String),
    #[error("`{}` exists already", .0.display())]
    Exists(PathBuf),
    #[error("could not write the backend's folder")]
    Write(#[from] io::Error),
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Makes `root/name` with a manifest, a module, its test, a catalog and a sweep manifest. Returns the files.
pub fn scaffold(root: &Path, name: &str) -> Result<Vec<PathBuf>, ScaffoldError> {
    let pattern = regex::Regex::new("^[a-z][a-z0-9-]{0,31}$").expect("the pattern is constant");
    if !pattern.is_match(name) {
        return Err(ScaffoldError::Name(name.to_owned()));
    }
    let folder = root.join(name);
    fs_err::create_dir_all(root)?;
    match std::fs::create_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(ScaffoldError::Exists(folder));
        }
        made => made?,
    }
    let context = json!({ "name": name, "variable": name.to_uppercase().replace('-', "_") });
    let texts = FILES.files().filter_map(|file| {
        let name = file.path().file_name()?.to_string_lossy().into_owned();
        Some((name, file.contents_utf8()?.to_owned()))
    });
    let texts: Vec<(String, String)> = texts.collect();
    let templates = Templates::new(texts.iter().cloned());
    let mut written = Vec::new();
    for (template, _) in &texts {
        let path = folder.join(template.trim_end_matches(".hbs"));
        fs_err::write(&path, templates.render(template, &context)?)?;
        written.push(path);
    }
    written.sort();
    Ok(written)
}
