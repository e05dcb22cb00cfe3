//! Results in object storage, against an emulator that checks nothing: what is wrong must be found here.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use bench::api::{ClaimResponse, CompleteRequest, ErrorCode, TaskState, UploadRequest};
use bench::orchestrator::archive::{Layout, Limits, unpack_into};

use crate::harness::{archive, claim, claimed, create, file, run_id, sha256, upload};
use crate::process::{Process, command};

/// The emulator with one bucket; ends with the test.
struct Emulator {
    child: Child,
    url: String,
}

impl Emulator {
    /// `None` where it is not installed and not required.
    async fn start() -> Option<Emulator> {
        let required = std::env::var_os("BENCH_REQUIRE_MOTO").is_some();
        if which::which("moto_server").is_err() {
            assert!(!required, "moto_server is required, but not installed");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut moto = Command::new("moto_server");
        moto.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let emulator = Emulator { child: moto.spawn().unwrap(), url: format!("http://127.0.0.1:{port}") };
        bench::client::install_crypto_provider();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let bucket = format!("{}/bucket", emulator.url);
        while http.put(&bucket).send().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Some(emulator)
    }

    fn orchestrator(&self, home: &std::path::Path) -> Process {
        let mut command = command(home);
        command.args(["--storage", "s3://bucket/a/prefix"]).env("AWS_ENDPOINT_URL_S3", &self.url);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        Process::spawn(command.env("AWS_REGION", "us-east-1"))
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn results_go_straight_to_the_bucket_and_come_back() {
    let Some(emulator) = Emulator::start().await else { return };
    let home = tempfile::tempdir().unwrap();
    let process = emulator.orchestrator(home.path());
    let client = process.client();
    client.create_run(&create("r", 1)).await.unwrap();
    let answer = client.claim(&run_id("r"), &claim("runner", 0)).await.unwrap();
    // Nothing may be delivered past the bucket.
    let ClaimResponse::Assigned { task, lease, deliver_bytes: None } = answer else { panic!("{answer:?}") };

    let bytes = archive(&[("output.txt", "from the bucket")]);
    let request = UploadRequest { fence: lease.fence, sha256: sha256(&bytes), size: bytes.len() as u64 };
    let ticket = client.upload(task.id, &request).await.unwrap();
    assert!(ticket.url.starts_with(&format!("{}/bucket/a/prefix/runs/r/", emulator.url)), "{}", ticket.url);
    let signed = ticket.url.split("X-Amz-SignedHeaders=").nth(1).unwrap().split('&').next().unwrap();
    assert!(signed.contains("content-length") && signed.contains("x-amz-checksum-sha256"), "{signed}");
    let complete = CompleteRequest { fence: lease.fence, sha256: Some(request.sha256.clone()) };
    let missing = client.complete(task.id, &complete).await.unwrap_err();
    assert_eq!(missing.code(), Some(ErrorCode::ResultMissing));

    let (_folder, path) = file(&bytes);
    client.send_result(&ticket, &path).await.unwrap();
    assert_eq!(client.complete(task.id, &complete).await.unwrap().state, TaskState::Completed);
    assert_eq!(client.complete(task.id, &complete).await.unwrap().state, TaskState::Completed);
    assert_eq!(client.task_log(task.id, 100).await.unwrap(), "from the bucket");

    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("results.tar.gz");
    client.download_results(&run_id("r"), &packed).await.unwrap();
    unpack_into(std::fs::File::open(&packed).unwrap(), Layout::Run, Limits::RUN, folder.path()).unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("here-1/output.txt")).unwrap(), "from the bucket");
}

#[tokio::test]
async fn wrong_bytes_in_the_bucket_do_not_count() {
    let Some(emulator) = Emulator::start().await else { return };
    let home = tempfile::tempdir().unwrap();
    let process = emulator.orchestrator(home.path());
    let client = process.client();
    client.create_run(&create("r", 1)).await.unwrap();
    let (task, lease) = claimed(&client, "r", "runner").await;
    let bytes = archive(&[("output.txt", "announced")]);
    let request = UploadRequest { fence: lease.fence, sha256: sha256(&bytes), size: bytes.len() as u64 };
    let complete = CompleteRequest { fence: lease.fence, sha256: Some(request.sha256.clone()) };
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for wrong in [flipped, bytes[..10].to_vec(), [&bytes[..], b"more"].concat()] {
        let ticket = client.upload(task.id, &request).await.unwrap();
        let (_folder, path) = file(&wrong);
        client.send_result(&ticket, &path).await.unwrap();
        let refused = client.complete(task.id, &complete).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::BadResult), "{refused}");
    }
    let hostile = archive(&[("files/.hidden", "x")]);
    let digest = upload(&client, task.id, lease.fence, &hostile).await.unwrap();
    let complete = CompleteRequest { fence: lease.fence, sha256: Some(digest) };
    let refused = client.complete(task.id, &complete).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::BadResult), "{refused}");
}
