//! Finding processes by their parent.

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

#[cfg(test)]
mod tests {
    use super::*;

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
