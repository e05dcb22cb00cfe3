//! Archives from runners that mean harm.

use std::io::Write as _;
use std::time::{Duration, Instant};

use bench::api::ErrorCode;
use bench::orchestrator::archive::{Layout, Limits, unpack_into};
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::EntryType;

use crate::harness::{Server, archive, claimed, create, finish_one, run_id, upload};
use crate::process::{Process, command};

fn entry(name: &str, kind: EntryType, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    if kind != EntryType::Regular {
        header.set_link_name("../../../../etc/passwd").unwrap();
    }
    header.set_cksum();
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}

/// Empty files `files/0`, `files/1`, … without an end of the archive.
fn headers(count: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for n in 0..count {
        let mut header = tar::Header::new_ustar();
        header.set_path(format!("files/{n}")).unwrap();
        header.set_size(0);
        header.set_cksum();
        encoder.write_all(header.as_bytes()).unwrap();
    }
    encoder.finish().unwrap()
}

/// An entry of one byte in an archive of its own, its header changed at will.
fn odd(change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_ustar();
    header.set_path("output.txt").unwrap();
    header.set_size(1);
    change(header.as_mut_bytes());
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}

/// A file that an extension header before it gives another name.
fn renamed(kind: EntryType, said: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (kind, content) in [(kind, said), (EntryType::Regular, "x")] {
        let mut header = tar::Header::new_ustar();
        header.set_path("output.txt").unwrap();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[tokio::test]
async fn hostile_archives_are_refused_and_leave_nothing_behind() {
    let server = Server::start().await;
    server.admin().create_run(&create("r", 1)).await.unwrap();
    let runner = server.runner("r");
    let (task, lease) = claimed(&runner, "r", "runner").await;
    let hostile = [
        ("parent", entry("../output.txt", EntryType::Regular, b"x")),
        ("absolute", entry("/tmp/output.txt", EntryType::Regular, b"x")),
        ("symlink", entry("output.txt", EntryType::Symlink, b"")),
        ("hard link", entry("output.txt", EntryType::Link, b"")),
        ("device", entry("output.txt", EntryType::Char, b"")),
        ("disk", entry("output.txt", EntryType::Block, b"")),
        ("pipe", entry("output.txt", EntryType::Fifo, b"")),
        ("folder", entry("files/", EntryType::Directory, b"")),
        ("sparse", entry("output.txt", EntryType::GNUSparse, b"")),
        ("backslash", entry("files\\..\\..\\output.txt", EntryType::Regular, b"x")),
        ("depth", entry(&("files/".to_owned() + &"a/".repeat(40)), EntryType::Regular, b"x")),
        ("long name", renamed(EntryType::GNULongName, "../../output.txt\0")),
        ("extended name", renamed(EntryType::XHeader, "26 path=../../output.txt\n")),
        ("extended size", renamed(EntryType::XHeader, "21 size=99999999999\n")),
        ("for all", renamed(EntryType::XGlobalHeader, "26 path=../../output.txt\n")),
        ("negative size", odd(|header| header[124..136].fill(0xff))),
        (
            "size without end",
            odd(|header| header[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 1, 1, 1, 1, 1, 1, 1])),
        ),
        ("twice", renamed(EntryType::Regular, "x")),
        ("bomb", entry("output.txt", EntryType::Regular, &vec![0; 112 << 20])),
        ("entries", headers(10_001)),
        ("no archive", b"something else".to_vec()),
    ];
    for (name, bytes) in hostile {
        let refused = upload(&runner, task.id, lease.fence, &bytes).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::BadResult), "{name}: {refused}");
    }
    let left = std::fs::read_dir(server.home.path().join("storage")).unwrap().count();
    assert_eq!(left, 0, "nothing is kept of what was refused");
}

/// The most memory a process has had at once, bytes (proc(5), `VmHWM`).
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_million_entries_cost_neither_time_nor_memory() {
    // The same stretch of a hundred gzip members: 512 MB when unpacked.
    let bytes = headers(10_000).repeat(100);
    let outer = tempfile::tempdir().unwrap();
    let home = outer.path().join("home");
    let process = Process::spawn(&mut command(&home));
    let client = process.client();
    client.create_run(&create("r", 2)).await.unwrap();
    // What the process needs at any rate is not held against the archive.
    finish_one(&client, "r", "fine").await;
    let (task, lease) = claimed(&client, "r", "runner").await;
    let before = peak_memory(process.id());

    let started = Instant::now();
    let refused = upload(&client, task.id, lease.fence, &bytes).await.unwrap_err();
    let took = started.elapsed();
    assert_eq!(refused.code(), Some(ErrorCode::BadResult), "{refused}");
    assert!(refused.to_string().contains("more than 10000 entries"), "{refused}");
    let grown = peak_memory(process.id()) - before;
    assert!(grown < 32 << 20, "{grown} bytes for an archive of {}", bytes.len());
    assert!(took < Duration::from_secs(60), "{took:?}");
    let kept = std::fs::read_dir(home.join("storage")).unwrap();
    let kept: Vec<_> = kept.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(kept, ["runs"], "nothing but the other task's result");
    assert_eq!(std::fs::read_dir(home.join("storage/runs/r")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1, "nothing lies outside the home");
    // The task is still its runner's.
    let good = upload(&client, task.id, lease.fence, &archive(&[("output.txt", "good")])).await;
    good.unwrap();
}

#[tokio::test]
async fn a_stored_result_that_is_gone_does_not_keep_the_others_back() {
    let server = Server::start().await;
    server.admin().create_run(&create("r", 2)).await.unwrap();
    let runner = server.runner("r");
    let first = finish_one(&runner, "r", "first").await;
    let second = finish_one(&runner, "r", "second").await;
    std::fs::remove_dir_all(server.home.path().join(format!("storage/runs/r/{}", first.id))).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("results.tar.gz");
    server.admin().download_results(&run_id("r"), &packed).await.unwrap();
    unpack_into(std::fs::File::open(&packed).unwrap(), Layout::Run, Limits::RUN, folder.path()).unwrap();
    let read = |number: u32, name: &str| {
        std::fs::read_to_string(folder.path().join(format!("here-{number}/{name}"))).unwrap()
    };
    assert_eq!(read(second.number, "output.txt"), "second");
    let said = read(first.number, "unreadable.txt");
    assert!(said.contains("nothing is stored"), "{said}");
}
