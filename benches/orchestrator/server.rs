//! The servers under load: child processes of this same program.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bench::api::RunId;
use bench::client::{Client, Endpoint, Pin, Secret};
use bench::orchestrator::auth::run_key;
use bench::orchestrator::storage::StorageTarget;
use bench::orchestrator::store::{Durability, NullStore, StoreTarget};
use bench::orchestrator::{Limits, ServerConfig, TlsMode, start, start_with};

const KEY: &str = "a key of the load benchmark";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An axum router that answers `ok`.
    Bare,
    /// All handlers over a store that keeps nothing.
    Null,
    NullTls,
    /// Synced to disk, as the standalone orchestrator is.
    Sqlite,
    /// `BENCH_POSTGRES_URL` names the database.
    Postgres,
}

impl Kind {
    const ALL: [(&'static str, Kind); 5] = [
        ("bare", Kind::Bare),
        ("null", Kind::Null),
        ("null-tls", Kind::NullTls),
        ("sqlite", Kind::Sqlite),
        ("postgres", Kind::Postgres),
    ];

    fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// `--serve KIND HOME`: this process is to be a server.
    pub fn of_arguments(arguments: &[String]) -> Option<Kind> {
        let [serve, name, ..] = arguments else { return None };
        let known = Kind::ALL.iter().find(|(known, _)| known == name)?;
        (serve == "--serve").then_some(known.1)
    }
}

/// Serves until it is killed.
pub fn serve(kind: Kind, home: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if kind == Kind::Bare {
            let router = axum::Router::new().route("/", axum::routing::get(|| async { "ok" }));
            let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            println!("{}", socket.local_addr().expect("a bound socket"));
            return axum::serve(socket, router).await.expect("it serves");
        }
        let config = config(kind, Path::new(home));
        let running = match kind {
            Kind::Null | Kind::NullTls => start_with(config, Arc::new(NullStore::new())).await,
            _ => start(config).await,
        };
        let running = running.expect("the orchestrator starts");
        println!("{} {}", running.address(), running.pin().map(|pin| pin.to_string()).unwrap_or_default());
        std::future::pending::<()>().await;
    });
}

fn config(kind: Kind, home: &Path) -> ServerConfig {
    let database = match kind {
        Kind::Postgres => std::env::var("BENCH_POSTGRES_URL").expect("the URL").parse().expect("a target"),
        _ => StoreTarget::Sqlite(home.join("orchestrator.db")),
    };
    ServerConfig {
        listen: "127.0.0.1:0".parse().expect("an address"),
        home: home.to_owned(),
        database,
        durability: Durability::Synced,
        storage: StorageTarget::Folder(home.join("storage")),
        tls: if kind == Kind::NullTls { TlsMode::SelfMade } else { TlsMode::Off },
        admin_key: Some(Secret::new(KEY)),
        limits: Limits { run_key_per_second: 1e9, ..Limits::default() },
    }
}

/// A running child; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub pin: Option<Pin>,
}

impl Server {
    pub fn start(kind: Kind, home: &Path) -> Server {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args(["--serve", kind.name()]).arg(home).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a child process");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("its first line");
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|word| word.parse().ok()).expect("an address");
        let pin = words.next().and_then(|word| word.parse().ok());
        Server { child, address, pin }
    }

    /// A client with the admin key.
    pub fn admin(&self) -> Client {
        let scheme = if self.pin.is_some() { "https" } else { "http" };
        let endpoint =
            Endpoint { url: format!("{scheme}://{}", self.address), key: Secret::new(KEY), pin: self.pin };
        Client::new(endpoint).expect("a loopback endpoint")
    }

    pub fn run_key(&self, run: &RunId) -> String {
        let expires = jiff::Timestamp::now().as_second() + 3600;
        run_key(&Secret::new(KEY), run, expires).expose().to_owned()
    }

    /// A figure of `/metrics`; 0 where it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let text = async { http.get(format!("http://{}/metrics", self.address)).send().await?.text().await };
        let text = text.await.expect("metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        line.unwrap_or(0.0)
    }

    /// Anonymous resident memory, bytes.
    pub fn anonymous_memory(&self) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
