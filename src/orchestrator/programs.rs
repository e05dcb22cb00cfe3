//! Programs that hosts fetch, by the SHA-256 of what they hold: those that the master sent, and this one.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fs_err::File;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// The running program, also where its file was replaced meanwhile.
const OWN: &str = "/proc/self/exe";

pub struct Programs {
    folder: PathBuf,
    /// Of the running program; found out when first asked for. Hosts ask at the same time: one reads it, all wait.
    own: Mutex<Option<ProgramDigest>>,
}

/// A digest as it stands in an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramDigest(String);

impl ProgramDigest {
    /// `None` where it is not 64 lower-case hexadecimal digits.
    pub fn parse(text: String) -> Option<ProgramDigest> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(digit)).then_some(ProgramDigest(text))
    }

    pub fn of(hash: Sha256) -> ProgramDigest {
        let mut text = String::with_capacity(64);
        for byte in hash.finalize() {
            write!(text, "{byte:02x}").expect("a String takes all that is written");
        }
        ProgramDigest(text)
    }
}

impl Programs {
    /// Files are kept in a folder of the orchestrator's home; it is made with the first one.
    pub fn new(home: &Path) -> Programs {
        Programs { folder: home.join("programs"), own: Mutex::new(None) }
    }

    /// Opens the program with this digest; blocks.
    pub fn open(&self, digest: &ProgramDigest) -> io::Result<Option<File>> {
        match File::open(self.folder.join(&digest.0)) {
            Ok(file) => return Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if *digest == self.own_digest()? { File::open(OWN).map(Some) } else { Ok(None) }
    }

    fn own_digest(&self) -> io::Result<ProgramDigest> {
        // Whoever died while reading has changed nothing.
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*own {
            return Ok(known.clone());
        }
        Ok(own.insert(digest_of(File::open(OWN)?)?).clone())
    }

    /// A place for a program that is about to arrive; dropped, it is gone.
    pub fn stage(&self) -> io::Result<NamedTempFile> {
        fs_err::create_dir_all(&self.folder)?;
        tempfile::Builder::new().prefix(".incoming-").tempfile_in(&self.folder)
    }

    /// Gives a program, checked by now, its place; blocks.
    pub fn keep(&self, staged: NamedTempFile, digest: &ProgramDigest) -> io::Result<()> {
        staged.as_file().sync_all()?;
        staged.persist(self.folder.join(&digest.0)).map_err(|refused| refused.error)?;
        File::open(&self.folder)?.sync_all()
    }
}

fn digest_of(mut file: File) -> io::Result<ProgramDigest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(ProgramDigest::of(hash)),
            read => hash.update(&buffer[..read]),
        }
    }
}
