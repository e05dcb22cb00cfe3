//! Which process is meant: a process id alone is used again after its process ended.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process of this machine: its id and when it started, in the boot in which it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// Clock ticks after boot: field 22 of `/proc/PID/stat` (`man 5 proc_pid_stat`).
    pub start_ticks: u64,
    pub boot_id: String,
}

impl ProcessId {
    /// From a line of `/proc/PID/stat`.
    pub(super) fn from_stat(line: &str, boot_id: &str) -> Option<ProcessId> {
        let (pid, _) = line.split_once(' ')?;
        let (start_ticks, _) = start_and_state(line)?;
        Some(ProcessId { pid: pid.parse().ok()?, start_ticks, boot_id: boot_id.to_owned() })
    }

    /// Whether this very process still runs. One that ended and was not waited for yet does not.
    pub fn is_alive(&self) -> bool {
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let same = start_and_state(&stat)
            .is_some_and(|(start, state)| start == self.start_ticks && !matches!(state, 'Z' | 'X'));
        same && boot_id() == self.boot_id
    }

    /// Sends a signal, unless the process is gone. Says whether it was sent.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        self.is_alive() && kill(Pid::from_raw(self.pid), signal).is_ok()
    }
}

/// A number made at boot.
pub(super) fn boot_id() -> String {
    let id = fs_err::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    id.trim().to_owned()
}

/// The program's name, the second field, is in parentheses and may contain anything; the state is the
/// third field and the start time the 22nd.
fn start_and_state(stat: &str) -> Option<(u64, char)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify(pid: u32) -> ProcessId {
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        ProcessId::from_stat(&stat, &boot_id()).unwrap()
    }

    #[test]
    fn a_process_is_known_by_pid_start_and_boot() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = identify(child.id());
        assert!(id.is_alive());
        assert!(!ProcessId { start_ticks: id.start_ticks + 1, ..id.clone() }.is_alive());
        assert!(!ProcessId { boot_id: "other".into(), ..id.clone() }.is_alive());
        assert!(id.signal(Signal::SIGKILL));
        // Not waited for yet: a zombie at the latest when `wait` would return.
        while id.is_alive() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!id.signal(Signal::SIGKILL));
    }

    #[test]
    fn names_with_spaces_and_parentheses_are_no_trouble() {
        let line = "42 (a) b) c) S 1 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        assert_eq!(ProcessId::from_stat(line, "b").unwrap().start_ticks, 777);
    }
}
