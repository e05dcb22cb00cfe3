//! What clients cannot take from the orchestrator.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::Server;

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn refusal(server: &Server, request: reqwest::RequestBuilder) -> (StatusCode, String) {
    let answer = request.bearer_auth(server.running.admin_key().expose()).send().await.unwrap();
    let (status, id) = (answer.status(), answer.headers()["x-request-id"].to_str().unwrap().to_owned());
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["request_id"], id);
    (status, body["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_refusal_has_the_same_form() {
    let server = Server::start().await;
    let runs = server.url("/api/v1/runs");
    let json = |body: &'static str| http().post(&runs).header("content-type", "application/json").body(body);
    let cases = [
        (http().get(server.url("/api/v1/none")), 404, "not_found"),
        (http().put(&runs), 405, "method_not_allowed"),
        (http().post(&runs).body("{}"), 415, "unsupported_media_type"),
        (json("{"), 400, "bad_request"),
        (json("{\"unknown\": 1}"), 400, "bad_request"),
        (http().get(server.url("/api/v1/runs/UPPER")), 400, "bad_request"),
        (http().get(server.url("/api/v1/runs/r%00/tasks")), 400, "bad_request"),
        (http().get(server.url("/api/v1/tasks/x")), 400, "bad_request"),
        (http().get(server.url("/api/v1/runs/r/tasks?limit=0")), 400, "bad_request"),
        (http().get(server.url("/api/v1/runs/r/tasks?nothing=1")), 400, "bad_request"),
        (json("x").body(vec![b' '; 5 << 20]), 413, "too_large"),
    ];
    for (request, status, code) in cases {
        let shown = format!("{request:?}");
        let (found, found_code) = refusal(&server, request).await;
        assert_eq!((found.as_u16(), found_code.as_str()), (status, code), "{shown}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_there_names_those_that_are() {
    let server = Server::start().await;
    let key = server.running.admin_key();
    let answer = http().delete(server.url("/api/v1/runs")).bearer_auth(key.expose()).send().await.unwrap();
    let allow = answer.headers()["allow"].to_str().unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
}

#[tokio::test]
async fn request_ids_are_taken_where_they_are_harmless() {
    let server = Server::start().await;
    let ask = |id: &'static str| http().get(server.url("/up")).header("x-request-id", id).send();
    assert_eq!(ask("mine-1").await.unwrap().headers()["x-request-id"], "mine-1");
    let made = ask("<script>").await.unwrap().headers()["x-request-id"].clone();
    assert!(!made.is_empty() && made != "<script>");
}

#[tokio::test]
async fn an_upload_without_a_length_or_announcement_is_refused() {
    let server = Server::start().await;
    let (admin, runner) = (server.admin(), server.runner("r"));
    admin.create_run(&crate::harness::create("r", 1)).await.unwrap();
    let (task, lease) = crate::harness::claimed(&runner, "r", "runner").await;
    let url = server.url(&format!("/api/v1/tasks/{}/result?fence={}", task.id, lease.fence));
    let (status, code) = refusal(&server, http().put(&url).body("x")).await;
    assert_eq!((status.as_u16(), code.as_str()), (422, "result_missing"));

    let request = bench::api::UploadRequest { fence: lease.fence, sha256: "0".repeat(64), size: 1 };
    runner.upload(task.id, &request).await.unwrap();
    let stream = futures::stream::iter([Ok::<_, std::io::Error>("x")]);
    let (status, code) = refusal(&server, http().put(&url).body(reqwest::Body::wrap_stream(stream))).await;
    assert_eq!((status.as_u16(), code.as_str()), (411, "length_required"));
    let large = bench::api::UploadRequest { size: u64::MAX, ..request };
    assert_eq!(
        runner.upload(task.id, &large).await.unwrap_err().code(),
        Some(bench::api::ErrorCode::TooLarge)
    );
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_refused_and_change_nothing() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.create_run(&crate::harness::create("r", 1)).await.unwrap();
    let (task, lease) = crate::harness::claimed(&server.runner("r"), "r", "runner").await;
    let run = serde_json::to_value(crate::harness::create("new", 1)).unwrap();
    let with = |path: &str, value: Value| {
        let mut run = run.clone();
        *run.pointer_mut(path).unwrap() = value;
        run.to_string().into_bytes()
    };
    let text = run.to_string();
    let many = serde_json::json!({"provider": "p", "instance_type": "i", "alias": "a", "count": 1});
    let deep = |depth| format!("{{\"run_id\":{}1{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("negative count", with("/tasks/0/count", (-1).into())),
        ("no tasks", with("/tasks/0/count", 0.into())),
        ("too many tasks", with("/tasks/0/count", 1_000_001.into())),
        ("more than a number holds", with("/tasks/0/count", u64::MAX.into())),
        ("half a task", with("/tasks/0/count", 1.5.into())),
        ("a number as text", with("/tasks/0/count", "1".into())),
        ("negative seconds", with("/lease_seconds", (-60).into())),
        ("nothing", with("/lease_seconds", Value::Null)),
        ("a path as id", with("/run_id", "../r".into())),
        ("a NUL", with("/tasks/0/provider", "a\0b".into())),
        ("a long name", with("/tasks/0/provider", "x".repeat(65).into())),
        ("an alias twice", with("/tasks", vec![many.clone(), many].into())),
        ("unknown within", text.replacen("\"count\"", "\"colour\": 1, \"count\"", 1).into_bytes()),
        ("a key twice", text.replacen("\"seed\"", "\"seed\": 1, \"seed\"", 1).into_bytes()),
        (
            "bad UTF-8",
            text.replacen("local", "\u{1}", 1)
                .into_bytes()
                .into_iter()
                .map(|b| if b == 1 { 0xff } else { b })
                .collect(),
        ),
        ("half a surrogate", text.replacen("local", "\\ud800", 1).into_bytes()),
        ("two documents", [text.as_bytes(), b"{}"].concat()),
        ("a list", b"[]".to_vec()),
        ("nothing at all", Vec::new()),
        ("depth", deep(100)),
        ("depth beyond any stack", deep(1_000_000)),
    ];
    let post = |url: String, body: Vec<u8>| {
        let json = "application/json; charset=utf-8";
        http().post(url).header("content-type", json).body(body)
    };
    for (name, body) in bodies {
        let (status, code) = refusal(&server, post(server.url("/api/v1/runs"), body)).await;
        assert_eq!((status.as_u16(), code.as_str()), (400, "bad_request"), "{name}");
    }
    for name in ["\u{1b}[2J", "line\nline", "\u{7f}", ""] {
        for field in ["runner_id", "host"] {
            let mut claim = serde_json::to_value(crate::harness::claim("runner-2", 0)).unwrap();
            claim[field] = name.into();
            let url = server.url("/api/v1/runs/r/tasks/claim");
            let (status, code) = refusal(&server, post(url, claim.to_string().into_bytes())).await;
            assert_eq!((status.as_u16(), code.as_str()), (400, "bad_request"), "{field} {name:?}");
        }
    }
    let fence = lease.fence;
    let calls = [
        ("heartbeat", format!(r#"{{"fence":{fence},"status":"x","progress":-0.5}}"#)),
        ("heartbeat", format!(r#"{{"fence":{fence},"status":"x","progress":1e999}}"#)),
        ("heartbeat", format!(r#"{{"fence":{fence},"status":"x","progress":NaN}}"#)),
        ("heartbeat", format!(r#"{{"fence":{fence},"status":"{}"}}"#, "x".repeat(33))),
        ("heartbeat", r#"{"fence":9223372036854775808,"status":"x"}"#.to_owned()),
        ("upload", format!(r#"{{"fence":{fence},"sha256":"{}","size":-1}}"#, "0".repeat(64))),
        ("upload", format!(r#"{{"fence":{fence},"sha256":"{}","size":0}}"#, "0".repeat(64))),
        ("upload", format!(r#"{{"fence":{fence},"sha256":"{}","size":1}}"#, "../".repeat(21) + "x")),
        ("complete", format!(r#"{{"fence":{fence},"sha256":"","more":1}}"#)),
        ("fail", format!(r#"{{"fence":{fence},"error_type":"bored","error_message":""}}"#)),
        ("release", format!(r#"{{"fence":{fence},"reason":"{}"}}"#, "x".repeat(65))),
    ];
    for (call, body) in calls {
        let url = server.url(&format!("/api/v1/tasks/{}/{call}", task.id));
        let (status, code) = refusal(&server, post(url, body.clone().into_bytes())).await;
        assert_eq!((status.as_u16(), code.as_str()), (400, "bad_request"), "{call} {body}");
    }
    for fence in [-1, 0, i64::MIN, i64::MAX] {
        let url = server.url(&format!("/api/v1/tasks/{}/heartbeat", task.id));
        let body = format!(r#"{{"fence":{fence},"status":"x"}}"#).into_bytes();
        assert_eq!(refusal(&server, post(url, body)).await, (StatusCode::CONFLICT, "stale_fence".to_owned()));
    }
    assert_eq!(admin.runs().await.unwrap().len(), 1);
    let (now, claimed) = (admin.task(task.id).await.unwrap(), bench::api::TaskState::Claimed);
    assert_eq!((now.state, now.attempts), (claimed, 1));
}

/// Sends a beginning of a request and waits for the server to end the connection.
async fn left_alone_after(server: &Server, start: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.running.address()).await.unwrap();
    stream.write_all(start).await.unwrap();
    let mut answer = String::new();
    let ended = tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut answer)).await;
    ended.expect("the server ends the connection by itself").unwrap();
    answer
}

#[tokio::test]
async fn slow_senders_are_cut_off() {
    let server = Server::start_with(|config| {
        config.limits.header_timeout = Duration::from_millis(300);
        config.limits.body_timeout = Duration::from_millis(300);
    })
    .await;
    left_alone_after(&server, b"GET /up HTTP/1.1\r\nhost: loc").await;
    left_alone_after(&server, b"").await;
    let one_answer = left_alone_after(&server, b"GET /up HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(one_answer.starts_with("HTTP/1.1 200"), "{one_answer}");
    let key = server.running.admin_key();
    let head = format!(
        "POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: \
         application/json\r\ncontent-length: 100\r\n\r\n{{",
        key.expose()
    );
    let answer = left_alone_after(&server, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    let metrics = server.metrics().await;
    for (reason, count) in [("header_timeout", 2), ("idle_timeout", 1), ("timeout", 1)] {
        let line = format!("bench_http_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_cut_off_at_its_limit() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.running.address()).await.unwrap();
    let head = format!(
        "POST /api/v1/tasks/1/heartbeat HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: \
         application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        server.running.admin_key().expose()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let mut answer = [0; 12];
    let endless = async {
        let (mut from, mut to) = stream.split();
        let pour = async {
            // Until the server hangs up.
            while to.write_all(chunk.as_bytes()).await.is_ok() {}
            std::future::pending().await
        };
        tokio::select! {
            read = from.read_exact(&mut answer) => read.map(drop),
            () = pour => Ok(()),
        }
    };
    tokio::time::timeout(Duration::from_secs(30), endless).await.expect("it is answered").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn two_lengths_for_one_body_are_not_believed() {
    let server = Server::start().await;
    let key = server.running.admin_key();
    let head = |lengths: &str| {
        format!(
            "POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: \
             application/json\r\n{lengths}\r\n{{}}GET /up HTTP/1.1\r\nhost: localhost\r\n\r\n",
            key.expose()
        )
    };
    for lengths in
        ["content-length: 2\r\ncontent-length: 3\r\n", "content-length: -2\r\n", "content-length: +2\r\n"]
    {
        let answer = left_alone_after(&server, head(lengths).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{lengths}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "what follows is no request: {answer}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_told_so() {
    let server = Server::start().await;
    let many: String = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (request, status) in [
        ("BLAH\r\n\r\n".to_owned(), "400"),
        ("GET /up HTTP/1.1\r\nhost localhost\r\n\r\n".to_owned(), "400"),
        ("GET /up HTTP/9.9\r\nhost: localhost\r\n\r\n".to_owned(), "400"),
        (format!("GET /up HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"), "431"),
    ] {
        let answer = left_alone_after(&server, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
}

#[tokio::test]
async fn oversized_headers_are_refused() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.running.address()).await.unwrap();
    let head = format!("GET /up HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    // The server may hang up before all is sent.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    server.admin().up().await.unwrap();
}

#[tokio::test]
async fn one_address_does_not_take_all_connections() {
    let server = Server::start_with(|config| config.limits.connections_per_peer = 1).await;
    let mut first = TcpStream::connect(server.running.address()).await.unwrap();
    first.write_all(b"GET /up HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(left_alone_after(&server, b"").await, "", "the second one is closed at once");
    drop(first);
    let admin = server.admin();
    while admin.up().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_kernels_table_of_files_has_room_for_all_connections() {
    const CONNECTIONS: usize = 2048;
    let _server = Server::start_with(|config| config.limits.connections = CONNECTIONS).await;
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
    assert!(size.trim().parse::<usize>().unwrap() > CONNECTIONS, "it would grow while connections are taken");
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let server = Server::start_with(|config| config.limits.connections = 2).await;
    let first = TcpStream::connect(server.running.address()).await.unwrap();
    let second = TcpStream::connect(server.running.address()).await.unwrap();
    let admin = server.admin();
    let waiting = tokio::spawn(async move { admin.up().await });
    drop((first, second));
    waiting.await.unwrap().unwrap();
}
