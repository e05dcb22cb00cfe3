//! One `init` for each set of `.tf` files, into a folder that all runs share; provider instances get a copy.
//!
//! `init` costs seconds a folder, and several at once into one plugin cache are undefined
//! (hashicorp/terraform#31964), so they go one after the other under a lock and are done once. A copy takes
//! milliseconds: large files are the same file (hard links), small ones are copied, because Terraform
//! rewrites some of them in place.

use std::fs::File;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::environment::Environment;
use super::{Terraform, TerraformError};
use crate::master::home::{create_private_dir, write_private};

/// What `init` makes, and an apply needs.
const DATA: &str = ".terraform";
const LOCK_FILE: &str = ".terraform.lock.hcl";
/// Says that an initialised folder is whole.
const COMPLETE: &str = "complete";
/// Files from here on are linked rather than copied: provider programs, not Terraform's own records.
const LINK_FROM: u64 = 256 * 1024;

/// Initialised folders by what they were made from, in the home folder.
#[derive(Debug, Clone)]
pub struct InitCache {
    root: PathBuf,
}

impl InitCache {
    /// `root` is made when first needed.
    pub fn new(root: impl Into<PathBuf>) -> InitCache {
        InitCache { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a module is initialised: the same for all provider instances of a backend, and for all runs,
    /// as long as module, program and configuration of the CLI are the same.
    pub(super) fn folder(
        &self,
        module: &Path,
        terraform: &Terraform,
        environment: &Environment,
    ) -> io::Result<PathBuf> {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        part(terraform.program.as_os_str().as_encoded_bytes());
        part(terraform.version.as_bytes());
        for (name, value) in environment.variables() {
            if name.as_encoded_bytes().starts_with(b"TF_") {
                part(name.as_encoded_bytes());
                part(value.as_encoded_bytes());
            }
        }
        if let Some(configuration) = environment.get("TF_CLI_CONFIG_FILE") {
            part(&fs_err::read(configuration).unwrap_or_default());
        }
        for name in module_files(module)? {
            part(name.as_encoded_bytes());
            part(&fs_err::read(module.join(&name))?);
        }
        let digest = hash.finalize();
        let name: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Ok(self.root.join(name))
    }

    /// To be held while a folder of the cache is made; `None` while another process makes one.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        create_private_dir(&self.root)?;
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(self.root.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Whether an initialised folder is whole and what its links lead to is still there.
pub(super) fn is_complete(folder: &Path) -> bool {
    folder.join(COMPLETE).is_file() && links_lead_somewhere(&folder.join(DATA))
}

pub(super) fn mark_complete(folder: &Path) -> io::Result<()> {
    write_private(&folder.join(COMPLETE), b"")
}

/// Makes an empty folder with the module's files in it.
pub(super) fn stage(module: &Path, folder: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => create_private_dir(folder)?,
    }
    for name in module_files(module)? {
        fs_err::copy(module.join(&name), folder.join(&name))?;
    }
    Ok(())
}

/// Brings what `init` made into a provider instance's folder. A module of built-in resources only has
/// neither.
pub(super) fn copy(initialised: &Path, folder: &Path) -> Result<(), TerraformError> {
    let failed = |source| TerraformError::Files { folder: folder.to_owned(), source };
    let data = folder.join(DATA);
    match fs_err::remove_dir_all(&data) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    if initialised.join(DATA).is_dir() {
        copy_tree(&initialised.join(DATA), &data).map_err(failed)?;
    }
    if initialised.join(LOCK_FILE).is_file() {
        fs_err::copy(initialised.join(LOCK_FILE), folder.join(LOCK_FILE)).map_err(failed)?;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    create_private_dir(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(fs_err::read_link(entry.path())?, &target)?;
        } else if entry.metadata()?.len() < LINK_FROM || fs_err::hard_link(entry.path(), &target).is_err() {
            fs_err::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn links_lead_somewhere(folder: &Path) -> bool {
    let Ok(entries) = fs_err::read_dir(folder) else { return true };
    entries.filter_map(Result::ok).all(|entry| {
        let kind = entry.file_type();
        match kind {
            Ok(kind) if kind.is_symlink() => entry.path().exists(),
            Ok(kind) if kind.is_dir() => links_lead_somewhere(&entry.path()),
            _ => true,
        }
    })
}

/// Names of the files that decide about providers and modules, in order.
fn module_files(module: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(module)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".tf") || text.ends_with(".tf.json") || text.ends_with(".tofu") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::terraform::{Product, scrub};

    #[test]
    fn the_same_module_has_the_same_folder_and_another_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let cache = InitCache::new(folder.path().join("init"));
        let terraform =
            Terraform { program: "terraform".into(), product: Product::Terraform, version: "1.11.4".into() };
        let module = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs_err::create_dir_all(&path).unwrap();
            fs_err::write(path.join("main.tf"), text).unwrap();
            fs_err::write(path.join("terraform.tfvars.json"), name).unwrap();
            path
        };
        let environment = scrub([]);
        let of = |path: &Path| cache.folder(path, &terraform, &environment).unwrap();
        assert_eq!(of(&module("a", "x")), of(&module("b", "x")));
        assert_ne!(of(&module("a", "x")), of(&module("c", "y")));
        let newer = Terraform { version: "1.12.0".into(), ..terraform.clone() };
        assert_ne!(of(&module("a", "x")), cache.folder(&module("a", "x"), &newer, &environment).unwrap());
    }

    #[test]
    fn a_copy_shares_programs_keeps_links_and_has_its_own_records() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs_err::create_dir_all(from.join(".terraform/providers/x")).unwrap();
        fs_err::create_dir_all(&to).unwrap();
        let program = from.join(".terraform/providers/x/program");
        fs_err::write(&program, vec![0; LINK_FROM as usize]).unwrap();
        fs_err::write(from.join(".terraform/modules.json"), "{}").unwrap();
        symlink(&program, from.join(".terraform/providers/link")).unwrap();
        fs_err::write(from.join(LOCK_FILE), "locked").unwrap();
        mark_complete(&from).unwrap();
        copy(&from, &to).unwrap();
        copy(&from, &to).unwrap();
        let inode = |path: &Path| fs_err::metadata(path).unwrap().ino();
        assert_eq!(inode(&program), inode(&to.join(".terraform/providers/x/program")));
        assert_ne!(inode(&from.join(".terraform/modules.json")), inode(&to.join(".terraform/modules.json")));
        assert_eq!(fs_err::read_link(to.join(".terraform/providers/link")).unwrap(), program);
        assert_eq!(fs_err::read_to_string(to.join(LOCK_FILE)).unwrap(), "locked");
        assert!(is_complete(&from));
        fs_err::remove_file(&program).unwrap();
        assert!(!is_complete(&from), "a provider that went away is fetched again");
    }
}
