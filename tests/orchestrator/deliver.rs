//! Small results are sent and completed in one call, under the same rules as in three.

use bench::api::{
    ClaimResponse, CompleteRequest, ErrorCode, ReleaseRequest, ResultsPolicy, RunStatus, TaskState,
};
use bench::client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Server, archive, claim, claimed, create, run_id, sha256, upload};

async fn with_tasks(count: u32) -> (Server, Client) {
    let server = Server::start().await;
    server.admin().create_run(&create("r", count)).await.unwrap();
    let runner = server.runner("r");
    (server, runner)
}

fn completion(fence: i64, bytes: &[u8]) -> CompleteRequest {
    CompleteRequest { fence, sha256: Some(sha256(bytes)) }
}

/// Archives in the storage, those on their way in included.
fn stored(server: &Server) -> usize {
    fn files(folder: &std::path::Path) -> usize {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
    }
    files(&server.home.path().join("storage"))
}

#[tokio::test]
async fn one_call_completes_a_task_and_repeated_answers_the_same() {
    let (server, runner) = with_tasks(1).await;
    let answer = runner.claim(&run_id("r"), &claim("runner", 0)).await.unwrap();
    let ClaimResponse::Assigned { task, lease, deliver_bytes: Some(most) } = answer else {
        panic!("{answer:?}")
    };
    let bytes = archive(&[("output.txt", "told at once")]);
    assert!(bytes.len() as u64 <= most);
    let request = completion(lease.fence, &bytes);
    for _ in 0..2 {
        let view = runner.deliver(task.id, &request, bytes.clone().into()).await.unwrap();
        assert_eq!(view.state, TaskState::Completed);
    }
    assert_eq!(stored(&server), 1);
    let admin = server.admin();
    assert_eq!(admin.run(&run_id("r")).await.unwrap().status, RunStatus::Completed);
    assert_eq!(admin.task_log(task.id, 100).await.unwrap(), "told at once");
    let attempts = admin.attempts(task.id).await.unwrap();
    assert_eq!((attempts[0].sha256.clone(), attempts[0].accepted), (request.sha256, true));

    let other = archive(&[("output.txt", "something else")]);
    let refused = runner.deliver(task.id, &completion(lease.fence, &other), other.into()).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::DigestConflict));
    assert_eq!(stored(&server), 1);
}

#[tokio::test]
async fn whoever_lost_the_lease_delivers_nothing() {
    let (server, runner) = with_tasks(1).await;
    let (task, old) = claimed(&runner, "r", "runner-1").await;
    let released = ReleaseRequest { fence: old.fence, reason: "sigterm".into() };
    runner.release(task.id, &released).await.unwrap();
    claimed(&runner, "r", "runner-2").await;
    let bytes = archive(&[("output.txt", "late")]);
    let refused = runner.deliver(task.id, &completion(old.fence, &bytes), bytes.into()).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::StaleFence));
    assert_eq!(stored(&server), 0);

    server.admin().create_run(&create("other", 1)).await.unwrap();
    let (foreign, lease) = claimed(&server.runner("other"), "other", "runner").await;
    let bytes = archive(&[("output.txt", "not mine")]);
    let refused =
        runner.deliver(foreign.id, &completion(lease.fence, &bytes), bytes.into()).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Forbidden));
    assert_eq!(stored(&server), 0);
}

#[tokio::test]
async fn a_bad_archive_leaves_the_task_with_its_holder() {
    let (server, runner) = with_tasks(1).await;
    let (task, lease) = claimed(&runner, "r", "runner").await;
    let good = archive(&[("output.txt", "good")]);
    let hostile = archive(&[("elsewhere.txt", "bad")]);
    for (announced, sent) in
        [(&good, &hostile), (&hostile, &hostile), (&good, &good[..good.len() - 1].to_vec())]
    {
        let request = completion(lease.fence, announced);
        let refused = runner.deliver(task.id, &request, sent.clone().into()).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::BadResult), "{refused}");
        assert_eq!(stored(&server), 0);
    }
    let sha256 = upload(&runner, task.id, lease.fence, &good).await.unwrap();
    let request = CompleteRequest { fence: lease.fence, sha256: Some(sha256) };
    assert_eq!(runner.complete(task.id, &request).await.unwrap().state, TaskState::Completed);
}

#[tokio::test]
async fn what_cannot_be_delivered_is_refused_with_its_reason() {
    let (server, runner) = with_tasks(1).await;
    let (task, lease) = claimed(&runner, "r", "runner").await;
    let bytes = archive(&[("output.txt", "x")]);
    let without = CompleteRequest { fence: lease.fence, sha256: None };
    let refused = runner.deliver(task.id, &without, bytes.clone().into()).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::BadRequest));
    let wrong = CompleteRequest { fence: lease.fence, sha256: Some("A".repeat(64)) };
    let refused = runner.deliver(task.id, &wrong, bytes.into()).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::BadRequest));
    let path = format!("/api/v1/tasks/{}/result?fence={}&sha256={}", task.id, lease.fence, "0".repeat(64));
    let key = server.run_key("r");
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: 262145\r\n\r\n",
        key.expose()
    );
    let mut stream = tokio::net::TcpStream::connect(server.running.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    let empty = runner.deliver(task.id, &completion(lease.fence, b""), Vec::new().into()).await.unwrap_err();
    assert_eq!(empty.code(), Some(ErrorCode::LengthRequired), "without a body no length is sent");
    assert_eq!(stored(&server), 0);
}

#[tokio::test]
async fn an_archive_with_its_digest_needs_no_announcement_to_be_kept() {
    let (server, runner) = with_tasks(1).await;
    let (task, lease) = claimed(&runner, "r", "runner").await;
    let bytes = archive(&[("output.txt", "kept")]);
    let request = completion(lease.fence, &bytes);
    let path = format!("/api/v1/tasks/{}/result?fence={}&sha256={}", task.id, lease.fence, sha256(&bytes));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let sent = http.put(server.url(&path)).bearer_auth(server.run_key("r").expose()).body(bytes).send();
    assert_eq!(sent.await.unwrap().status(), 204);
    assert_eq!(server.admin().task(task.id).await.unwrap().state, TaskState::Claimed);
    assert_eq!(runner.complete(task.id, &request).await.unwrap().state, TaskState::Completed);
}

#[tokio::test]
async fn an_optional_result_is_kept_all_the_same() {
    let server = Server::start().await;
    let run = bench::api::CreateRun { results: ResultsPolicy::Optional, ..create("r", 1) };
    server.admin().create_run(&run).await.unwrap();
    let runner = server.runner("r");
    let (task, lease) = claimed(&runner, "r", "runner").await;
    let bytes = archive(&[("output.txt", "kept")]);
    runner.deliver(task.id, &completion(lease.fence, &bytes), bytes.into()).await.unwrap();
    assert_eq!(stored(&server), 1);
}
