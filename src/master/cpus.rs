//! Shares this machine's CPUs out among the runs of one home: a lock file a logical CPU.
//!
//! The lock is an `flock`, so the kernel lets go of it when its master dies. A run takes all the CPUs it
//! wants or none, so that two runs never wait for each other.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::home::{create_private_dir, named};
use crate::api::RunId;

/// One logical CPU that nobody else in this home measures on.
#[derive(Debug)]
pub struct CpuLock {
    pub cpu: u32,
    _file: Flock<File>,
}

/// What one try brought.
#[derive(Debug)]
pub enum Taken {
    All(Vec<CpuLock>),
    /// Not enough are free; nothing is held. `held_by` names the runs that hold the others.
    TooFew {
        free: usize,
        held_by: Vec<String>,
    },
}

/// Tries to take `wanted` CPUs from `preference`, best first.
pub fn try_take(folder: &Path, preference: &[u32], wanted: usize, run_id: &RunId) -> io::Result<Taken> {
    create_private_dir(folder)?;
    let mut locks = Vec::with_capacity(wanted);
    let mut held_by = Vec::new();
    for cpu in preference {
        if locks.len() == wanted {
            break;
        }
        let path = folder.join(format!("cpu-{cpu}.lock"));
        match take_one(*cpu, &path, run_id)? {
            Some(lock) => locks.push(lock),
            None => held_by.push(holder(&path)),
        }
    }
    if locks.len() == wanted {
        return Ok(Taken::All(locks));
    }
    held_by.sort();
    held_by.dedup();
    Ok(Taken::TooFew { free: locks.len(), held_by })
}

fn take_one(cpu: u32, path: &PathBuf, run_id: &RunId) -> io::Result<Option<CpuLock>> {
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| named(e, "open", path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut held) => {
            let written = held.set_len(0).and_then(|()| write!(held, "{run_id}"));
            written.map_err(|e| named(e, "write", path))?;
            Ok(Some(CpuLock { cpu, _file: held }))
        }
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(named(errno.into(), "lock", path)),
    }
}

fn holder(path: &Path) -> String {
    let text = fs_err::read_to_string(path).unwrap_or_default();
    if text.is_empty() { "another run".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RunId {
        text.parse().unwrap()
    }

    #[test]
    fn a_run_takes_all_it_wants_or_nothing_and_learns_who_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let Taken::All(first) = try_take(dir.path(), &[0, 1, 2], 2, &id("run-a")).unwrap() else {
            panic!("two of three free CPUs were refused")
        };
        assert_eq!(first.iter().map(|lock| lock.cpu).collect::<Vec<_>>(), [0, 1]);
        match try_take(dir.path(), &[0, 1, 2], 2, &id("run-b")).unwrap() {
            Taken::TooFew { free, held_by } => assert_eq!((free, held_by), (1, vec!["run-a".to_owned()])),
            Taken::All(_) => panic!("a CPU was given to two runs"),
        }
        let Taken::All(other) = try_take(dir.path(), &[0, 1, 2], 1, &id("run-b")).unwrap() else {
            panic!("the free CPU was refused")
        };
        assert_eq!(other[0].cpu, 2);
        drop(first);
        assert!(matches!(try_take(dir.path(), &[0, 1, 2], 2, &id("run-b")).unwrap(), Taken::All(_)));
    }
}
