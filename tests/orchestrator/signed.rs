//! Results in an object store that takes nothing but what was signed: `s3s` verifies presigned requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::presigning::PresigningConfig;
use base64::Engine as _;
use bench::api::{
    AssignedTask, ClaimResponse, CompleteRequest, ErrorCode, Lease, TaskState, UploadRequest, UploadTicket,
};
use bench::client::Client;
use bench::orchestrator::archive::{Layout, Limits, unpack_into};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{archive, claim, claimed, create, file, finish_one, run_id, sha256};
use crate::process::{Process, command};

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "a secret that the store knows";

/// The store with one bucket; it ends with the test.
struct Store {
    url: String,
    folder: tempfile::TempDir,
    /// Whether answers break off in the middle.
    breaks_off: Arc<AtomicBool>,
}

impl Store {
    async fn start() -> Store {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let breaks_off = Arc::new(AtomicBool::new(false));
        tokio::spawn(serve(listener, service.build(), breaks_off.clone()));
        Store { url, folder, breaks_off }
    }

    fn orchestrator(&self, home: &Path) -> Process {
        let mut command = command(home);
        command.args(["--storage", "s3://bucket/a/prefix"]).env("AWS_ENDPOINT_URL_S3", &self.url);
        command.env("AWS_ACCESS_KEY_ID", KEY_ID).env("AWS_SECRET_ACCESS_KEY", SECRET);
        Process::spawn(command.env_remove("AWS_SESSION_TOKEN").env("AWS_REGION", "eu-west-1"))
    }

    /// Where the store keeps the object of a ticket.
    fn object(&self, ticket: &UploadTicket) -> PathBuf {
        let path = ticket.url.strip_prefix(&self.url).unwrap().split('?').next().unwrap();
        self.folder.path().join(path.trim_start_matches('/'))
    }
}

/// An orchestrator over a store.
struct Scene {
    client: Client,
    // Ended before its folder goes.
    _process: Process,
    _home: tempfile::TempDir,
    store: Store,
}

impl Scene {
    async fn new() -> Scene {
        let store = Store::start().await;
        let home = tempfile::tempdir().unwrap();
        let process = store.orchestrator(home.path());
        Scene { client: process.client(), _process: process, _home: home, store }
    }
}

async fn serve(listener: TcpListener, service: S3Service, breaks_off: Arc<AtomicBool>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        if breaks_off.load(Ordering::Relaxed) {
            tokio::spawn(break_off(stream));
            continue;
        }
        // One request a connection: the next one meets the store as it is then.
        let connection =
            http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(connection);
    }
}

async fn break_off(mut stream: TcpStream) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n\x1f\x8b").await;
}

/// A claimed task with an archive for it.
struct Work {
    task: AssignedTask,
    lease: Lease,
    bytes: Vec<u8>,
    request: UploadRequest,
    complete: CompleteRequest,
}

impl Work {
    async fn claim(client: &Client, text: &str) -> Work {
        let (task, lease) = claimed(client, "r", "runner").await;
        let bytes = archive(&[("output.txt", text)]);
        let digest = sha256(&bytes);
        let complete = CompleteRequest { fence: lease.fence, sha256: Some(digest.clone()) };
        let request = UploadRequest { fence: lease.fence, sha256: digest, size: bytes.len() as u64 };
        Work { task, lease, bytes, request, complete }
    }
}

/// Makes the request of a ticket with a body, and says how it was answered: status and S3's code.
async fn send(ticket: &UploadTicket, body: impl Into<reqwest::Body>) -> (u16, String) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = http.request(ticket.method.parse().unwrap(), &ticket.url);
    for (name, value) in &ticket.headers {
        // The body tells its own length.
        if name != "content-length" && name != "host" {
            request = request.header(name, value);
        }
    }
    let answer = request.body(body).send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    let code = text.split("<Code>").nth(1).and_then(|rest| rest.split("</Code>").next());
    (status, code.unwrap_or_default().to_owned())
}

fn base64_digest(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(Sha256::digest(bytes))
}

#[tokio::test]
async fn results_go_through_signed_requests_and_come_back() {
    let scene = Scene::new().await;
    let Scene { store, client, .. } = &scene;
    client.ready().await.unwrap();
    client.create_run(&create("r", 2)).await.unwrap();
    let answer = client.claim(&run_id("r"), &claim("runner", 0)).await.unwrap();
    // Nothing may be delivered past the bucket.
    let ClaimResponse::Assigned { task, lease, deliver_bytes: None } = answer else { panic!("{answer:?}") };
    let bytes = archive(&[("output.txt", "signed")]);
    let request = UploadRequest { fence: lease.fence, sha256: sha256(&bytes), size: bytes.len() as u64 };
    let ticket = client.upload(task.id, &request).await.unwrap();
    let (_folder, path) = file(&bytes);
    client.send_result(&ticket, &path).await.unwrap();
    assert_eq!(std::fs::read(store.object(&ticket)).unwrap(), bytes);
    let complete = CompleteRequest { fence: lease.fence, sha256: Some(request.sha256) };
    for _ in 0..2 {
        assert_eq!(client.complete(task.id, &complete).await.unwrap().state, TaskState::Completed);
    }
    finish_one(client, "r", "signed as well").await;
    assert_eq!(client.task_log(task.id, 100).await.unwrap(), "signed");

    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("results.tar.gz");
    client.download_results(&run_id("r"), &packed).await.unwrap();
    unpack_into(std::fs::File::open(&packed).unwrap(), Layout::Run, Limits::RUN, folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join(format!("here-{}/output.txt", task.number)));
    assert_eq!(text.unwrap(), "signed");
}

