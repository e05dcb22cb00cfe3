//! Finding processes by their parent.

use std::collections::BTreeMap;
use std::path::Path;

use super::sysfs;

/// Process ids of the direct children of `pid`, zombies included, read from `/proc/*/stat` (`man 5
/// proc_pid_stat`). Children that come or go meanwhile may be missed or listed.
pub fn children(pid: u32) -> Vec<u32> {
    sysfs::entries(std::path::Path::new("/proc"))
        .iter()
        .filter_map(|name| name.parse::<u32>().ok())
        .filter(|&candidate| parent(candidate) == Some(pid))
        .collect()
}

/// Parent of a process; absent when there is no such process.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = sysfs::text(std::path::Path::new(&format!("/proc/{pid}/stat")))?;
    // The second field is the program's name in parentheses and may contain anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// How long each thread of the processes below `ancestor` has waited for a CPU, nanoseconds. What ends
/// meanwhile is missed; a kernel without `children` files or `schedstat` tells nothing.
pub fn cpu_waits_below(ancestor: u32) -> BTreeMap<u32, u64> {
    let mut waits = BTreeMap::new();
    let mut processes = children_by_file(ancestor);
    while let Some(process) = processes.pop() {
        processes.extend(children_by_file(process));
        for thread in threads(process) {
            waits.extend(cpu_wait(process, thread).map(|wait| (thread, wait)));
        }
    }
    waits
}

/// How long a thread could have run but had to wait, nanoseconds: the second figure of its `schedstat`
/// (Documentation/scheduler/sched-stats.rst). Also told of a process that ended and was not yet waited for.
pub fn cpu_wait(process: u32, thread: u32) -> Option<u64> {
    let text = sysfs::text(Path::new(&format!("/proc/{process}/task/{thread}/schedstat")))?;
    text.split(' ').nth(1)?.parse().ok()
}

/// As [`children`], from the kernel's own lists (`CONFIG_PROC_CHILDREN`): cheap enough while others measure.
fn children_by_file(process: u32) -> Vec<u32> {
    let of_thread = |thread: u32| {
        let list = sysfs::text(Path::new(&format!("/proc/{process}/task/{thread}/children")));
        list.unwrap_or_default().split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    };
    threads(process).into_iter().flat_map(of_thread).collect()
}

fn threads(process: u32) -> Vec<u32> {
    let folder = format!("/proc/{process}/task");
    sysfs::entries(Path::new(&folder)).iter().filter_map(|name| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_of_a_whole_tree_are_found() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while children(child.id()).is_empty() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let grandchild = children(child.id())[0];
        let waits = cpu_waits_below(std::process::id());
        assert!(waits.contains_key(&child.id()) && waits.contains_key(&grandchild), "{waits:?}");
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(grandchild as i32),
            nix::sys::signal::Signal::SIGKILL,
        );
        child.wait().unwrap();
    }

    #[test]
    fn a_child_is_found_under_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = children(std::process::id());
        assert!(found.contains(&child.id()), "{found:?}");
        assert_eq!(parent(child.id()), Some(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(parent(child.id()), None);
    }
}
