//! What the machine is, read from `/proc`, `/sys` and `/etc` below a root folder.

use std::collections::BTreeMap;
use std::path::Path;

use super::{sysfs, topology};
use crate::api::{Cache, Machine};

/// Describes the machine whose file systems are below `root` (`/` for this one). What cannot be read is
/// absent.
pub fn read(root: &Path, hostname: &str) -> Machine {
    let cpuinfo = sysfs::text(&root.join("proc/cpuinfo")).unwrap_or_default();
    let meminfo = sysfs::text(&root.join("proc/meminfo")).unwrap_or_default();
    let topology = topology::read(root).unwrap_or_default();
    let cpu = root.join("sys/devices/system/cpu");
    let frequency = cpu.join("cpu0/cpufreq");
    let known = !topology.cpus.is_empty();
    Machine {
        hostname: hostname.to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        cpu_model: cpu_model(&cpuinfo),
        sockets: known.then(|| topology.packages() as u32),
        cores: known.then(|| topology.cores() as u32),
        threads: topology.cpus.len() as u32,
        numa_nodes: known.then(|| topology.nodes() as u32),
        caches: caches(&cpu.join("cpu0/cache")),
        governor: sysfs::text(&frequency.join("scaling_governor")),
        frequency_min_khz: sysfs::number(&frequency.join("cpuinfo_min_freq")),
        frequency_max_khz: sysfs::number(&frequency.join("cpuinfo_max_freq")),
        turbo: turbo(&cpu),
        kernel: sysfs::text(&root.join("proc/sys/kernel/osrelease")).unwrap_or_default(),
        os: sysfs::text(&root.join("etc/os-release")).and_then(|text| os_name(&text)),
        virtualisation: virtualisation(root, &cpuinfo),
        memory_bytes: meminfo_bytes(&meminfo, "MemTotal").unwrap_or(0),
        swap_bytes: meminfo_bytes(&meminfo, "SwapTotal").unwrap_or(0),
    }
}

/// A value of `/proc/meminfo` in bytes; the kernel writes kibibytes (`man 5 proc_meminfo`).
pub(super) fn meminfo_bytes(meminfo: &str, key: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The first value of a key of `/proc/cpuinfo`.
fn cpuinfo_value<'a>(cpuinfo: &'a str, key: &str) -> Option<&'a str> {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    if let Some(name) = cpuinfo_value(cpuinfo, "model name") {
        return Some(name.to_owned());
    }
    let number = |key| {
        let text = cpuinfo_value(cpuinfo, key)?;
        u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    let (implementer, part) = (number("CPU implementer")?, number("CPU part")?);
    Some(match (implementer_name(implementer), part_name(implementer, part)) {
        (Some(maker), Some(core)) => format!("{maker} {core}"),
        (maker, _) => format!("{} part {part:#05x}", maker.unwrap_or("unknown maker")),
    })
}

/// Main ID Register, bits 31:24 (Arm Architecture Reference Manual, MIDR_EL1).
fn implementer_name(implementer: u32) -> Option<&'static str> {
    Some(match implementer {
        0x41 => "Arm",
        0x48 => "HiSilicon",
        0x4e => "NVIDIA",
        0x50 => "Applied Micro",
        0x51 => "Qualcomm",
        0x61 => "Apple",
        0xc0 => "Ampere",
        _ => return None,
    })
}

