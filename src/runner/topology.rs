//! Which logical CPUs there are, which of them share a physical core, and in which order to fill them.
//!
//! Pure apart from [`read`]. The master uses it to share out this machine's CPUs, the runner to choose its
//! own among `--slots`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::sysfs;

/// One logical CPU that is online and that this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalCpu {
    pub id: u32,
    /// Lowest logical CPU of the same physical core: CPUs with equal `core` are SMT siblings.
    pub core: u32,
    /// Socket.
    pub package: u32,
    pub node: u32,
    /// Relative speed of the core's kind: performance cores of a hybrid machine have a higher one.
    pub capacity: u32,
}

/// The usable CPUs of a machine, ascending by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    pub cpus: Vec<LogicalCpu>,
}

impl Topology {
    pub fn cpu(&self, id: u32) -> Option<&LogicalCpu> {
        self.cpus.iter().find(|cpu| cpu.id == id)
    }

    pub fn ids(&self) -> Vec<u32> {
        self.cpus.iter().map(|cpu| cpu.id).collect()
    }

    /// Other logical CPUs of the same physical core, ascending.
    pub fn siblings(&self, id: u32) -> Vec<u32> {
        let Some(own) = self.cpu(id) else { return Vec::new() };
        self.cpus.iter().filter(|cpu| cpu.core == own.core && cpu.id != id).map(|cpu| cpu.id).collect()
    }

    /// Leaves only the CPUs of an affinity mask.
    #[must_use]
    pub fn restricted_to(mut self, allowed: &[u32]) -> Topology {
        self.cpus.retain(|cpu| allowed.contains(&cpu.id));
        self
    }

    pub fn cores(&self) -> usize {
        self.cpus.iter().map(|cpu| cpu.core).collect::<BTreeSet<_>>().len()
    }

    pub fn packages(&self) -> usize {
        self.cpus.iter().map(|cpu| cpu.package).collect::<BTreeSet<_>>().len()
    }

    pub fn nodes(&self) -> usize {
        self.cpus.iter().map(|cpu| cpu.node).collect::<BTreeSet<_>>().len()
    }
}

/// The first `n` CPUs to give to workloads, best first; fewer where the machine has fewer. `choose(t, n)` is
/// always the beginning of `choose(t, n + 1)`.
///
/// Physical cores come before SMT siblings. Within each of the two, faster kinds of cores come first, and
/// consecutive choices go to different NUMA nodes and sockets, so that few runners share caches and memory
/// channels as little as possible. The core of CPU 0, to which most machines send their interrupts, comes
/// last in its node.
pub fn choose(topology: &Topology, n: usize) -> Vec<u32> {
    let mut cores: BTreeMap<u32, Vec<&LogicalCpu>> = BTreeMap::new();
    for cpu in &topology.cpus {
        cores.entry(cpu.core).or_default().push(cpu);
    }
    let threads_per_core = cores.values().map(Vec::len).max().unwrap_or(0);
    let mut order = Vec::with_capacity(topology.cpus.len());
    for thread in 0..threads_per_core {
        let layer: Vec<&LogicalCpu> = cores.values().filter_map(|cpus| cpus.get(thread).copied()).collect();
        order.extend(spread(&layer));
    }
    order.truncate(n);
    order
}

/// Orders one logical CPU of each core: fast kinds first, taking turns between the nodes.
fn spread(layer: &[&LogicalCpu]) -> Vec<u32> {
    let capacities: BTreeSet<u32> = layer.iter().map(|cpu| cpu.capacity).collect();
    let mut order = Vec::with_capacity(layer.len());
    for capacity in capacities.into_iter().rev() {
        let mut groups: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
        for cpu in layer.iter().filter(|cpu| cpu.capacity == capacity) {
            groups.entry((cpu.package, cpu.node)).or_default().push(cpu.id);
        }
        for group in groups.values_mut() {
            group.sort_by_key(|&id| (has_cpu_0(layer, id), id));
        }
        let longest = groups.values().map(Vec::len).max().unwrap_or(0);
        for place in 0..longest {
            order.extend(groups.values().filter_map(|group| group.get(place)));
        }
    }
    order
}

fn has_cpu_0(layer: &[&LogicalCpu], id: u32) -> bool {
    layer.iter().any(|cpu| cpu.id == id && cpu.core == 0)
}

