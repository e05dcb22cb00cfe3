//! Checks a stored archive against what its runner announced, in one pass and bounded memory.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::read::{Layout, Limits, walk};

/// Why an archive is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum BadArchive {
    #[error("it has {found} bytes, {announced} were announced")]
    Size { announced: u64, found: u64 },
    #[error("its SHA-256 is {found}, announced was {announced}")]
    Digest { announced: String, found: String },
    #[error("`{0}` in it is not a regular file")]
    NotAFile(String),
    #[error(
        "the path `{0}` in it is not one of metadata.json, output.json, output.txt and files/NAME (NAME of 1 to 64 characters from A-Z, a-z, 0-9, `.`, `_`, `-`, not starting with a dot)"
    )]
    BadPath(String),
    #[error("a path stands in it twice")]
    Duplicate,
    #[error("it holds no file")]
    Empty,
    #[error("it has more than {0} entries")]
    TooManyEntries(u64),
    #[error("it is no whole gzip'd tar archive: {0}")]
    Broken(#[from] io::Error),
    /// Says nothing about the archive: where it lies could not be read.
    #[error("it could not be read where it is stored")]
    Unreadable(#[source] io::Error),
}

/// Counts and digests what is read through it.
pub struct Digested<R> {
    inner: R,
    hasher: Sha256,
    pub size: u64,
    /// The first failure of the reader below: whoever reads through this takes it for one of the content.
    failed: Option<io::Error>,
}

impl<R: Read> Digested<R> {
    pub fn new(inner: R) -> Digested<R> {
        Digested { inner, hasher: Sha256::new(), size: 0, failed: None }
    }

    /// SHA-256 of everything read, as 64 hexadecimal digits.
    pub fn finish(self) -> String {
        self.hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl<R: Read> Digested<R> {
    /// Whether the reader below has given everything it was asked for. Its failure is told once.
    pub(super) fn whole(&mut self) -> Result<(), BadArchive> {
        self.failed.take().map_or(Ok(()), |failed| Err(BadArchive::Unreadable(failed)))
    }

    /// Reads the rest; everything together must have this digest and size.
    pub fn finish_as(mut self, sha256: &str, size: u64) -> Result<(), BadArchive> {
        if self.failed.is_none() {
            // What fails here is kept like all failures.
            io::copy(&mut self, &mut io::sink()).ok();
        }
        self.whole()?;
        if self.size != size {
            return Err(BadArchive::Size { announced: size, found: self.size });
        }
        let found = self.finish();
        if found == sha256 { Ok(()) } else { Err(BadArchive::Digest { announced: sha256.to_owned(), found }) }
    }
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(n) => {
                self.hasher.update(&buffer[..n]);
                self.size += n as u64;
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.failed.get_or_insert(error);
                Err(told)
            }
        }
    }
}

/// Reads an archive to its end: size, digest and content must be as announced and allowed. Blocks.
///
/// # Errors
/// [`BadArchive::Unreadable`] where `packed` fails. Else size and digest come first: where they differ, the
/// content says nothing about the runner's archive.
pub fn verify(packed: impl Read, sha256: &str, size: u64, limits: Limits) -> Result<(), BadArchive> {
    // One byte more than announced is enough to know that there is more.
    let mut packed = Digested::new(packed.take(size + 1));
    let mut files = 0;
    let content = walk(&mut packed, Layout::Task, limits, |_, _, _| {
        files += 1;
        Ok(())
    });
    packed.finish_as(sha256, size)?;
    content?;
    if files == 0 { Err(BadArchive::Empty) } else { Ok(()) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::unpack_into;
    use super::*;
    use crate::api::output::MOST_TEXT_BYTES;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    pub(in super::super) fn pack(build: impl FnOnce(&mut tar::Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        build(&mut builder);
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// Adds an entry whose name is written into the header as it is.
    pub(in super::super) fn add(
        builder: &mut tar::Builder<GzEncoder<Vec<u8>>>,
        name: &str,
        kind: tar::EntryType,
        content: &[u8],
    ) {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }

    fn check(packed: &[u8]) -> Result<(), BadArchive> {
        let mut digested = Digested::new(packed);
        io::copy(&mut digested, &mut io::sink()).unwrap();
        // As for tasks, but smaller: packing in an unoptimised test takes its time.
        let limits = Limits { entries: 100, free: 4 << 20, ..Limits::TASK };
        verify(packed, &digested.finish(), packed.len() as u64, limits)
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;

    #[test]
    fn the_documented_files_are_accepted() {
        let packed = pack(|builder| {
            for name in ["metadata.json", "output.json", "output.txt", "files/bench.csv"] {
                add(builder, name, FILE, b"{}");
            }
        });
        check(&packed).unwrap();
    }

    #[test]
    fn other_paths_are_refused() {
        for name in [
            "/etc/passwd",
            "../output.txt",
            "files/../../x",
            "files/..",
            "files/.ssh",
            "files/a/b",
            "files/",
            "./output.txt",
            "x",
            "files/a b",
            "files\\a",
            "..\\..\\output.txt",
            "C:\\output.txt",
            "files/a\u{1b}[2J",
            "files/\u{fc}",
            "output.txt/",
            "\0output.txt",
        ] {
            let packed = pack(|builder| add(builder, name, FILE, b"x"));
            let outcome = check(&packed);
            assert!(matches!(outcome, Err(BadArchive::BadPath(_))), "{name:?}: {outcome:?}");
        }
        let deep = "files/".to_owned() + &"a/".repeat(45) + "a";
        let packed = pack(|builder| add(builder, &deep, FILE, b"x"));
        assert!(matches!(check(&packed), Err(BadArchive::BadPath(_))));
    }

    /// An entry whose header is changed at will.
    fn odd(builder: &mut tar::Builder<GzEncoder<Vec<u8>>>, change: impl FnOnce(&mut [u8; 512])) {
        let mut header = tar::Header::new_ustar();
        header.set_path("output.txt").unwrap();
        header.set_mode(0o644);
        header.set_size(1);
        change(header.as_mut_bytes());
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
    }

    #[test]
    fn the_long_form_of_a_name_is_judged_as_a_whole() {
        // Bytes 345 to 499 of a ustar header stand before the name (POSIX.1-2017, pax, "ustar Interchange Format").
        for (prefix, fits) in [("files", true), ("..", false), ("/", false), ("files/..", false)] {
            let packed = pack(|builder| {
                odd(builder, |h| h[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes()))
            });
            assert_eq!(check(&packed).is_ok(), fits, "{prefix}");
        }
    }

    #[test]
    fn what_follows_a_nul_in_a_name_is_no_part_of_it() {
        let packed = pack(|builder| {
            add(builder, "output.txt", FILE, b"a");
            add(builder, "output.txt\0/../../x", FILE, b"b");
        });
        assert!(matches!(check(&packed), Err(BadArchive::Duplicate)));
    }

    #[test]
    fn sizes_that_the_content_does_not_have_are_refused() {
        // A set first bit makes a number of base 256 (GNU tar, "Extensions to tar"); all ones are -1.
        let base_256 = |size: u64| [&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat();
        let sizes = [
            vec![0xff; 12],
            base_256(u64::MAX),
            base_256(u64::MAX - 511),
            base_256(i64::MAX as u64),
            base_256(8 << 30),
            b"77777777777\0".to_vec(),
            b"-0000000001\0".to_vec(),
            b"0x000000001\0".to_vec(),
            vec![b' '; 12],
        ];
        for size in sizes {
            let packed = pack(|builder| odd(builder, |header| header[124..136].copy_from_slice(&size)));
            let outcome = check(&packed);
            assert!(matches!(outcome, Err(BadArchive::Broken(_))), "{size:?}: {outcome:?}");
            let folder = tempfile::tempdir().unwrap();
            let packed = pack(|builder| {
                odd(builder, |header| {
                    header[..18].copy_from_slice(b"task-1/output.txt\0");
                    header[124..136].copy_from_slice(&size);
                })
            });
            unpack_into(&*packed, Layout::Run, Limits::RUN, folder.path()).unwrap_err();
        }
    }

    #[test]
    fn a_header_that_was_tampered_with_is_refused() {
        let packed = pack(|builder| {
            let mut header = tar::Header::new_ustar();
            header.set_path("output.txt").unwrap();
            header.set_size(0);
            header.set_cksum();
            header.as_mut_bytes()[0] = b'0';
            builder.append(&header, &b""[..]).unwrap();
        });
        assert!(matches!(check(&packed), Err(BadArchive::Broken(_))));
    }

    #[test]
    fn a_storage_that_breaks_off_says_nothing_about_the_archive() {
        struct BrokenOff<'a>(&'a [u8]);
        impl Read for BrokenOff<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.read(buffer)? {
                    0 => Err(io::ErrorKind::ConnectionReset.into()),
                    n => Ok(n),
                }
            }
        }
        let packed = pack(|builder| add(builder, "output.txt", FILE, b"some text"));
        for kept in [0, 5, packed.len() / 2, packed.len() - 1] {
            let size = packed.len() as u64;
            let outcome = verify(BrokenOff(&packed[..kept]), &"0".repeat(64), size, Limits::TASK);
            assert!(matches!(outcome, Err(BadArchive::Unreadable(_))), "{kept}: {outcome:?}");
        }
    }

    #[test]
    fn links_devices_folders_and_extension_headers_are_refused() {
        use tar::EntryType as T;
        for kind in [
            T::Symlink,
            T::Link,
            T::Char,
            T::Block,
            T::Fifo,
            T::Directory,
            T::GNUSparse,
            T::GNULongName,
            T::GNULongLink,
            T::XHeader,
            T::XGlobalHeader,
            T::Continuous,
            T::new(b'V'),
        ] {
            let packed = pack(|builder| add(builder, "output.txt", kind, b""));
            assert!(matches!(check(&packed), Err(BadArchive::NotAFile(_))), "{kind:?}");
        }
    }

    #[test]
    fn duplicates_and_too_many_entries_are_refused() {
        let twice = pack(|builder| {
            add(builder, "output.txt", FILE, b"a");
            add(builder, "output.txt", FILE, b"b");
        });
        assert!(matches!(check(&twice), Err(BadArchive::Duplicate)));
        let many = pack(|builder| (0..101).for_each(|n| add(builder, &format!("files/{n}"), FILE, b"")));
        assert!(matches!(check(&many), Err(BadArchive::TooManyEntries(100))));
    }

    #[test]
    fn a_result_that_repeats_itself_is_accepted() {
        let text = b"y\n".repeat(2 << 20);
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64 - 2048);
        builder.append_data(&mut header, "output.txt", &text[2048..]).unwrap();
        let packed = builder.into_inner().unwrap().finish().unwrap();
        assert!(packed.len() * 200 < text.len(), "it packs better than the ratio allows: {}", packed.len());
        check(&packed).unwrap();
        const { assert!(Limits::TASK.free > MOST_TEXT_BYTES, "what a runner keeps is taken") };
    }

    #[test]
    fn bombs_are_refused_wherever_they_hide() {
        let zeros = vec![0; 64 << 20];
        let in_file = pack(|builder| add(builder, "output.txt", FILE, &zeros));
        assert!(matches!(check(&in_file), Err(BadArchive::Broken(_))));
        let behind_the_end = {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            io::Write::write_all(&mut encoder, &zeros).unwrap();
            encoder.finish().unwrap()
        };
        assert!(matches!(check(&behind_the_end), Err(BadArchive::Broken(_))));
    }

    #[test]
    fn an_archive_without_files_is_no_result() {
        assert!(matches!(check(&pack(|_| {})), Err(BadArchive::Empty)));
    }

    #[test]
    fn cut_archives_and_other_files_are_refused() {
        let packed = pack(|builder| add(builder, "output.txt", FILE, b"some text"));
        assert!(check(&packed[..packed.len() - 4]).is_err());
        assert!(check(b"not an archive").is_err());
        assert!(check(b"").is_err());
    }

    #[test]
    fn other_bytes_than_announced_are_named() {
        let packed = pack(|builder| add(builder, "output.txt", FILE, b"some text"));
        let size = packed.len() as u64;
        let wrong = verify(&*packed, &"0".repeat(64), size, Limits::TASK);
        assert!(matches!(wrong, Err(BadArchive::Digest { .. })));
        let short = verify(&*packed, &"0".repeat(64), size - 1, Limits::TASK);
        assert!(matches!(short, Err(BadArchive::Size { .. })));
        let long = verify(&*packed, &"0".repeat(64), size + 1, Limits::TASK);
        assert!(matches!(long, Err(BadArchive::Size { .. })));
    }
}
