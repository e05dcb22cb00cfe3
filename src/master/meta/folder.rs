//! `.bench/meta`: the rendered module, its state, the stack's keys, and the locks by which masters of one home
//! do not get into each other's way.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::client::{Pin, Secret};
use crate::master::home::{Home, create_private_dir, write_private};
use crate::orchestrator::auth::make_admin_key;
use crate::orchestrator::tls::{self, TlsError};

#[derive(Debug, Clone)]
pub struct MetaFolder {
    home: PathBuf,
    root: PathBuf,
}

/// Held by the one master that makes or replaces the stack.
#[derive(Debug)]
pub struct Making {
    _file: Flock<File>,
}

/// Held by every master that uses the stack, for as long as it does.
#[derive(Debug)]
pub struct Using {
    _file: Flock<File>,
}

/// What masters and orchestrator know each other by: made once, kept when the machine is made anew.
#[derive(Debug)]
pub struct Keys {
    pub admin_key: Secret,
    pub pin: Pin,
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub tls_key: Secret,
}

impl MetaFolder {
    pub fn of(home: &Home) -> MetaFolder {
        // Terraform works in a folder of its own.
        let home = std::path::absolute(home.root()).unwrap_or_else(|_| home.root().to_owned());
        MetaFolder { root: home.join("meta"), home }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
    /// Terraform's state of the stack.
    pub fn state(&self) -> PathBuf {
        self.root.join("terraform.tfstate")
    }
    /// `orchestrator.json`: where the stack's orchestrator answers.
    pub fn record(&self) -> PathBuf {
        self.home.join("orchestrator.json")
    }
    /// Key of the masters (mode 0600).
    pub fn admin_key(&self) -> PathBuf {
        self.root.join("admin.key")
    }
    /// The program that the stack was made with.
    pub fn program(&self) -> PathBuf {
        self.root.join("bench")
    }
    fn certificate(&self) -> PathBuf {
        self.root.join("tls.crt")
    }
    fn tls_key(&self) -> PathBuf {
        self.root.join("tls.key")
    }

    /// Becomes the master that makes the stack; `None` while another one does.
    pub fn try_making(&self) -> io::Result<Option<Making>> {
        let held = self.lock("making.lock", FlockArg::LockExclusiveNonblock)?;
        Ok(held.map(|file| Making { _file: file }))
    }

    /// Whether no other master of this home uses the stack. As long as one is `Making`, nobody starts to.
    pub fn is_unused(&self, _making: &Making) -> io::Result<bool> {
        Ok(self.lock("users.lock", FlockArg::LockExclusiveNonblock)?.is_some())
    }

    /// Joins those who use it.
    pub fn using(&self, _making: &Making) -> io::Result<Using> {
        let held = self.lock("users.lock", FlockArg::LockShared)?;
        Ok(Using { _file: held.expect("a lock that waits is held in the end") })
    }

    fn lock(&self, name: &str, how: FlockArg) -> io::Result<Option<Flock<File>>> {
        create_private_dir(&self.root)?;
        let mut options = std::fs::OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        match Flock::lock(options.open(self.root.join(name))?, how) {
            Ok(held) => Ok(Some(held)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }

    /// The stack's keys, made where there are none.
    pub fn keys(&self, _making: &Making) -> Result<Keys, TlsError> {
        create_private_dir(&self.root)?;
        if !self.admin_key().exists() {
            write_private(&self.admin_key(), make_admin_key().expose().as_bytes())?;
        }
        if !(self.certificate().exists() && self.tls_key().exists()) {
            tls::make(&self.certificate(), &self.tls_key())?;
        }
        Ok(Keys {
            admin_key: Secret::new(fs_err::read_to_string(self.admin_key())?.trim()),
            pin: tls::pin(&self.certificate())?,
            certificate: fs_err::read_to_string(self.certificate())?,
            tls_key: Secret::new(fs_err::read_to_string(self.tls_key())?),
        })
    }

    /// Keeps the program that the stack is made with: a later apply needs the same file, and builds come and go.
    pub fn keep_program(&self, program: &Path) -> io::Result<()> {
        let (kept, fresh) = (self.program(), self.root.join("bench.new"));
        match fs_err::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A build replaces its file rather than changing it, so that a second name keeps the old one.
        if fs_err::hard_link(program, &fresh).is_err() {
            fs_err::copy(program, &fresh)?;
        }
        fs_err::rename(&fresh, &kept)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> (tempfile::TempDir, MetaFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = MetaFolder::of(&Home::new(dir.path().join(".bench")));
        (dir, folder)
    }

    #[test]
    fn one_makes_it_and_every_user_is_seen() {
        let (_dir, folder) = folder();
        let making = folder.try_making().unwrap().unwrap();
        assert!(folder.try_making().unwrap().is_none());
        drop(making);
        let making = folder.try_making().unwrap().unwrap();
        assert!(folder.is_unused(&making).unwrap());
        let (first, second) = (folder.using(&making).unwrap(), folder.using(&making).unwrap());
        assert!(!folder.is_unused(&making).unwrap());
        drop(first);
        assert!(!folder.is_unused(&making).unwrap());
        drop(second);
        assert!(folder.is_unused(&making).unwrap());
    }

    #[test]
    fn keys_are_made_once_and_for_their_owner_only() {
        let (_dir, folder) = folder();
        let making = folder.try_making().unwrap().unwrap();
        let (first, again) = (folder.keys(&making).unwrap(), folder.keys(&making).unwrap());
        assert_eq!((first.pin, &first.admin_key), (again.pin, &again.admin_key));
        assert!(first.tls_key.expose().contains("PRIVATE KEY") && first.certificate.contains("CERTIFICATE"));
        for file in fs_err::read_dir(folder.root()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
        }
    }

    #[test]
    fn the_program_stays_when_a_build_replaces_it() {
        let (dir, folder) = folder();
        folder.try_making().unwrap();
        let program = dir.path().join("program");
        fs_err::write(&program, "one").unwrap();
        folder.keep_program(&program).unwrap();
        fs_err::remove_file(&program).unwrap();
        fs_err::write(&program, "two").unwrap();
        assert_eq!(fs_err::read_to_string(folder.program()).unwrap(), "one");
        folder.keep_program(&program).unwrap();
        assert_eq!(fs_err::read_to_string(folder.program()).unwrap(), "two");
    }
}