#[tokio::test]
async fn nothing_of_a_signed_upload_can_be_changed() {
    let scene = Scene::new().await;
    let Scene { store, client, .. } = &scene;
    client.create_run(&create("r", 1)).await.unwrap();
    let Work { task, bytes, request, .. } = Work::claim(client, "signed").await;
    let ticket = client.upload(task.id, &request).await.unwrap();
    assert!(ticket.url.contains("&X-Amz-Expires=900&"), "{}", ticket.url);

    let other = archive(&[("output.txt", "forged")]);
    let in_url = |from: &str, to: &str| {
        assert!(ticket.url.contains(from), "{from} in {}", ticket.url);
        UploadTicket { url: ticket.url.replacen(from, to, 1), ..ticket.clone() }
    };
    let method = |method: &str| UploadTicket { method: method.to_owned(), ..ticket.clone() };
    let checksum = |value: Option<String>| {
        let mut changed = ticket.clone();
        changed.headers.remove("x-amz-checksum-sha256").expect("it is part of the ticket");
        changed.headers.extend(value.map(|value| ("x-amz-checksum-sha256".to_owned(), value)));
        changed
    };
    let signature = ticket.url.split("X-Amz-Signature=").nth(1).unwrap().split('&').next().unwrap();
    let flipped = if signature.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{flipped}", &signature[..63]);
    let longer = [&bytes[..], b"more"].concat();
    let unsized_body =
        reqwest::Body::wrap_stream(futures::stream::iter([Ok::<_, std::io::Error>(bytes.clone())]));
    let cases: Vec<(&str, UploadTicket, reqwest::Body)> = vec![
        ("signature", in_url(signature, &forged), bytes.clone().into()),
        ("another key", in_url("/runs/r/", "/runs/s/"), bytes.clone().into()),
        ("another bucket", in_url("/bucket/", "/bucket2/"), bytes.clone().into()),
        ("a longer life", in_url("X-Amz-Expires=900", "X-Amz-Expires=604800"), bytes.clone().into()),
        ("another region", in_url("eu-west-1", "us-east-1"), bytes.clone().into()),
        ("reading", method("GET"), reqwest::Body::default()),
        ("deleting", method("DELETE"), reqwest::Body::default()),
        ("other bytes", checksum(Some(base64_digest(&other))), other.clone().into()),
        ("no checksum", checksum(None), bytes.clone().into()),
        ("more bytes", checksum(Some(base64_digest(&longer))), longer.clone().into()),
        ("more bytes alone", ticket.clone(), longer.into()),
        ("no length", ticket.clone(), unsized_body),
    ];
    for (name, changed, body) in cases {
        let (status, code) = send(&changed, body).await;
        assert_eq!((status, code.as_str()), (403, "SignatureDoesNotMatch"), "{name}");
    }
    assert!(!store.folder.path().join("bucket/a").exists(), "nothing has reached the bucket");
    // As it was signed it is taken.
    assert_eq!(send(&ticket, bytes).await.0, 200);
    assert!(store.object(&ticket).exists());
}

