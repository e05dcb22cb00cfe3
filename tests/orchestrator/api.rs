//! The life of a run, call by call.

use bench::api::{
    CompleteRequest, Deadline, ErrorCode, FailKind, FailRequest, HeartbeatRequest, HostEvent, HostStage,
    ReleaseRequest, RunStatus, TaskState, UploadRequest,
};
use bench::orchestrator::archive::{Layout, Limits, unpack_into};

use crate::harness::{Server, archive, claimed, create, file, finish_one, run_id, sha256, upload};

fn beat(fence: i64) -> HeartbeatRequest {
    HeartbeatRequest { fence, status: "measure".into(), progress: Some(0.5), message: None }
}

#[tokio::test]
async fn a_run_goes_from_creation_to_its_results() {
    let server = Server::start().await;
    let (admin, runner) = (server.admin(), server.runner("r"));
    let created = admin.create_run(&create("r", 2)).await.unwrap();
    assert_eq!(created.tasks.total, 2);
    assert_eq!(admin.create_run(&create("r", 2)).await.unwrap().tasks.total, 2, "creating twice is one run");

    let (task, lease) = claimed(&runner, "r", "runner-1").await;
    runner.heartbeat(task.id, &beat(lease.fence)).await.unwrap();
    let sha = upload(&runner, task.id, lease.fence, &archive(&[("output.txt", "one")])).await.unwrap();
    let complete = CompleteRequest { fence: lease.fence, sha256: Some(sha) };
    assert_eq!(runner.complete(task.id, &complete).await.unwrap().state, TaskState::Completed);
    assert_eq!(runner.complete(task.id, &complete).await.unwrap().state, TaskState::Completed);
    let second = finish_one(&runner, "r", "two").await;

    let run = admin.run(&run_id("r")).await.unwrap();
    assert_eq!((run.status, run.tasks.completed), (RunStatus::Completed, 2));
    let attempts = admin.attempts(task.id).await.unwrap();
    assert!(attempts.len() == 1 && attempts[0].accepted, "{attempts:?}");
    assert_eq!(admin.tasks(&run_id("r")).await.unwrap().len(), 2);
    assert_eq!(admin.task_log(second.id, 100).await.unwrap(), "two");

    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("results.tar.gz");
    admin.download_results(&run_id("r"), &packed).await.unwrap();
    let out = folder.path().join("out");
    unpack_into(std::fs::File::open(&packed).unwrap(), Layout::Run, Limits::RUN, &out).unwrap();
    let text = std::fs::read_to_string(out.join(format!("here-{}/output.txt", task.number))).unwrap();
    assert_eq!(text, "one");
    server.running.shutdown().await;
}

#[tokio::test]
async fn another_specification_under_the_same_id_is_a_conflict() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create_run(&create("r", 2)).await.unwrap();
    let refused = admin.create_run(&create("r", 3)).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::RunConflict));
}

#[tokio::test]
async fn a_stale_fence_is_refused_everywhere() {
    let server = Server::start().await;
    let (admin, runner) = (server.admin(), server.runner("r"));
    admin.create_run(&create("r", 1)).await.unwrap();
    let (task, old) = claimed(&runner, "r", "runner-1").await;
    let released = ReleaseRequest { fence: old.fence, reason: "sigterm".into() };
    assert_eq!(runner.release(task.id, &released).await.unwrap().state, TaskState::Pending);
    let (again, lease) = claimed(&runner, "r", "runner-2").await;
    assert_eq!(again.id, task.id);
    assert!(lease.fence > old.fence);

    let fence = old.fence;
    let stale = [
        runner.heartbeat(task.id, &beat(fence)).await.unwrap_err(),
        runner.complete(task.id, &CompleteRequest { fence, sha256: Some("0".repeat(64)) }).await.unwrap_err(),
        runner.upload(task.id, &UploadRequest { fence, sha256: "0".repeat(64), size: 1 }).await.unwrap_err(),
    ];
    for error in stale {
        assert_eq!(error.code(), Some(ErrorCode::StaleFence), "{error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn a_result_that_was_not_uploaded_does_not_count() {
    let server = Server::start().await;
    let (admin, runner) = (server.admin(), server.runner("r"));
    admin.create_run(&create("r", 1)).await.unwrap();
    let (task, lease) = claimed(&runner, "r", "runner-1").await;
    let complete = CompleteRequest { fence: lease.fence, sha256: Some("0".repeat(64)) };
    let missing = runner.complete(task.id, &complete).await.unwrap_err();
    assert_eq!(missing.code(), Some(ErrorCode::ResultMissing));

    let bytes = archive(&[("output.txt", "x")]);
    let sha = upload(&runner, task.id, lease.fence, &bytes).await.unwrap();
    runner.complete(task.id, &CompleteRequest { fence: lease.fence, sha256: Some(sha) }).await.unwrap();
    let other = runner.complete(task.id, &complete).await.unwrap_err();
    assert_eq!(other.code(), Some(ErrorCode::DigestConflict));
}

#[tokio::test]
async fn bytes_other_than_announced_are_refused() {
    let server = Server::start().await;
    let (admin, runner) = (server.admin(), server.runner("r"));
    admin.create_run(&create("r", 1)).await.unwrap();
    let (task, lease) = claimed(&runner, "r", "runner-1").await;
    let real = archive(&[("output.txt", "a")]);
    let mut other = real.clone();
    *other.last_mut().unwrap() ^= 1;
    let request = UploadRequest { fence: lease.fence, sha256: sha256(&real), size: real.len() as u64 };
    let ticket = runner.upload(task.id, &request).await.unwrap();
    let (_folder, path) = file(&other);
    let refused = runner.send_result(&ticket, &path).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::BadResult));
    let (_folder, path) = file(&real[..real.len() - 1]);
    let refused = runner.send_result(&ticket, &path).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::BadResult));
    let (_folder, path) = file(&real);
    runner.send_result(&ticket, &path).await.unwrap();
}

