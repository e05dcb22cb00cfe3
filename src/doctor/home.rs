//! Whether runs can be kept where they should be.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::Check;

const NAME: &str = "home folder";
/// Below this a run of long outputs may well fill the disk.
const LITTLE_SPACE_BYTES: u64 = 1 << 30;

/// Tries to write where the home is or would be made.
pub fn writable(home: &Path) -> Check {
    let existing = home.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let fix = "choose another with --home or BENCH_HOME, or give yourself the right to write there";
    if let Err(error) = tempfile::Builder::new().prefix(".bench-doctor-").tempfile_in(existing) {
        return Check::failed(NAME, format!("{} cannot be written: {error}", existing.display()), fix);
    }
    match free_bytes(existing) {
        Ok(free) if free < LITTLE_SPACE_BYTES => Check::warning(
            NAME,
            format!("{} is writable, but only {} MB are free", home.display(), free >> 20),
            "free some space, or choose another disk with --home",
        ),
        Ok(free) => Check::ok(NAME, format!("{} is writable, {} GB free", home.display(), free >> 30)),
        Err(error) => Check::warning(NAME, format!("free space is unknown: {error}"), fix),
    }
}

fn free_bytes(folder: &Path) -> nix::Result<u64> {
    let stat = statvfs(folder)?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_home_that_does_not_exist_yet_is_fine_where_it_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let check = writable(&dir.path().join("a/b/.bench"));
        assert_ne!(check.state, State::Failed, "{check:?}");
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0, "nothing stays");
    }

    #[test]
    fn a_folder_that_refuses_files_is_named() {
        let check = writable(Path::new("/proc/self"));
        assert_eq!(check.state, State::Failed);
        assert!(check.found.contains("/proc"), "{check:?}");
    }
}
