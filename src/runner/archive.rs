//! The result archive of one attempt: a gzip'd tar of `metadata.json`, `output.json` and `output.txt`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::api::{TaskMetadata, TaskOutput};

/// A finished archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    pub content: Content,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Held(Bytes),
    File(PathBuf),
}

/// Packs an archive that is known to be small.
///
/// # Errors
/// When the transcript cannot be read.
pub fn hold(metadata: &TaskMetadata, output: &TaskOutput, transcript: &Path) -> io::Result<Archive> {
    let Digesting { inner, digest, size } = pack(Vec::new(), metadata, output, transcript)?;
    Ok(Archive { content: Content::Held(inner.into()), sha256: hex(digest), size })
}

/// Packs an archive into the file `path`.
///
/// # Errors
/// When a file cannot be read or written, a full disk above all.
pub fn write(
    path: &Path,
    metadata: &TaskMetadata,
    output: &TaskOutput,
    transcript: &Path,
) -> io::Result<Archive> {
    let file = io::BufWriter::new(fs_err::File::create(path)?);
    let Digesting { mut inner, digest, size } = pack(file, metadata, output, transcript)?;
    inner.flush()?;
    Ok(Archive { content: Content::File(path.to_owned()), sha256: hex(digest), size })
}

/// Digests what is written on the way.
fn pack<W: Write>(
    to: W,
    metadata: &TaskMetadata,
    output: &TaskOutput,
    transcript: &Path,
) -> io::Result<Digesting<W>> {
    let digest = Digesting { inner: to, digest: Sha256::new(), size: 0 };
    let mut tar = tar::Builder::new(GzEncoder::new(digest, Compression::fast()));
    append(&mut tar, "metadata.json", &serde_json::to_vec_pretty(metadata)?)?;
    append(&mut tar, "output.json", &serde_json::to_vec(output)?)?;
    let mut text = fs_err::File::open(transcript)?;
    let mut header = header(text.metadata()?.len());
    tar.append_data(&mut header, "output.txt", &mut text)?;
    tar.into_inner()?.finish()
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(bytes.len() as u64), name, bytes)
}

/// No owner and no time: the same result is the same archive.
fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header
}

struct Digesting<W> {
    inner: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
