//! Commands that nobody waits for: they take what is left of the CPU, so that a look at a cloud does not slow down
//! what a run is making there.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The lowest of all, for `setpriority` and for a session's share alike.
const LOWEST: libc::c_int = 19;
const LOWEST_TEXT: &[u8] = b"19";

/// Gives the command a session of its own with the lowest priority.
///
/// The session is what counts where the kernel shares the CPU between sessions first (`sched_autogroup`, man 7
/// sched): a process's own priority only tells it from others of its session, and each Terraform has one of its own.
pub fn step_back(command: &mut Command) {
    // SAFETY: the closure makes system calls only, each of which is async-signal-safe.
    unsafe { command.pre_exec(lowest_priority) };
}

fn lowest_priority() -> io::Result<()> {
    nix::unistd::setsid()?;
    // SAFETY: system calls on paths and buffers that live as long as the program. What fails leaves the command
    // as urgent as others, which is no reason not to run it.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, LOWEST);
        let share = libc::open(c"/proc/self/autogroup".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if share >= 0 {
            libc::write(share, LOWEST_TEXT.as_ptr().cast(), LOWEST_TEXT.len());
            libc::close(share);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_in_the_background_and_its_session_have_the_lowest_priority() {
        let mut command = Command::new("sh");
        command.args(["-c", "nice; cat /proc/self/autogroup 2>/dev/null || true"]);
        step_back(&mut command);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some("19"));
        // Kernels without it have no such file.
        assert!(lines.all(|line| line.ends_with("nice 19")), "{said}");
    }
}
