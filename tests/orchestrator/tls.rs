//! HTTPS: the pinned key and no other, checked before anything is sent.

use bench::client::{Client, ClientError, Endpoint, Pin};
use bench::orchestrator::{StartError, TlsMode, start};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::harness::{Server, config};

async fn secure() -> Server {
    Server::start_with(|config| config.tls = TlsMode::SelfMade).await
}

#[tokio::test]
async fn the_pinned_key_is_trusted() {
    let server = secure().await;
    assert!(server.running.url().starts_with("https://"));
    server.admin().runs().await.unwrap();
}

#[tokio::test]
async fn another_key_is_refused_and_learns_nothing() {
    let server = secure().await;
    let other = secure().await;
    let endpoint = Endpoint { pin: other.running.pin(), ..server.running.endpoint() };
    let error = Client::new(endpoint).unwrap().runs().await.unwrap_err();
    assert!(matches!(error, ClientError::PinMismatch { .. }), "{error:?}");
    assert!(!error.is_transient());
    let metrics = server.admin();
    metrics.up().await.unwrap();
}

#[tokio::test]
async fn without_the_pin_a_made_certificate_is_not_trusted() {
    let server = secure().await;
    let endpoint = Endpoint { pin: None, ..server.running.endpoint() };
    let error = Client::new(endpoint).unwrap().runs().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_without_tls_never_sees_the_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 4096];
        let n = stream.read(&mut bytes).await.unwrap();
        bytes.truncate(n);
        bytes
    });
    let pin: Pin = format!("sha256//{}=", "A".repeat(43)).parse().unwrap();
    let endpoint = Endpoint { url, key: "a very secret key".into(), pin: Some(pin) };
    Client::new(endpoint).unwrap().runs().await.unwrap_err();
    let bytes = seen.await.unwrap();
    assert_eq!(bytes[0], 22, "the first record is a TLS handshake");
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
}

#[tokio::test]
async fn curl_takes_the_same_pin() {
    let server = secure().await;
    let pin = server.running.pin().unwrap().to_string();
    let curl = |pin: String| {
        tokio::process::Command::new("curl")
            .args(["-sk", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}", "--pinnedpubkey", &pin])
            .arg(server.url("/up"))
            .output()
    };
    let right = curl(pin.clone()).await.expect("curl is installed");
    assert_eq!(String::from_utf8_lossy(&right.stdout), "200");
    let wrong = curl(format!("sha256//{}=", "A".repeat(43))).await.unwrap();
    assert_eq!(wrong.status.code(), Some(90), "CURLE_SSL_PINNEDPUBKEYNOTMATCH");
}

#[tokio::test]
async fn a_certificate_of_ones_own_works() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = Server::start_with(|config| config.tls = TlsMode::Files { certificate, key }).await;
    assert_eq!(server.running.pin(), Pin::of_certificate(made.cert.der()));
    server.admin().runs().await.unwrap();
}

#[tokio::test]
async fn plain_http_is_refused_off_loopback() {
    let home = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "127.0.0.2:0"] {
        let mut config = config(home.path());
        config.listen = address.parse().unwrap();
        assert!(matches!(start(config).await, Err(StartError::PlainHttp(_))), "{address}");
    }
}

#[tokio::test]
async fn off_loopback_nothing_is_open() {
    let server = Server::start_with(|config| {
        config.tls = TlsMode::SelfMade;
        config.listen = "0.0.0.0:0".parse().unwrap();
    })
    .await;
    let url = format!("https://127.0.0.1:{}", server.running.address().port());
    let endpoint = Endpoint { url, key: "wrong".into(), pin: server.running.pin() };
    let refused = Client::new(endpoint.clone()).unwrap().up().await.unwrap_err();
    assert_eq!(refused.code(), Some(bench::api::ErrorCode::Unauthorized));
    let said = refused.to_string();
    assert!(
        said.starts_with("could not use the orchestrator: the request was refused (status 401): "),
        "{said}"
    );
    let admin = Endpoint { key: server.running.admin_key(), ..endpoint };
    Client::new(admin).unwrap().up().await.unwrap();
}
