//! Who is let in.

use bench::api::ErrorCode;
use bench::client::{Client, Endpoint, Secret};
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Server, claim, claimed, create, run_id};

async fn status(request: reqwest::RequestBuilder) -> StatusCode {
    request.send().await.unwrap().status()
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn without_a_key_only_health_is_shown() {
    let server = Server::start().await;
    for open in ["/up", "/ready", "/metrics"] {
        assert_eq!(status(http().get(server.url(open))).await, StatusCode::OK, "{open}");
    }
    for closed in ["/api/v1/runs", "/api/v1/runs/r", "/api/v1/openapi.json", "/api/v1/none", "/none"] {
        assert_eq!(status(http().get(server.url(closed))).await, StatusCode::UNAUTHORIZED, "{closed}");
    }
}

#[tokio::test]
async fn requests_on_behalf_of_others_are_not_local() {
    let server = Server::start().await;
    let foreign = [
        ("x-forwarded-for", "1.2.3.4"),
        ("forwarded", "for=x"),
        ("via", "1.1 proxy"),
        ("host", "evil.example"),
    ];
    for (name, value) in foreign {
        let request = http().get(server.url("/metrics")).header(name, value);
        assert_eq!(status(request).await, StatusCode::UNAUTHORIZED, "{name}");
    }
    let two_names =
        http().get(server.url("/metrics")).header("host", "localhost").header("host", "evil.example");
    assert_eq!(status(two_names).await, StatusCode::UNAUTHORIZED);
    // The name in the target, and the one beside it.
    let named = [
        ("evil.example", "localhost", "401"),
        ("localhost", "evil.example", "401"),
        ("localhost", "localhost", "200"),
    ];
    for (target, host, expected) in named {
        let mut stream = TcpStream::connect(server.running.address()).await.unwrap();
        let request =
            format!("GET http://{target}/metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(expected), "{answer}");
    }
}

#[tokio::test]
async fn wrong_keys_are_refused_and_counted() {
    let server = Server::start().await;
    for key in ["wrong", "rk.00000000.r.9999999999.00", "", "rk.x"] {
        let request = http().get(server.url("/api/v1/runs")).bearer_auth(key);
        assert_eq!(status(request).await, StatusCode::UNAUTHORIZED, "{key}");
    }
    let metrics = server.metrics().await;
    assert!(metrics.contains("bench_http_refused_total{reason=\"wrong_key\"} 4"), "{metrics}");

    // A run key with its run or expiry changed is a wrong key, on its own run's calls as well.
    server.admin().create_run(&create("r", 1)).await.unwrap();
    let key = server.run_key("s").expose().to_owned();
    let expires = key.split('.').nth(3).unwrap();
    for forged in [key.replacen(".s.", ".r.", 1), key.replacen(expires, "99999999999", 1)] {
        let url = server.url("/api/v1/runs/r/tasks/claim");
        let request = http().post(url).bearer_auth(forged).json(&claim("runner", 0));
        assert_eq!(status(request).await, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_run_key_is_good_for_its_run_and_for_runners_calls_alone() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create_run(&create("mine", 1)).await.unwrap();
    admin.create_run(&create("other", 1)).await.unwrap();
    let runner = server.runner("mine");
    claimed(&runner, "mine", "runner").await;

    let foreign_claim = runner.claim(&run_id("other"), &claim("runner", 0)).await.unwrap_err();
    assert_eq!(foreign_claim.code(), Some(ErrorCode::Forbidden));
    let masters = [
        runner.runs().await.unwrap_err(),
        runner.run(&run_id("mine")).await.unwrap_err(),
        runner.stop_run(&run_id("mine")).await.unwrap_err(),
        runner.create_run(&create("new", 1)).await.unwrap_err(),
    ];
    for error in masters {
        assert_eq!(error.code(), Some(ErrorCode::Forbidden), "{error}");
    }
    for all_runs in ["/metrics", "/"] {
        let key = server.run_key("mine");
        let answer = http().get(server.url(all_runs)).bearer_auth(key.expose()).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{all_runs}");
    }
    let (task, lease) = claimed(&server.runner("other"), "other", "runner").await;
    let beat = bench::api::HeartbeatRequest {
        fence: lease.fence,
        status: "x".into(),
        progress: None,
        message: None,
    };
    let foreign_beat = runner.heartbeat(task.id, &beat).await.unwrap_err();
    assert!(
        matches!(foreign_beat.code(), Some(ErrorCode::Forbidden | ErrorCode::NotFound)),
        "{foreign_beat}"
    );
}

#[tokio::test]
async fn an_expired_run_key_is_refused() {
    let server = Server::start().await;
    server.admin().create_run(&create("r", 1)).await.unwrap();
    let past = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(1);
    let key = server.running.run_key(&run_id("r"), past);
    let runner = Client::new(Endpoint { key, ..server.running.endpoint() }).unwrap();
    let refused = runner.claim(&run_id("r"), &claim("runner", 0)).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Unauthorized));
    assert!(refused.to_string().contains("expired"), "{refused}");
}

#[tokio::test]
async fn guessing_is_slowed_down_and_does_not_lock_others_out() {
    let server = Server::start_with(|config| config.limits.refused_per_second = 0.1).await;
    let guess = || http().get(server.url("/api/v1/runs")).bearer_auth("wrong");
    assert_eq!(status(guess()).await, StatusCode::UNAUTHORIZED);
    let slowed = guess().send().await.unwrap();
    assert_eq!(slowed.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(slowed.headers().contains_key("retry-after"));
    server.admin().runs().await.unwrap();
}

#[tokio::test]
async fn a_run_key_has_a_rate_limit() {
    let server = Server::start_with(|config| config.limits.run_key_per_second = 0.5).await;
    server.admin().create_run(&create("r", 5)).await.unwrap();
    let runner = server.runner("r");
    claimed(&runner, "r", "runner").await;
    let refused = runner.claim(&run_id("r"), &claim("runner", 0)).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::RateLimited));
    assert!(refused.retry_after().is_some() && refused.is_transient());
}

#[tokio::test]
async fn a_given_admin_key_is_used_and_short_ones_are_refused() {
    let key = Secret::new("an admin key of some length");
    let server = Server::start_with(|config| config.admin_key = Some(key.clone())).await;
    assert_eq!(server.running.admin_key(), key);
    server.admin().runs().await.unwrap();

    let home = tempfile::tempdir().unwrap();
    let mut config = crate::harness::config(home.path());
    config.admin_key = Some("short".into());
    assert!(bench::orchestrator::start(config).await.is_err());
}
