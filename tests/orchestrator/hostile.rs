//! Archives from runners that mean harm.

use bench::api::ErrorCode;
use bench::orchestrator::archive::{Layout, Limits, unpack_into};
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::EntryType;

use crate::harness::{Server, claimed, create, finish_one, run_id, upload};

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

fn many_entries() -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for n in 0..10_001 {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        builder.append_data(&mut header, format!("files/{n}"), &b""[..]).unwrap();
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
        ("bomb", entry("output.txt", EntryType::Regular, &vec![0; 112 << 20])),
        ("entries", many_entries()),
        ("no archive", b"something else".to_vec()),
    ];
    for (name, bytes) in hostile {
        let refused = upload(&runner, task.id, lease.fence, &bytes).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::BadResult), "{name}: {refused}");
    }
    let left = std::fs::read_dir(server.home.path().join("storage")).unwrap().count();
    assert_eq!(left, 0, "nothing is kept of what was refused");
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
