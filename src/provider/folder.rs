//! A folder of files, embedded in the binary or on disk, behind one face.

use std::io;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, include_dir};

/// `infrastructure/` as it was when the program was built.
static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/infrastructure");

/// A backend's folder.
#[derive(Debug, Clone)]
pub enum Folder {
    Embedded(&'static Dir<'static>),
    Disk(PathBuf),
}

impl Folder {
    /// The folders in the binary that hold `file`.
    pub(super) fn embedded_with(file: &str) -> Vec<Folder> {
        EMBEDDED.dirs().filter(|dir| dir.contains(dir.path().join(file))).map(Folder::Embedded).collect()
    }

    /// The folders in `root` on disk that hold `file`, or `root` itself where it does; by name.
    pub(super) fn on_disk_with(root: &Path, file: &str) -> io::Result<Vec<Folder>> {
        if root.join(file).is_file() {
            return Ok(vec![Folder::Disk(root.to_owned())]);
        }
        let mut folders = Vec::new();
        for entry in fs_err::read_dir(root)? {
            let path = entry?.path();
            if path.join(file).is_file() {
                folders.push(path);
            }
        }
        folders.sort();
        Ok(folders.into_iter().map(Folder::Disk).collect())
    }

    /// Last part of its path: the backend's name.
    pub fn name(&self) -> String {
        let path = match self {
            Folder::Embedded(dir) => dir.path().to_owned(),
            // `.` and `..` have no name of their own.
            Folder::Disk(path) => fs_err::canonicalize(path).unwrap_or_else(|_| path.clone()),
        };
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// What messages call a file of it.
    pub fn display(&self, file: &str) -> String {
        match self {
            Folder::Embedded(dir) => format!("(built in) infrastructure/{}/{file}", dir.path().display()),
            Folder::Disk(path) => path.join(file).display().to_string(),
        }
    }

    /// Bytes of one file of it.
    pub fn read(&self, file: &str) -> io::Result<Vec<u8>> {
        match self {
            Folder::Embedded(dir) => {
                dir.get_file(dir.path().join(file)).map(|file| file.contents().to_vec()).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::NotFound, format!("no file {}", self.display(file)))
                })
            }
            Folder::Disk(path) => fs_err::read(path.join(file)),
        }
    }

    /// Names of the files directly in it, in order.
    pub fn files(&self) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = match self {
            Folder::Embedded(dir) => dir
                .entries()
                .iter()
                .filter_map(DirEntry::as_file)
                .filter_map(|file| Some(file.path().file_name()?.to_string_lossy().into_owned()))
                .collect(),
            Folder::Disk(path) => fs_err::read_dir(path)?
                .filter_map(Result::ok)
                .filter(|entry| entry.path().is_file())
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect(),
        };
        names.sort();
        Ok(names)
    }
}