/// What the orchestrator signs for a key, at another time: its own clock cannot be moved.
async fn signed_at(at: SystemTime, ticket: &UploadTicket, store: &Store, bytes: &[u8]) -> UploadTicket {
    let credentials = Credentials::new(KEY_ID, SECRET, None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(credentials)
        .region(Region::new("eu-west-1"))
        .endpoint_url(&store.url)
        .force_path_style(true);
    let key = ticket.url.split("/bucket/").nth(1).unwrap().split('?').next().unwrap();
    let life = PresigningConfig::builder().start_time(at).expires_in(Duration::from_secs(900));
    let put = aws_sdk_s3::Client::from_conf(config.build()).put_object().bucket("bucket").key(key);
    let put = put.content_type("application/gzip").content_length(bytes.len() as i64);
    let put = put.checksum_sha256(base64_digest(bytes));
    let signed = put.presigned(life.build().unwrap()).await.unwrap();
    let headers = signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    UploadTicket { method: "PUT".to_owned(), url: signed.uri().to_owned(), headers }
}

#[tokio::test]
async fn a_signed_upload_is_good_for_a_quarter_of_an_hour() {
    let scene = Scene::new().await;
    let Scene { store, client, .. } = &scene;
    client.create_run(&create("r", 1)).await.unwrap();
    let Work { task, bytes, request, .. } = Work::claim(client, "signed").await;
    let ticket = client.upload(task.id, &request).await.unwrap();
    let now = SystemTime::now();
    let late = signed_at(now - Duration::from_secs(901), &ticket, store, &bytes).await;
    // The same but for the time: what is compared is what the orchestrator gives out.
    let signed_headers = |ticket: &UploadTicket| {
        ticket.url.split("X-Amz-SignedHeaders=").nth(1).unwrap().split('&').next().unwrap().to_owned()
    };
    assert_eq!((signed_headers(&late), &late.headers), (signed_headers(&ticket), &ticket.headers));
    assert_eq!(send(&late, bytes.clone()).await, (403, "AccessDenied".to_owned()));
    assert!(!store.object(&ticket).exists());
    let in_time = signed_at(now - Duration::from_secs(840), &ticket, store, &bytes).await;
    assert_eq!(send(&in_time, bytes).await.0, 200);
}

#[tokio::test]
async fn wrong_bytes_are_refused_by_the_store_and_by_the_orchestrator() {
    let scene = Scene::new().await;
    let Scene { store, client, .. } = &scene;
    client.create_run(&create("r", 2)).await.unwrap();
    let Work { task, bytes, request, complete, .. } = Work::claim(client, "right").await;
    let ticket = client.upload(task.id, &request).await.unwrap();
    let mut wrong = bytes.clone();
    *wrong.last_mut().unwrap() ^= 1;
    // Signed are checksum and length; whether the bytes fit is for the store to find out.
    assert_eq!(send(&ticket, wrong.clone()).await, (400, "BadDigest".to_owned()));

    let object = store.object(&ticket);
    for wrong in [wrong, bytes[..10].to_vec(), [&bytes[..], b"more"].concat(), Vec::new()] {
        std::fs::create_dir_all(object.parent().unwrap()).unwrap();
        std::fs::write(&object, wrong).unwrap();
        let refused = client.complete(task.id, &complete).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::BadResult), "{refused}");
    }
    assert_eq!(send(&ticket, bytes).await.0, 200);
    assert_eq!(client.complete(task.id, &complete).await.unwrap().state, TaskState::Completed);

    // Somebody with a key of the bucket replaces what was accepted.
    finish_one(client, "r", "whole").await;
    std::fs::write(&object, archive(&[("output.txt", "replaced")])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("results.tar.gz");
    client.download_results(&run_id("r"), &packed).await.unwrap();
    unpack_into(std::fs::File::open(&packed).unwrap(), Layout::Run, Limits::RUN, folder.path()).unwrap();
    let found = |number: u32, name: &str| folder.path().join(format!("here-{number}/{name}")).exists();
    assert!(found(task.number, "unreadable.txt") && !found(task.number, "output.txt"));
    assert!(found(3 - task.number, "output.txt"));
}

#[tokio::test]
async fn what_was_accepted_is_not_replaced_by_an_earlier_ticket() {
    let scene = Scene::new().await;
    let Scene { client, .. } = &scene;
    client.create_run(&create("r", 1)).await.unwrap();
    let Work { task, lease, bytes, request, complete } = Work::claim(client, "accepted").await;
    let other = archive(&[("output.txt", "second thoughts")]);
    let of_other = UploadRequest { fence: lease.fence, sha256: sha256(&other), size: other.len() as u64 };
    let early = client.upload(task.id, &of_other).await.unwrap();
    let ticket = client.upload(task.id, &request).await.unwrap();
    assert_eq!(send(&ticket, bytes).await.0, 200);
    client.complete(task.id, &complete).await.unwrap();
    assert_eq!(send(&early, other).await.0, 200);
    assert_eq!(client.task_log(task.id, 100).await.unwrap(), "accepted");
}

#[tokio::test]
async fn a_store_that_breaks_off_is_no_bad_result() {
    let scene = Scene::new().await;
    let Scene { store, client, .. } = &scene;
    client.create_run(&create("r", 1)).await.unwrap();
    let Work { task, bytes, request, complete, .. } = Work::claim(client, "whole").await;
    let ticket = client.upload(task.id, &request).await.unwrap();
    assert_eq!(send(&ticket, bytes).await.0, 200);
    store.breaks_off.store(true, Ordering::Relaxed);
    let failed = client.complete(task.id, &complete).await.unwrap_err();
    assert!(failed.code() == Some(ErrorCode::Internal) && failed.is_transient(), "{failed}");
    store.breaks_off.store(false, Ordering::Relaxed);
    assert_eq!(client.complete(task.id, &complete).await.unwrap().state, TaskState::Completed);
}

#[tokio::test]
async fn more_than_one_request_may_carry_is_refused_before_it_is_sent() {
    let scene = Scene::new().await;
    let Scene { client, .. } = &scene;
    client.create_run(&create("r", 1)).await.unwrap();
    let Work { task, request, .. } = Work::claim(client, "x").await;
    client.upload(task.id, &UploadRequest { size: 5 << 30, ..request.clone() }).await.unwrap();
    let large = client.upload(task.id, &UploadRequest { size: (5 << 30) + 1, ..request }).await.unwrap_err();
    assert_eq!(large.code(), Some(ErrorCode::TooLarge));
}