/// Reads the topology of the machine whose `/sys` is below `root` (`/` for this one).
///
/// # Errors
/// Where neither `online` nor a single `cpuN` folder can be read.
pub fn read(root: &Path) -> io::Result<Topology> {
    let folder = root.join("sys/devices/system/cpu");
    let online = match sysfs::text(&folder.join("online")) {
        Some(list) => parse_list(&list).ok_or_else(|| invalid(&folder, &list))?,
        None => present(&folder)?,
    };
    let nodes = read_nodes(root);
    let efficient = sysfs::text(&root.join("sys/devices/cpu_atom/cpus")).and_then(|list| parse_list(&list));
    let cpus = online.iter().map(|&id| {
        let cpu = folder.join(format!("cpu{id}"));
        let siblings = sysfs::text(&cpu.join("topology/core_cpus_list"))
            .or_else(|| sysfs::text(&cpu.join("topology/thread_siblings_list")))
            .and_then(|list| parse_list(&list))
            .unwrap_or_default();
        let is_efficient = efficient.as_ref().is_some_and(|list| list.contains(&id));
        LogicalCpu {
            id,
            core: siblings.into_iter().find(|sibling| online.contains(sibling)).unwrap_or(id),
            // Some ARM firmware says -1: one socket then.
            package: sysfs::number(&cpu.join("topology/physical_package_id")).unwrap_or(0),
            node: nodes.get(&id).copied().unwrap_or(0),
            capacity: sysfs::number(&cpu.join("cpu_capacity")).unwrap_or(if is_efficient {
                512
            } else {
                1024
            }),
        }
    });
    Ok(Topology { cpus: cpus.collect() })
}

/// The topology of this machine, without the CPUs that affinity or cgroup keep from this process.
///
/// # Errors
/// As [`read`], and where the process's affinity cannot be read.
pub fn available() -> io::Result<Topology> {
    Ok(read(Path::new("/"))?.restricted_to(&super::pin::allowed()?))
}

fn read_nodes(root: &Path) -> BTreeMap<u32, u32> {
    let folder = root.join("sys/devices/system/node");
    let mut nodes = BTreeMap::new();
    for name in sysfs::entries(&folder) {
        let Some(node) = name.strip_prefix("node").and_then(|number| number.parse().ok()) else { continue };
        let list = sysfs::text(&folder.join(&name).join("cpulist")).and_then(|list| parse_list(&list));
        nodes.extend(list.unwrap_or_default().into_iter().map(|cpu| (cpu, node)));
    }
    nodes
}

fn present(folder: &Path) -> io::Result<Vec<u32>> {
    let names = sysfs::entries(folder);
    let mut cpus: Vec<u32> = names.iter().filter_map(|name| name.strip_prefix("cpu")?.parse().ok()).collect();
    cpus.sort_unstable();
    if cpus.is_empty() { Err(invalid(folder, "no CPU")) } else { Ok(cpus) }
}

fn invalid(folder: &Path, what: &str) -> io::Error {
    let message = format!("{} does not list CPUs: {what:?}", folder.display());
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The kernel's list format, e.g. `0-3,8` (Documentation/admin-guide/cputopology.rst); `None` if it is not.
pub fn parse_list(text: &str) -> Option<Vec<u32>> {
    /// More CPUs than any kernel supports are a mistake, not a list.
    const MOST: u32 = 1 << 16;
    let mut cpus = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus.into_iter().collect())
}

