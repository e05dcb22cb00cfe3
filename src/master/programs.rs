//! The task runner's programs for hosts: found on this machine or fetched, checked, and named as the
//! orchestrator serves them.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use sha2::{Digest as _, Sha256};

use super::home::create_private_dir;
use crate::client::install_crypto_provider;
use crate::config::{Binary, RunnerSource};
use crate::provider::Arch;
use crate::render::BinaryFile;

/// A server that is silent for this long sends no more.
const SILENCE: Duration = Duration::from_secs(60);

/// A program that hosts are given, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub arch: Arch,
    pub path: PathBuf,
    /// Lower-case hexadecimal.
    pub sha256: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("could not read the task runner's program {}", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "the task runner's program for {arch} is not the one in the config: {place} has the SHA-256 {found}, \
         `task_runners.binaries.{arch}.sha256` is {expected}"
    )]
    Other { arch: Arch, place: String, found: String, expected: String },
    #[error("could not fetch the task runner's program for {arch} from {url}")]
    Fetch { arch: Arch, url: String, source: reqwest::Error },
    #[error("could not keep the fetched program in {}", .folder.display())]
    Keep { folder: PathBuf, source: io::Error },
}

/// All that the config names, each checked against its digest; `program`, the running one, stands in for its own
/// architecture `own`. Fetched ones stay in `folder`.
pub async fn gather(
    source: &RunnerSource,
    own: Arch,
    program: &Path,
    folder: &Path,
) -> Result<Vec<Program>, ProgramError> {
    let mut programs = Vec::new();
    if let RunnerSource::Binary { binaries } = source {
        for (&arch, binary) in binaries {
            programs.push(named(arch, binary, folder).await?);
        }
    }
    let is_there = programs.iter().any(|program| program.arch == own);
    if !is_there && !matches!(source, RunnerSource::Image { .. }) {
        let sha256 = sha256_of(program)?;
        programs.push(Program { arch: own, path: program.to_owned(), sha256 });
    }
    Ok(programs)
}

/// Where hosts fetch them.
pub fn served(programs: &[Program]) -> IndexMap<Arch, BinaryFile> {
    let file = |program: &Program| BinaryFile {
        url: format!("/api/v1/binaries/{}", program.sha256),
        sha256: program.sha256.clone(),
    };
    programs.iter().map(|program| (program.arch, file(program))).collect()
}

async fn named(arch: Arch, binary: &Binary, folder: &Path) -> Result<Program, ProgramError> {
    let sha256 = binary.sha256.clone();
    let path = match (&binary.path, &binary.url) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(url)) => return fetched(arch, url, sha256, folder).await,
        (None, None) => unreachable!("the config's check asks for a path or an address"),
    };
    let found = sha256_of(&path)?;
    check(arch, &path.display().to_string(), found, &sha256)?;
    // Whoever reads it later may stand in another folder.
    Ok(Program { arch, path: std::path::absolute(&path).unwrap_or(path), sha256 })
}

/// From an earlier run, else from its address.
async fn fetched(arch: Arch, url: &str, sha256: String, folder: &Path) -> Result<Program, ProgramError> {
    let path = folder.join(&sha256);
    if !path.is_file() || sha256_of(&path)? != sha256 {
        let keep = |source| ProgramError::Keep { folder: folder.to_owned(), source };
        create_private_dir(folder).map_err(keep)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(keep)?;
        let found = fetch(arch, url, file.as_file_mut()).await?.map_err(keep)?;
        check(arch, url, found, &sha256)?;
        file.persist(&path).map_err(|refused| keep(refused.error))?;
    }
    Ok(Program { arch, path, sha256 })
}

/// Writes what the address gives, and says what it was. The inner error is the file's.
async fn fetch(arch: Arch, url: &str, file: &mut std::fs::File) -> Result<io::Result<String>, ProgramError> {
    install_crypto_provider();
    let failed = |source| ProgramError::Fetch { arch, url: url.to_owned(), source };
    let client = reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).read_timeout(SILENCE);
    let answer = client.build().map_err(failed)?.get(url).send().await.map_err(failed)?;
    let mut answer = answer.error_for_status().map_err(failed)?;
    let mut hash = Sha256::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        hash.update(&chunk);
        if let Err(error) = file.write_all(&chunk) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(hexadecimal(hash)))
}

fn check(arch: Arch, place: &str, found: String, expected: &str) -> Result<(), ProgramError> {
    if found == expected {
        return Ok(());
    }
    Err(ProgramError::Other { arch, place: place.to_owned(), found, expected: expected.to_owned() })
}

pub(super) fn sha256_of(path: &Path) -> Result<String, ProgramError> {
    let unreadable = |source| ProgramError::Unreadable { path: path.to_owned(), source };
    let mut file = fs_err::File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(hexadecimal(hash)),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn source(arch: Arch, path: &Path, sha256: &str) -> RunnerSource {
        let path = Some(path.display().to_string());
        let binary = Binary { path, url: None, sha256: sha256.to_owned() };
        RunnerSource::Binary { binaries: [(arch, binary)].into() }
    }

    #[tokio::test]
    async fn the_running_program_stands_in_for_its_own_architecture() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("own"), folder.path().join("other"));
        fs_err::write(&own, "own").unwrap();
        fs_err::write(&other, "abc").unwrap();
        let source = source(Arch::Arm64, &other, ABC);
        let programs = gather(&source, Arch::X86_64, &own, folder.path()).await.unwrap();
        let found: Vec<_> = programs.iter().map(|program| (program.arch, &*program.path)).collect();
        assert_eq!(found, [(Arch::Arm64, &*other), (Arch::X86_64, &*own)]);
        assert_eq!(served(&programs)[&Arch::Arm64].url, format!("/api/v1/binaries/{ABC}"));

        let image = RunnerSource::Image { image: "x".to_owned() };
        assert!(gather(&image, Arch::X86_64, &own, folder.path()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_program_that_is_not_the_one_in_the_config_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench");
        fs_err::write(&path, "abd").unwrap();
        let of = |path: &Path| source(Arch::X86_64, path, ABC);
        let wrong = gather(&of(&path), Arch::X86_64, &path, folder.path()).await.unwrap_err();
        assert!(matches!(wrong, ProgramError::Other { .. }), "{wrong}");
        let missing = gather(&of(&folder.path().join("none")), Arch::X86_64, &path, folder.path()).await;
        assert!(matches!(missing.unwrap_err(), ProgramError::Unreadable { .. }));
    }
}