/// Main ID Register, bits 15:4, as in the kernel's `arch/arm64/include/asm/cputype.h`.
fn part_name(implementer: u32, part: u32) -> Option<&'static str> {
    Some(match (implementer, part) {
        (0x41, 0xd03) => "Cortex-A53",
        (0x41, 0xd07) => "Cortex-A57",
        (0x41, 0xd08) => "Cortex-A72",
        (0x41, 0xd0b) => "Cortex-A76",
        (0x41, 0xd0c) => "Neoverse N1",
        (0x41, 0xd40) => "Neoverse V1",
        (0x41, 0xd49) => "Neoverse N2",
        (0x41, 0xd4f) => "Neoverse V2",
        (0x41, 0xd83) => "Neoverse V3AE",
        (0x41, 0xd84) => "Neoverse V3",
        (0x41, 0xd8e) => "Neoverse N3",
        (0xc0, 0xac3) => "Ampere-1",
        (0xc0, 0xac4) => "Ampere-1A",
        (0x48, 0xd01) => "Kunpeng-920",
        (0x4e, 0x004) => "Carmel",
        _ => return None,
    })
}

fn caches(folder: &Path) -> Vec<Cache> {
    let indices = sysfs::entries(folder).into_iter().filter(|name| name.starts_with("index"));
    indices.filter_map(|name| read_cache(&folder.join(name))).collect()
}

fn read_cache(folder: &Path) -> Option<Cache> {
    let sharing = sysfs::text(&folder.join("shared_cpu_list")).and_then(|list| topology::parse_list(&list));
    Some(Cache {
        level: sysfs::number(&folder.join("level"))?,
        kind: sysfs::text(&folder.join("type"))?.to_lowercase(),
        size_bytes: size(&sysfs::text(&folder.join("size"))?)?,
        shared_by: sharing.map_or(1, |cpus| cpus.len() as u32),
    })
}

