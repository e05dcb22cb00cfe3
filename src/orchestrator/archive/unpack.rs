//! Unpacks an archive into a folder, under the same checks as everywhere.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::BadArchive;
use super::read::{Layout, Limits, walk};

/// Writes the archive's files below `folder`, replacing files of the same name; blocks. Only names of
/// `layout` are written, and no link found in the folder is followed.
///
/// # Errors
/// The first thing that is not allowed, or a file that could not be written. Files that came before it stay.
pub fn unpack_into(
    packed: impl Read,
    layout: Layout,
    limits: Limits,
    folder: &Path,
) -> Result<(), BadArchive> {
    fs_err::create_dir_all(folder)?;
    walk(packed, layout, limits, |path, _, content| {
        let target = make_folders(folder, path)?;
        let part = target.with_added_extension("part");
        remove_if_there(&part)?;
        let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(&part)?;
        io::copy(content, &mut file)?;
        fs_err::rename(&part, &target)
    })
}

/// Makes the folders that `path` names below `folder`; each must be a folder, not a link to one.
fn make_folders(folder: &Path, path: &str) -> io::Result<PathBuf> {
    let mut at = folder.to_owned();
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    for parent in parents.split('/').filter(|part| !part.is_empty()) {
        at.push(parent);
        match fs_err::create_dir(&at) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !fs_err::symlink_metadata(&at)?.is_dir() {
                    return Err(io::Error::other(format!("{} is not a folder", at.display())));
                }
            }
            made => made?,
        }
    }
    Ok(at.join(name))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::{add, pack};
    use super::*;

    const FILE: tar::EntryType = tar::EntryType::Regular;

    #[test]
    fn files_land_in_their_folders_and_can_be_unpacked_again() {
        let folder = tempfile::tempdir().unwrap();
        for text in [b"first", b"again"] {
            let packed = pack(|builder| {
                add(builder, "c7g-1/output.txt", FILE, text);
                add(builder, "c7g-1/attempt-2/files/a.csv", FILE, text);
            });
            unpack_into(&*packed, Layout::Run, Limits::RUN, folder.path()).unwrap();
            assert_eq!(fs_err::read(folder.path().join("c7g-1/attempt-2/files/a.csv")).unwrap(), text);
        }
    }

    #[test]
    fn nothing_is_written_outside_even_through_a_link_that_waits_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("c7g-1")).unwrap();
        let packed = pack(|builder| add(builder, "c7g-1/output.txt", FILE, b"x"));
        assert!(unpack_into(&*packed, Layout::Run, Limits::RUN, folder.path()).is_err());
        let climbing = pack(|builder| add(builder, "c7g-1/../../output.txt", FILE, b"x"));
        assert!(unpack_into(&*climbing, Layout::Run, Limits::RUN, folder.path()).is_err());
        assert_eq!(fs_err::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn modes_owners_and_times_of_a_stranger_are_not_taken_over() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let packed = pack(|builder| {
            let mut header = tar::Header::new_ustar();
            header.set_path("c7g-1/output.txt").unwrap();
            header.set_mode(0o7777);
            header.set_uid(12);
            header.set_gid(34);
            header.set_mtime(1);
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, &b""[..]).unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        unpack_into(&*packed, Layout::Run, Limits::RUN, folder.path()).unwrap();
        let made = fs_err::metadata(folder.path().join("c7g-1/output.txt")).unwrap();
        let own = fs_err::metadata(folder.path()).unwrap();
        assert_eq!(made.permissions().mode() & 0o7111, 0);
        assert_eq!((made.uid(), made.gid()), (own.uid(), own.gid()));
        assert!(made.mtime() > 1);
    }
}
