//! Figures for those who operate it.

use crate::harness::{Server, claimed, create, finish_one};

#[tokio::test]
async fn metrics_tell_tasks_claims_runners_requests_and_storage() {
    let server = Server::start().await;
    server.admin().create_run(&create("r", 3)).await.unwrap();
    let runner = server.runner("r");
    finish_one(&runner, "r", "x").await;
    claimed(&runner, "r", "runner-2").await;
    let text = server.metrics().await;
    let expected = [
        "bench_tasks{state=\"completed\"} 1",
        "bench_tasks{state=\"claimed\"} 1",
        "bench_tasks{state=\"pending\"} 1",
        "bench_claim_latency_seconds_count 2",
        "bench_runners{state=\"busy\"} 1",
        "bench_http_requests_total{route=\"/api/v1/tasks/{id}/complete\",method=\"POST\",code=\"200\"} 1",
        "bench_leases_lost_total 0",
    ];
    for line in expected {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let stored = text.lines().find_map(|line| line.strip_prefix("bench_storage_stored_bytes_total "));
    assert!(stored.unwrap().parse::<u64>().unwrap() > 0, "{text}");
    let commits = text.lines().find_map(|line| line.strip_prefix("bench_store_commits_total "));
    assert!(commits.unwrap().parse::<u64>().unwrap() > 0, "{text}");
}

#[tokio::test]
async fn a_key_rotated_while_it_serves_is_noticed() {
    let server = Server::start().await;
    let old = server.admin();
    old.create_run(&create("r", 1)).await.unwrap();
    let runner = server.runner("r");
    let now = jiff::Timestamp::now();
    let mut file = bench::orchestrator::auth::KeyringFile::open(server.home.path(), now).unwrap();
    file.rotate(server.home.path(), now).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while old.runs().await.is_ok() {
        assert!(std::time::Instant::now() < deadline, "the old key still opens");
        tokio::task::yield_now().await;
    }
    server.admin().runs().await.unwrap();
    // Hosts that hold a run key of the old one work on until it expires.
    finish_one(&runner, "r", "done").await;
}