/// `48K`, `2M`; the kernel's units are binary.
fn size(text: &str) -> Option<u64> {
    let (digits, factor) = match text.strip_suffix(['K', 'M']) {
        Some(digits) if text.ends_with('K') => (digits, 1 << 10),
        Some(digits) => (digits, 1 << 20),
        None => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Whether the CPU may run above its base frequency, where the driver tells.
fn turbo(cpu: &Path) -> Option<bool> {
    let boost = sysfs::number::<u8>(&cpu.join("cpufreq/boost")).map(|on| on == 1);
    boost.or_else(|| sysfs::number::<u8>(&cpu.join("intel_pstate/no_turbo")).map(|off| off == 0))
}

fn os_name(os_release: &str) -> Option<String> {
    let values: BTreeMap<&str, &str> = os_release.lines().filter_map(|line| line.split_once('=')).collect();
    let name = values.get("PRETTY_NAME").or_else(|| values.get("NAME"))?;
    Some(name.trim_matches(['"', '\'']).to_owned())
}

/// The innermost layer that can be told: a container, else a hypervisor by name, else `vm`, else `none`.
fn virtualisation(root: &Path, cpuinfo: &str) -> Option<String> {
    if let Some(container) = container(root) {
        return Some(container.to_owned());
    }
    if let Some(hypervisor) = sysfs::text(&root.join("sys/hypervisor/type")) {
        return Some(hypervisor);
    }
    let dmi = |name| sysfs::text(&root.join("sys/class/dmi/id").join(name)).unwrap_or_default();
    let identity = format!("{} {}", dmi("sys_vendor"), dmi("product_name")).to_lowercase();
    // What the hypervisors write there by default; a cloud's own name is not a hypervisor.
    const KNOWN: [(&str, &str); 8] = [
        ("kvm", "kvm"),
        ("qemu", "kvm"),
        ("firecracker", "kvm"),
        ("xen", "xen"),
        ("vmware", "vmware"),
        ("virtualbox", "virtualbox"),
        ("virtual machine", "hyperv"),
        ("parallels", "parallels"),
    ];
    if let Some((_, name)) = KNOWN.iter().find(|(text, _)| identity.contains(text)) {
        return Some((*name).to_owned());
    }
    let is_guest = cpuinfo_value(cpuinfo, "flags").map(|flags| flags.split(' ').any(|f| f == "hypervisor"));
    match is_guest {
        Some(true) if sysfs::text(&root.join("sys/devices/virtual/misc/kvm/uevent")).is_some() => {
            Some("vm (nested)".into())
        }
        Some(true) => Some("vm".into()),
        Some(false) => Some("none".into()),
        // No such flag on this architecture, and nothing in DMI: unknown.
        None => None,
    }
}

fn container(root: &Path) -> Option<&'static str> {
    if root.join(".dockerenv").exists() {
        return Some("docker");
    }
    if root.join("run/.containerenv").exists() {
        return Some("podman");
    }
    let cgroup = sysfs::text(&root.join("proc/1/cgroup")).unwrap_or_default();
    const KNOWN: [(&str, &str); 4] =
        [("docker", "docker"), ("kubepods", "kubernetes"), ("lxc", "lxc"), ("libpod", "podman")];
    KNOWN.iter().find(|(text, _)| cgroup.contains(text)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_virtual_x86_machine_is_described() {
        let root = tree(&[
            (
                "proc/cpuinfo",
                "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Processor\nflags\t\t: fpu hypervisor sse\n",
            ),
            ("proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\nSwapTotal:             0 kB\n"),
            ("proc/sys/kernel/osrelease", "6.12.9\n"),
            ("etc/os-release", "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            ("sys/devices/system/cpu/online", "0-1\n"),
            ("sys/devices/system/cpu/cpu0/cache/index0/level", "1\n"),
            ("sys/devices/system/cpu/cpu0/cache/index0/type", "Data\n"),
            ("sys/devices/system/cpu/cpu0/cache/index0/size", "48K\n"),
            ("sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list", "0-1\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
            ("sys/devices/system/cpu/intel_pstate/no_turbo", "0\n"),
            ("sys/class/dmi/id/sys_vendor", "QEMU\n"),
        ]);
        let machine = read(root.path(), "host");
        assert_eq!(machine.cpu_model.as_deref(), Some("Intel(R) Xeon(R) Processor"));
        assert_eq!((machine.threads, machine.cores, machine.sockets), (2, Some(2), Some(1)));
        assert_eq!((machine.memory_bytes, machine.swap_bytes), (8_192_000_000, 0));
        assert_eq!(machine.os.as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(machine.virtualisation.as_deref(), Some("kvm"));
        assert_eq!((machine.governor.as_deref(), machine.turbo), (Some("performance"), Some(true)));
        let cache = Cache { level: 1, kind: "data".into(), size_bytes: 48 << 10, shared_by: 2 };
        assert_eq!(machine.caches, [cache]);
    }

    #[test]
    fn an_arm_core_is_named_by_its_numbers() {
        let neoverse = "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd40\n";
        assert_eq!(cpu_model(neoverse).as_deref(), Some("Arm Neoverse V1"));
        assert_eq!(
            cpu_model("CPU implementer : 0x41\nCPU part : 0xfff\n").as_deref(),
            Some("Arm part 0xfff")
        );
        assert_eq!(cpu_model(""), None);
    }

    #[test]
    fn containers_hypervisors_and_bare_metal_are_told_apart() {
        let kind = |files: &[(&str, &str)]| read(tree(files).path(), "h").virtualisation;
        assert_eq!(kind(&[(".dockerenv", "")]).as_deref(), Some("docker"));
        assert_eq!(kind(&[("sys/hypervisor/type", "xen\n")]).as_deref(), Some("xen"));
        assert_eq!(kind(&[("proc/cpuinfo", "flags : fpu hypervisor\n")]).as_deref(), Some("vm"));
        assert_eq!(kind(&[("proc/cpuinfo", "flags : fpu sse\n")]).as_deref(), Some("none"));
        assert_eq!(kind(&[]), None);
    }

    #[test]
    fn an_empty_tree_gives_absent_values_rather_than_guesses() {
        let machine = read(tree(&[]).path(), "h");
        assert_eq!((machine.cpu_model, machine.cores, machine.turbo, machine.os), (None, None, None, None));
        assert!(machine.caches.is_empty());
    }
}
