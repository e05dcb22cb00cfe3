//! Long polls: answered when there is something to say, not before and not by asking again.

use std::time::Duration;

use bench::api::{ClaimResponse, ReleaseRequest, TaskView};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Server, archive, claim, claimed, create, finish_one, run_id, sha256, upload};

#[tokio::test]
async fn a_waiting_claim_gets_the_task_that_comes_back() {
    let server = Server::start().await;
    server.admin().create_run(&create("r", 1)).await.unwrap();
    let runner = server.runner("r");
    let (task, lease) = claimed(&runner, "r", "runner-1").await;

    let waiter = server.runner("r");
    let waiting = tokio::spawn(async move { waiter.claim(&run_id("r"), &claim("runner-2", 60)).await });
    let release = ReleaseRequest { fence: lease.fence, reason: "sigterm".into() };
    runner.release(task.id, &release).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("woken up");
    assert!(matches!(answer.unwrap().unwrap(), ClaimResponse::Assigned { .. }));
}

#[tokio::test]
async fn a_waiting_claim_learns_that_the_run_is_done() {
    let server = Server::start().await;
    server.admin().create_run(&create("r", 2)).await.unwrap();
    let runner = server.runner("r");
    let (task, lease) = claimed(&runner, "r", "runner-1").await;
    finish_one(&runner, "r", "x").await;
    let waiter = server.runner("r");
    let waiting = tokio::spawn(async move { waiter.claim(&run_id("r"), &claim("runner-2", 60)).await });
    let bytes = archive(&[("output.txt", "x")]);
    let sha256 = Some(upload(&runner, task.id, lease.fence, &bytes).await.unwrap());
    let complete = bench::api::CompleteRequest { fence: lease.fence, sha256 };
    runner.complete(task.id, &complete).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("woken up");
    assert_eq!(answer.unwrap().unwrap(), ClaimResponse::Done);
}

#[tokio::test]
async fn a_claim_that_does_not_wait_is_answered_at_once() {
    let server = Server::start().await;
    server.admin().create_run(&create("r", 1)).await.unwrap();
    let runner = server.runner("r");
    claimed(&runner, "r", "runner-1").await;
    let answer = runner.claim(&run_id("r"), &claim("runner-2", 0)).await.unwrap();
    assert!(matches!(answer, ClaimResponse::Wait { retry_after_seconds } if retry_after_seconds > 0.0));
}

#[tokio::test]
async fn tasks_that_nobody_claims_fail_at_their_deadline_with_the_reason() {
    let server = Server::start().await;
    let mut run = create("r", 2);
    run.pending_timeout_seconds = 1;
    let admin = server.admin();
    admin.create_run(&run).await.unwrap();
    let view = loop {
        let view = admin.run(&run_id("r")).await.unwrap();
        if view.status.is_final() {
            break view;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(view.tasks.failed, 2, "{view:?}");
    let tasks = admin.tasks(&run_id("r")).await.unwrap();
    let unclaimed = |task: &TaskView| task.reason.as_deref() == Some("unclaimed") && task.attempts == 0;
    assert!(tasks.iter().all(unclaimed), "{tasks:?}");
}

#[tokio::test]
async fn shutting_down_ends_long_polls_politely() {
    let server = Server::start().await;
    server.admin().create_run(&create("r", 1)).await.unwrap();
    let runner = server.runner("r");
    claimed(&runner, "r", "runner-1").await;
    let waiting = tokio::spawn(async move { runner.claim(&run_id("r"), &claim("runner-2", 60)).await });
    let admin = server.admin();
    loop {
        // The waiting runner is known once its claim has reached the store.
        let hosts = admin.hosts(&run_id("r")).await.unwrap();
        if hosts.iter().flat_map(|host| &host.runners).any(|runner| runner.runner_id == "runner-2") {
            break;
        }
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(Duration::from_secs(30), server.running.shutdown()).await.expect("it stops");
    assert!(matches!(waiting.await.unwrap().unwrap(), ClaimResponse::Wait { .. }));
}

#[tokio::test]
async fn shutting_down_lets_a_result_on_its_way_arrive() {
    let server = Server::start().await;
    server.admin().create_run(&create("r", 1)).await.unwrap();
    let (task, lease) = claimed(&server.runner("r"), "r", "runner").await;
    let bytes = archive(&[("output.txt", "just in time")]);
    let head = format!(
        "PUT /api/v1/tasks/{}/result?fence={}&sha256={}&complete=true HTTP/1.1\r\nhost: localhost\r\n\
         authorization: Bearer {}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        task.id,
        lease.fence,
        sha256(&bytes),
        server.run_key("r").expose(),
        bytes.len()
    );
    let address = server.running.address();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // Said once the handler asks for the body.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&bytes[..10]).await.unwrap();

    let Server { running, home } = server;
    let stopping = tokio::spawn(running.shutdown());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(&bytes[10..]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""state":"completed""#), "{answer}");
    tokio::time::timeout(Duration::from_secs(30), stopping).await.expect("it stops").unwrap();

    let again = bench::orchestrator::start(crate::harness::config(home.path())).await.unwrap();
    let admin = bench::client::Client::new(again.endpoint()).unwrap();
    assert_eq!(admin.task_log(task.id, 100).await.unwrap(), "just in time");
}
