//! Events as they happen.

use std::time::Duration;

use bench::api::{Event, EventKind};
use futures::StreamExt as _;

use crate::harness::{Server, create, finish_one, run_id};

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("an event comes")
}

#[tokio::test]
async fn a_follower_sees_every_change_once_and_in_order_and_then_the_end() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create_run(&create("r", 2)).await.unwrap();
    let mut events = admin.events(&run_id("r"), 0);
    let first = soon(events.next()).await.unwrap().unwrap();
    assert_eq!(first.kind, EventKind::RunCreated);
    finish_one(&server.runner("r"), "r", "x").await;
    finish_one(&server.runner("r"), "r", "x").await;

    let rest: Vec<Event> = soon(events.map(Result::unwrap).collect()).await;
    let seqs: Vec<i64> = rest.iter().map(|event| event.seq).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b) && seqs[0] > first.seq, "{seqs:?}");
    let completed = rest.iter().filter(|event| event.kind == EventKind::TaskCompleted).count();
    assert_eq!(completed, 2);
    assert!(rest.iter().any(|event| event.kind == EventKind::RunFinished));

    let later: Vec<Event> = soon(admin.events(&run_id("r"), seqs[0]).map(Result::unwrap).collect()).await;
    assert_eq!(later.len(), rest.len() - 1, "a follower can begin anywhere");
}

#[tokio::test]
async fn a_run_that_does_not_exist_is_an_error_and_ends_the_stream() {
    let server = Server::start().await;
    let mut events = server.admin().events(&run_id("none"), 0);
    assert!(soon(events.next()).await.unwrap().is_err());
    assert!(soon(events.next()).await.is_none());
}

#[tokio::test]
async fn shutting_down_ends_event_streams() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create_run(&create("r", 1)).await.unwrap();
    let mut events = admin.events(&run_id("r"), 0);
    soon(events.next()).await.unwrap().unwrap();
    soon(server.running.shutdown()).await;
}
