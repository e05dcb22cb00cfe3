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

#[tokio::test]
async fn a_follower_may_begin_so_many_events_before_the_newest() {
    let server = Server::start().await;
    server.admin().create_run(&create("r", 2)).await.unwrap();
    finish_one(&server.runner("r"), "r", "x").await;
    finish_one(&server.runner("r"), "r", "x").await;
    let all: Vec<Event> = soon(server.admin().events(&run_id("r"), 0).map(Result::unwrap).collect()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ids = |query: &str, resumed: Option<i64>| {
        let url = server.url(&format!("/api/v1/runs/r/events?{query}"));
        let mut request = http.get(url).bearer_auth(server.running.endpoint().key.expose());
        if let Some(id) = resumed {
            request = request.header("Last-Event-ID", id);
        }
        async move {
            let answer = soon(request.send()).await.unwrap();
            let status = answer.status().as_u16();
            let text = soon(answer.text()).await.unwrap();
            let ids = text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok());
            (status, ids.collect::<Vec<i64>>())
        }
    };
    let seqs = |from: usize| (200, all[from..].iter().map(|event| event.seq).collect::<Vec<_>>());
    assert_eq!(ids("last=3", None).await, seqs(all.len() - 3));
    assert_eq!(ids("last=10000", None).await, seqs(0));
    assert_eq!(ids("last=3", Some(all[0].seq)).await, seqs(1), "a connection that broke off goes on");
    assert_eq!(ids(&format!("last=3&after={}", all[1].seq), None).await, seqs(2));
    for query in ["last=0", "last=10001", "last=-1"] {
        assert_eq!(ids(query, None).await, (400, vec![]), "{query}");
    }
}