#[tokio::test]
async fn a_failed_task_keeps_its_reason_and_its_log() {
    let server = Server::start().await;
    let (admin, runner) = (server.admin(), server.runner("r"));
    admin.create_run(&create("r", 1)).await.unwrap();
    let (task, lease) = claimed(&runner, "r", "runner-1").await;
    let sha = upload(&runner, task.id, lease.fence, &archive(&[("output.txt", "why")])).await.unwrap();
    let fail = FailRequest {
        fence: lease.fence,
        error_type: FailKind::Exit,
        error_message: "exit status 3".into(),
        sha256: Some(sha),
    };
    let failed = runner.fail(task.id, &fail).await.unwrap();
    assert_eq!((failed.state, failed.reason.as_deref()), (TaskState::Failed, Some("exit")));
    assert_eq!(admin.task_log(task.id, 100).await.unwrap(), "why");
    assert_eq!(admin.run(&run_id("r")).await.unwrap().status, RunStatus::Failed);
}

#[tokio::test]
async fn hosts_and_runners_are_seen() {
    let server = Server::start().await;
    let (admin, runner) = (server.admin(), server.runner("r"));
    admin.create_run(&create("r", 1)).await.unwrap();
    let event = HostEvent { stage: HostStage::Boot, provider: "local".into(), alias: None, message: None };
    runner.host_event(&run_id("r"), "host", &event).await.unwrap();
    claimed(&runner, "r", "runner-1").await;
    runner.runner_gone(&run_id("r"), "runner-1").await.unwrap();
    let hosts = admin.hosts(&run_id("r")).await.unwrap();
    assert_eq!(hosts.len(), 1, "{hosts:?}");
    assert_eq!(hosts[0].runners.len(), 1, "{hosts:?}");
}

#[tokio::test]
async fn the_master_moves_a_deadline_and_hosts_read_it() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create_run(&create("r", 1)).await.unwrap();
    let later = Deadline { expires_at: Some(4_102_444_800) };
    let by_host = server.runner("r").move_deadline(&run_id("r"), later).await.unwrap_err();
    assert_eq!(by_host.code(), Some(ErrorCode::Forbidden));

    // As a shell on a host reads it: on one line, by these words.
    let ask = |run: &str| {
        let url = server.url("/api/v1/runs/r/hosts/i-1/deadline");
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        http.get(url).bearer_auth(server.run_key(run).expose()).send()
    };
    assert_eq!(ask("r").await.unwrap().text().await.unwrap(), r#"{"expires_at":null}"#);
    assert_eq!(admin.move_deadline(&run_id("r"), later).await.unwrap(), later);
    assert_eq!(ask("r").await.unwrap().text().await.unwrap(), r#"{"expires_at":4102444800}"#);
    assert_eq!(ask("other").await.unwrap().status(), 403);
}

#[tokio::test]
async fn hosts_fetch_the_programs_that_the_master_offers() {
    let server = Server::start().await;
    let (admin, runner) = (server.admin(), server.runner("r"));
    let (_folder, path) = file(b"a program");
    let digest = sha256(b"a program");
    let fetch = |key: bench::client::Secret, digest: &str| {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        http.get(server.url(&format!("/api/v1/binaries/{digest}"))).bearer_auth(key.expose()).send()
    };
    assert_eq!(fetch(server.run_key("r"), &digest).await.unwrap().status(), 404);
    assert_eq!(runner.offer_program(&digest, &path).await.unwrap_err().code(), Some(ErrorCode::Forbidden));
    let wrong = admin.offer_program(&sha256(b"another"), &path).await.unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::BadResult));

    for _ in 0..2 {
        admin.offer_program(&digest, &path).await.unwrap();
    }
    // What is there already is not sent again.
    admin.offer_program(&digest, std::path::Path::new("/nonexistent")).await.unwrap();
    let fetched = fetch(server.run_key("r"), &digest).await.unwrap();
    assert_eq!(fetched.content_length(), Some(9));
    assert_eq!(fetched.bytes().await.unwrap(), "a program");

    // The orchestrator has its own program: here, this test.
    let own = sha256(&std::fs::read("/proc/self/exe").unwrap());
    admin.offer_program(&own, std::path::Path::new("/nonexistent")).await.unwrap();
    for bad in ["..%2Fkeys.json", "keys.json", &"A".repeat(64)] {
        assert_eq!(fetch(server.run_key("r"), bad).await.unwrap().status(), 400, "{bad}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let server = Server::start().await;
    let admin = server.admin();
    assert_eq!(admin.run(&run_id("none")).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    assert_eq!(admin.tasks(&run_id("none")).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    assert_eq!(admin.task(1).await.unwrap_err().code(), Some(ErrorCode::NotFound));
}
