//! The servers that a run needs: moto for AWS, and an orchestrator. They end with this process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::BENCH;

const START_WITHIN: Duration = Duration::from_secs(60);

/// A child process, killed when dropped.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// AWS, as far as Terraform and the CLI can tell.
pub struct Moto {
    _server: Server,
    address: SocketAddr,
}

impl Moto {
    pub fn start(folder: &Path) -> Moto {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = address.expect("a free port");
        let log = std::fs::File::create(folder.join("moto.log")).expect("a writable folder");
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let server = Server(command.spawn().expect("moto_server starts"));
        let deadline = Instant::now() + START_WITHIN;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "moto_server does not answer; see its log in {folder:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Moto { _server: server, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets everything: moto lists terminated instances for ever, and its answers would grow.
    pub fn reset(&self) {
        let mut stream = TcpStream::connect(self.address).expect("moto answers");
        let request = format!(
            "POST /moto-api/reset HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).expect("moto reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("moto answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "moto was not reset: {answer}");
    }
}

/// A real `bench orchestrator` at an address that hosts could reach.
pub struct Orchestrator {
    _server: Server,
    pub url: String,
    pub pin: String,
    pub key: String,
}

impl Orchestrator {
    pub fn start(folder: &Path) -> Orchestrator {
        let key = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let log = std::fs::File::create(folder.join("orchestrator.log")).expect("a writable folder");
        let mut command = Command::new(BENCH);
        command.args([
            "orchestrator",
            "--output",
            "json",
            "--listen",
            &format!("{}:0", own_address()),
            "--home",
        ]);
        command.arg(folder.join("orchestrator")).env("BENCH_API_KEY", &key);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the orchestrator starts");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let server = Server(child);
        let mut json = String::new();
        // One value, over several lines.
        let started = said.lines().map_while(Result::ok).find_map(|line| {
            json.push_str(&line);
            serde_json::from_str::<serde_json::Value>(&json).ok()
        });
        let started = started.unwrap_or_else(|| panic!("the orchestrator did not start; see {folder:?}"));
        let text = |name: &str| started[name].as_str().expect("a text").to_owned();
        Orchestrator { _server: server, url: text("url"), pin: text("pin"), key }
    }
}

/// An address of this machine that is not loopback: hosts of a cloud cannot reach that. Nothing is sent.
fn own_address() -> std::net::IpAddr {
    let probe = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    probe.expect("this machine has a network").ip()
}
