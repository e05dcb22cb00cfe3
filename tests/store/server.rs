//! A PostgreSQL server of the tests' own: on a Unix socket in a temporary folder, gone with the test process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Server {
    bin: PathBuf,
    folder: tempfile::TempDir,
    process: Option<Child>,
    /// Whether the process that ends the server removes its files too: nothing else would.
    orphan: bool,
    databases: AtomicU32,
}

/// The server that all tests of this process share. Without PostgreSQL's programs: `None`, and the reason on
/// stderr; with `BENCH_REQUIRE_POSTGRES` set, a failure.
pub fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| Server::make(true)).as_ref()
}

impl Server {
    pub fn start() -> Option<Server> {
        Server::make(false)
    }

    fn make(orphan: bool) -> Option<Server> {
        let Some(bin) = programs() else {
            let why = "no initdb and postgres in /usr/lib/postgresql/*/bin or PATH";
            assert!(std::env::var_os("BENCH_REQUIRE_POSTGRES").is_none(), "PostgreSQL is required: {why}");
            #[expect(clippy::print_stderr, reason = "says why tests were skipped")]
            {
                eprintln!("skipped the tests on PostgreSQL: {why}");
            }
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            let path = folder.path();
            assert!(Command::new("chown").arg("postgres").arg(path).status().unwrap().success());
        }
        let mut server = Server { bin, folder, process: None, orphan, databases: AtomicU32::new(0) };
        let initdb = server
            .as_user(&server.bin.join("initdb"))
            .args(["--auth=trust", "--username=bench", "--no-sync", "--encoding=UTF8", "-D"])
            .arg(server.data())
            .output()
            .unwrap();
        assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        server.run();
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// PostgreSQL refuses to run as root.
    fn as_user(&self, program: &Path) -> Command {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path());
        command
    }

    /// Starts the server and waits until it answers. It is stopped when its input ends, which is when this
    /// process does, however it does.
    pub fn run(&mut self) {
        let script = r#""$@" </dev/null >log 2>&1 & pid=$!; cat >/dev/null; kill -INT $pid; wait $pid; \
                        [ -z "$REMOVE" ] || rm -rf "$REMOVE""#;
        let child = self
            .as_user(Path::new("sh"))
            .args(["-c", script, "sh"])
            .arg(self.bin.join("postgres"))
            .arg("-D")
            .arg(self.data())
            .args(["-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=64MB", "-k"])
            .arg(self.folder.path())
            .env("REMOVE", if self.orphan { self.folder.path().as_os_str() } else { "".as_ref() })
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        self.process = Some(child);
        let ready = || {
            let asked = Command::new(self.bin.join("pg_isready"))
                .args(["-q", "-U", "bench", "-d", "postgres", "-h"])
                .arg(self.folder.path())
                .status();
            asked.unwrap().success()
        };
        let start = std::time::Instant::now();
        while !ready() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(start.elapsed().as_secs() < 60, "the server does not come up:\n{log}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Ends the server as `pg_ctl stop -m fast` does, and waits for its end.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.process.take() {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    /// A connection string for an empty database.
    pub fn new_database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(self.bin.join("createdb"))
            .args(["-U", "bench", &name, "-h"])
            .arg(self.folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "createdb: {}", String::from_utf8_lossy(&made.stderr));
        format!("postgres://bench@/{name}?host={}", self.folder.path().display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The folder with the programs of the newest PostgreSQL.
fn programs() -> Option<PathBuf> {
    let mut packaged: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    packaged.sort();
    packaged.reverse();
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let whole = |bin: &PathBuf| ["initdb", "postgres", "createdb"].iter().all(|name| bin.join(name).exists());
    packaged.into_iter().chain(on_path.unwrap_or_default()).find(whole)
}