/// The inverse of [`parse_list`], one number a CPU.
pub fn format_list(cpus: &[u32]) -> String {
    cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `threads` siblings a core, numbered as firmware does: all first threads, then all second ones.
    pub(in crate::runner) fn machine(packages: u32, cores: u32, threads: u32) -> Topology {
        let all = packages * cores;
        let cpus = (0..all * threads).map(|id| LogicalCpu {
            id,
            core: id % all,
            package: (id % all) / cores,
            node: (id % all) / cores,
            capacity: 1024,
        });
        Topology { cpus: cpus.collect() }
    }

    #[test]
    fn physical_cores_come_before_siblings_and_sockets_take_turns() {
        // Two sockets of two cores with two threads each: cores 0,1 | 2,3, siblings 4,5 | 6,7.
        assert_eq!(choose(&machine(2, 2, 2), 8), [1, 2, 0, 3, 5, 6, 4, 7]);
    }

    #[test]
    fn the_core_of_cpu_0_is_used_last() {
        assert_eq!(choose(&machine(1, 2, 1), 1), [1]);
        assert_eq!(choose(&machine(1, 4, 1), 4), [1, 2, 3, 0]);
    }

    #[test]
    fn performance_cores_come_before_efficient_ones_and_their_own_siblings() {
        let mut hybrid = machine(1, 4, 1);
        hybrid.cpus[2].capacity = 512;
        hybrid.cpus[3].capacity = 512;
        hybrid.cpus.push(LogicalCpu { id: 4, core: 1, package: 0, node: 0, capacity: 1024 });
        assert_eq!(choose(&hybrid, 9), [1, 0, 2, 3, 4]);
    }

    #[test]
    fn lists_of_the_kernel_are_read_and_nonsense_is_not() {
        assert_eq!(parse_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_list("\n"), Some(vec![]));
        for bad in ["a", "3-1", "1-", "0-4294967295"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_tree_with_an_offline_cpu_two_nodes_and_siblings_is_read() {
        let root = tempfile::tempdir().unwrap();
        let cpu = root.path().join("sys/devices/system/cpu");
        let write = |path: &Path, text: &str| {
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        write(&cpu.join("online"), "0-2\n");
        for (id, siblings, package) in [(0, "0,2", "0"), (1, "1,3", "1"), (2, "0,2", "0")] {
            write(&cpu.join(format!("cpu{id}/topology/core_cpus_list")), siblings);
            write(&cpu.join(format!("cpu{id}/topology/physical_package_id")), package);
        }
        write(&root.path().join("sys/devices/system/node/node0/cpulist"), "0,2\n");
        write(&root.path().join("sys/devices/system/node/node1/cpulist"), "1,3\n");

        let topology = read(root.path()).unwrap();
        assert_eq!(topology.ids(), [0, 1, 2]);
        assert_eq!((topology.cores(), topology.packages(), topology.nodes()), (2, 2, 2));
        assert_eq!(topology.siblings(0), [2]);
        assert_eq!(choose(&topology, 3), [0, 1, 2]);
    }

    #[test]
    fn a_core_whose_first_thread_is_offline_is_still_one_core() {
        let root = tempfile::tempdir().unwrap();
        let cpu = root.path().join("sys/devices/system/cpu");
        for id in [1, 3] {
            let folder = cpu.join(format!("cpu{id}/topology"));
            fs_err::create_dir_all(&folder).unwrap();
            fs_err::write(folder.join("thread_siblings_list"), "0-1,3").unwrap();
            fs_err::write(folder.join("physical_package_id"), "-1").unwrap();
        }
        let topology = read(root.path()).unwrap();
        assert_eq!(topology.cores(), 1);
        assert_eq!(topology.siblings(1), [3]);
    }

    #[test]
    fn this_machine_has_at_least_one_usable_cpu() {
        assert!(!available().unwrap().cpus.is_empty());
    }

    proptest! {
        #[test]
        fn choices_are_unique_existing_and_prefixes_of_larger_ones(
            packages in 1u32..4, cores in 1u32..9, threads in 1u32..5, n in 0usize..100, keep in any::<u64>()
        ) {
            let whole = machine(packages, cores, threads);
            let allowed: Vec<u32> = whole.ids().into_iter().filter(|id| keep >> (id % 64) & 1 == 1).collect();
            let topology = whole.restricted_to(&allowed);
            let chosen = choose(&topology, n);
            prop_assert_eq!(chosen.len(), n.min(topology.cpus.len()));
            prop_assert!(chosen.iter().all(|id| allowed.contains(id)));
            prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), chosen.len());
            prop_assert!(choose(&topology, n + 1).starts_with(&chosen));
        }

        #[test]
        fn no_core_is_shared_while_one_is_free_and_sockets_stay_balanced(
            packages in 1u32..4, cores in 1u32..9, threads in 1u32..5, n in 1usize..40
        ) {
            let topology = machine(packages, cores, threads);
            let chosen = choose(&topology, n);
            let cpus: Vec<_> = chosen.iter().map(|&id| topology.cpu(id).unwrap()).collect();
            let used: BTreeSet<u32> = cpus.iter().map(|cpu| cpu.core).collect();
            prop_assert_eq!(used.len(), chosen.len().min(topology.cores()));
            let count = |package| cpus.iter().filter(|cpu| cpu.package == package).count();
            let counts: Vec<usize> = (0..packages).map(count).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        }
    }
}
