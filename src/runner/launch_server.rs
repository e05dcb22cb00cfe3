//! Where launchers come from: one small process a runner, forked for each execution.
//!
//! ```text
//!  runner ──spawns once──▶ bench launch --serve ──fork──▶ launcher ──fork, exec──▶ workload
//!     └──socket: request, two pipe ends──▶ │ ──socket: pid, later its status──▶ runner
//! ```
//!
//! Starting a program anew costs its loading and linking each time, which is more than many a benchmark
//! takes; a fork of a process that is small and has one thread costs next to nothing, and keeps what the
//! launcher needs: little memory of its own. It ends with its runner, and its launcher with it.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, getppid, setpgid};
use serde::{Deserialize, Serialize};

use super::launcher::{LaunchArgs, launch};

/// A request of more than this is none.
const MOST_BYTES: u32 = 16 << 20;

/// What the runner asks for. Standard output and error of the workload come with it as two open pipes.
#[derive(Debug, Serialize, Deserialize)]
pub struct LaunchRequest {
    pub report: PathBuf,
    pub cpus: Vec<u32>,
    pub grace_ms: u64,
    pub directory: Option<PathBuf>,
    /// Added to the environment that the server was started with.
    pub env: BTreeMap<String, String>,
    pub command: Vec<String>,
}

/// What the server says about a launcher: twelve bytes in the machine's own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchNews {
    Started {
        pid: i32,
    },
    /// With its wait status (`man 2 waitpid`).
    Ended {
        pid: i32,
        status: i32,
    },
}

impl LaunchNews {
    pub const BYTES: usize = 12;

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let (kind, pid, status) = match self {
            LaunchNews::Started { pid } => (0_i32, pid, 0),
            LaunchNews::Ended { pid, status } => (1, pid, status),
        };
        let mut bytes = [0; Self::BYTES];
        for (place, number) in bytes.chunks_exact_mut(4).zip([kind, pid, status]) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> LaunchNews {
        let number = |at: usize| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let pid = number(4);
        match number(0) {
            0 => LaunchNews::Started { pid },
            _ => LaunchNews::Ended { pid, status: number(8) },
        }
    }
}

/// Serves the runner at the other end of standard input until that end closes. Signals that are sent to all
/// processes of a service are the runner's to handle. Call it in a process with one thread only.
///
/// # Errors
/// When the runner is gone already, or a launcher cannot be forked.
pub fn serve(parent: u32) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().as_raw() as u32 != parent {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    for_the_runner().thread_block()?;
    // SAFETY: standard input is the socket that the runner made for this process; nobody else uses it.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(libc::STDIN_FILENO) });
    let server = std::process::id();
    while let Some((request, pipes)) = receive(&mut socket)? {
        // SAFETY: this process has one thread, so the child may do whatever the parent may.
        match unsafe { fork() }? {
            ForkResult::Child => become_launcher(server, request, pipes, socket),
            ForkResult::Parent { child } => {
                drop(pipes);
                socket.write_all(&LaunchNews::Started { pid: child.as_raw() }.to_bytes())?;
                let status = wait(child)?;
                socket.write_all(&LaunchNews::Ended { pid: child.as_raw(), status }.to_bytes())?;
            }
        }
    }
    Ok(())
}

fn for_the_runner() -> SigSet {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        signals.add(signal);
    }
    signals
}

/// The next request with its pipes; `None` when the runner has closed its end.
fn receive(socket: &mut UnixStream) -> io::Result<Option<(LaunchRequest, [OwnedFd; 2])>> {
    let mut length = [0; 4];
    let mut space = nix::cmsg_space!([RawFd; 2]);
    let mut parts = [IoSliceMut::new(&mut length)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let received = message.bytes;
    let mut pipes = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            // SAFETY: the kernel has just made these descriptors for this process.
            pipes.extend(descriptors.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if received == 0 {
        return Ok(None);
    }
    if received < length.len() {
        socket.read_exact(&mut length[received..])?;
    }
    let length = u32::from_ne_bytes(length);
    let Ok(pipes) = <[OwnedFd; 2]>::try_from(pipes) else {
        return Err(io::Error::other("a request without its two pipes"));
    };
    if length > MOST_BYTES {
        return Err(io::Error::other("a request that is far too long"));
    }
    let mut json = vec![0; length as usize];
    socket.read_exact(&mut json)?;
    Ok(Some((serde_json::from_slice(&json)?, pipes)))
}

/// In the forked child: takes the pipes for its output, then is a launcher to its end.
fn become_launcher(server: u32, request: LaunchRequest, pipes: [OwnedFd; 2], socket: UnixStream) -> ! {
    let launched = take_pipes(pipes, socket).map_err(|error| error.to_string()).and_then(|()| {
        let args = LaunchArgs {
            report: request.report,
            cpus: request.cpus,
            grace: Duration::from_millis(request.grace_ms),
            parent: Some(server),
            directory: request.directory,
            env: request.env,
            command: request.command.into_iter().map(Into::into).collect(),
        };
        launch(&args).map_err(|error| crate::cause_chain(&error))
    });
    let code = match launched {
        Ok(()) => 0,
        Err(error) => {
            // The runner keeps these words; without a reader nobody misses them.
            let _ = writeln!(io::stderr(), "error: {error}");
            3
        }
    };
    // SAFETY: ends this process at once; what the parent would clean up at its end is the parent's.
    unsafe { libc::_exit(code) }
}

fn take_pipes([stdout, stderr]: [OwnedFd; 2], socket: UnixStream) -> io::Result<()> {
    // Its own group: a terminal's Ctrl-C is the runner's to handle.
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    let nothing = fs_err::File::open("/dev/null")?;
    dup2_stdin(nothing)?;
    dup2_stdout(stdout)?;
    dup2_stderr(stderr)?;
    // The socket was standard input, which has just been replaced.
    std::mem::forget(socket);
    Ok(())
}

fn wait(child: Pid) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the status lives through the call.
        let waited = unsafe { libc::waitpid(child.as_raw(), &raw mut status, 0) };
        if waited == child.as_raw() {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_survive_their_bytes() {
        for news in [LaunchNews::Started { pid: 7 }, LaunchNews::Ended { pid: 1 << 22, status: -9 }] {
            assert_eq!(LaunchNews::from_bytes(news.to_bytes()), news);
        }
    }
}
