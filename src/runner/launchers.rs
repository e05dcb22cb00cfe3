//! The runner's end of the launch server: asks for launchers, learns how they end.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::execute::SECRET_VARIABLES;
use super::launch_server::{LaunchNews, LaunchRequest};

/// Makes launchers, one at a time. Clones share the server, which is started when it is first needed.
#[derive(Debug, Clone)]
pub struct Launchers {
    /// The program that has the hidden `launch` command: this one.
    program: PathBuf,
    idle: Arc<Mutex<Option<Server>>>,
}

#[derive(Debug)]
struct Server {
    /// Killed when dropped, and its launcher with it.
    process: Child,
    socket: UnixStream,
}

impl Launchers {
    pub fn new(program: impl Into<PathBuf>) -> Launchers {
        Launchers { program: program.into(), idle: Arc::default() }
    }

    pub fn program(&self) -> &std::path::Path {
        &self.program
    }

    /// Process id of the server that waits for work.
    pub(super) fn server_pid(&self) -> Option<u32> {
        self.slot().as_ref().and_then(|server| server.process.id())
    }

    /// Starts a launcher that writes to these pipes. Must be called from the main thread: the kernel ties
    /// the server's life to the thread that made it.
    ///
    /// # Errors
    /// When the server cannot be started or has died.
    pub(super) async fn start(&self, request: &LaunchRequest, pipes: [OwnedFd; 2]) -> io::Result<Launched> {
        let idle = self.slot().take();
        let mut server = match idle {
            Some(server) => server,
            None => self.start_server()?,
        };
        server.send(request, pipes).await?;
        let mut launched = Launched {
            pid: Pid::from_raw(0),
            server: Some(server),
            idle: self.idle.clone(),
            news: [0; LaunchNews::BYTES],
            received: 0,
        };
        match launched.next_news().await? {
            LaunchNews::Started { pid } => launched.pid = Pid::from_raw(pid),
            LaunchNews::Ended { .. } => return Err(io::Error::other("the launch server spoke out of turn")),
        }
        Ok(launched)
    }

    fn start_server(&self) -> io::Result<Server> {
        let (socket, its_end) = UnixStream::pair()?;
        let its_end = its_end.into_std()?;
        its_end.set_nonblocking(false)?;
        let mut command = Command::new(&self.program);
        command.args(["launch", "--serve", "--parent", &std::process::id().to_string()]);
        for name in SECRET_VARIABLES {
            command.env_remove(name);
        }
        command.stdin(OwnedFd::from(its_end)).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        Ok(Server { process: command.spawn()?, socket })
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Server>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    async fn send(&mut self, request: &LaunchRequest, pipes: [OwnedFd; 2]) -> io::Result<()> {
        let json = serde_json::to_vec(request)?;
        let length = u32::try_from(json.len()).map_err(io::Error::other)?.to_ne_bytes();
        let descriptors = [pipes[0].as_raw_fd(), pipes[1].as_raw_fd()];
        let socket = &self.socket;
        let sent = socket.async_io(Interest::WRITABLE, || {
            let rights = [ControlMessage::ScmRights(&descriptors)];
            let part = [IoSlice::new(&length)];
            Ok(sendmsg::<()>(socket.as_raw_fd(), &part, &rights, MsgFlags::MSG_NOSIGNAL, None)?)
        });
        let sent = sent.await?;
        self.socket.write_all(&length[sent..]).await?;
        self.socket.write_all(&json).await
    }
}

/// A launcher that was started. Dropped before its end, it is killed, and its workload with it.
#[derive(Debug)]
pub(super) struct Launched {
    pid: Pid,
    /// Until the end is known.
    server: Option<Server>,
    idle: Arc<Mutex<Option<Server>>>,
    news: [u8; LaunchNews::BYTES],
    received: usize,
}

impl Launched {
    /// Process id, until it has ended.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().map(|_| self.pid.as_raw() as u32)
    }

    /// Waits for its end. Can be dropped and called again.
    ///
    /// # Errors
    /// When the server has died; its launcher has then been killed.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let LaunchNews::Ended { pid, status } = self.next_news().await?
                && pid == self.pid.as_raw()
            {
                *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = self.server.take();
                return Ok(ExitStatus::from_raw(status));
            }
        }
    }

    pub fn start_kill(&self) -> io::Result<()> {
        match self.id() {
            Some(_) => Ok(kill(self.pid, Signal::SIGKILL)?),
            None => Ok(()),
        }
    }

    async fn next_news(&mut self) -> io::Result<LaunchNews> {
        let server = self.server.as_ref().ok_or_else(|| io::Error::other("it has ended before"))?;
        while self.received < LaunchNews::BYTES {
            server.socket.readable().await?;
            match server.socket.try_read(&mut self.news[self.received..]) {
                Ok(0) => return Err(io::Error::other("the launch server has died")),
                Ok(read) => self.received += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.received = 0;
        Ok(LaunchNews::from_bytes(self.news))
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if self.id().is_some_and(|pid| pid != 0) {
            // It may have ended a moment ago.
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}
