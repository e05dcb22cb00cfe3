//! What on this machine disturbs measurements.

use std::path::Path;
use std::time::Duration;

use super::Check;
use crate::api::{Machine, Snapshot};
use crate::runner::{machine, sampler};

/// Long enough to see steal and load, short enough to wait for.
const LOOK_FOR: Duration = Duration::from_millis(500);
/// A hypervisor that takes more than this away shows in medians.
const STEAL_PERCENT: f64 = 0.5;
/// Load a logical CPU has to spare for what is measured.
const LOAD_PER_CPU: f64 = 0.2;

pub fn checks(root: &Path) -> Vec<Check> {
    let machine = machine::read(root, "");
    let before = sampler::take(root, None);
    std::thread::sleep(LOOK_FOR);
    let after = sampler::take(root, None);
    let mut checks = vec![cpu(&machine), governor(&machine), virtualisation(&machine)];
    checks.push(steal(&machine, &before, &after));
    checks.push(load(&machine, &after));
    checks
}

fn cpu(machine: &Machine) -> Check {
    let model = machine.cpu_model.as_deref().unwrap_or("unknown model");
    let cores = machine.cores.map_or_else(String::new, |cores| format!("{cores} cores, "));
    let found = format!("{model}, {cores}{} threads", machine.threads);
    match machine.cores {
        Some(cores) if cores < machine.threads => Check::warning(
            "processor",
            format!("{found}: threads share cores"),
            "give `task_runners.count` at most the number of cores, so that no two runners share one",
        ),
        _ => Check::ok("processor", found),
    }
}

fn governor(machine: &Machine) -> Check {
    const NAME: &str = "CPU governor";
    match machine.governor.as_deref() {
        Some("performance") => Check::ok(NAME, "performance"),
        Some(other) => Check::warning(
            NAME,
            format!("{other}: the clock follows the load"),
            "`cpupower frequency-set -g performance` keeps it steady",
        ),
        None => Check::ok(NAME, "none: the machine does not let its clock be steered"),
    }
}

fn virtualisation(machine: &Machine) -> Check {
    const NAME: &str = "virtualisation";
    match machine.virtualisation.as_deref() {
        Some("none") => Check::ok(NAME, "none"),
        Some(kind) => Check::warning(
            NAME,
            format!("{kind}: neighbours on the same hardware can disturb"),
            "compare medians over several tasks and times of day, or use a metal instance type",
        ),
        None => Check::ok(NAME, "unknown"),
    }
}

fn steal(machine: &Machine, before: &Snapshot, after: &Snapshot) -> Check {
    const NAME: &str = "stolen time";
    match sampler::noise(before, &[], after, machine.threads).steal_percent {
        Some(percent) if percent > STEAL_PERCENT => Check::warning(
            NAME,
            format!("{percent:.1} % of half a second went to other guests"),
            "measure at a quieter time, or on a dedicated host",
        ),
        Some(percent) => Check::ok(NAME, format!("{percent:.1} % in half a second")),
        None => Check::ok(NAME, "not reported by this machine"),
    }
}

fn load(machine: &Machine, now: &Snapshot) -> Check {
    const NAME: &str = "load";
    let Some(load) = now.load_1m else { return Check::ok(NAME, "not reported by this machine") };
    let per_cpu = load / f64::from(machine.threads.max(1));
    if per_cpu > LOAD_PER_CPU {
        let fix = "stop what runs beside the benchmark";
        return Check::warning(NAME, format!("{load:.2} over {} threads", machine.threads), fix);
    }
    Check::ok(NAME, format!("{load:.2} over {} threads", machine.threads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn machine(cores: u32, threads: u32) -> Machine {
        Machine { cores: Some(cores), threads, ..Machine::default() }
    }

    #[test]
    fn threads_that_share_cores_are_pointed_out() {
        assert_eq!(cpu(&machine(4, 8)).state, State::Warning);
        assert_eq!(cpu(&machine(8, 8)).state, State::Ok);
    }

    #[test]
    fn a_governor_that_follows_the_load_comes_with_its_fix() {
        let check = governor(&Machine { governor: Some("powersave".into()), ..machine(1, 1) });
        assert_eq!(check.state, State::Warning);
        assert!(check.fix.unwrap().contains("performance"));
    }

    #[test]
    fn stolen_time_is_told_in_percent() {
        let at = |total, stolen| Snapshot {
            cpu_total_ticks: Some(total),
            cpu_idle_ticks: Some(0),
            cpu_steal_ticks: Some(stolen),
            ..Snapshot::default()
        };
        let check = steal(&machine(1, 1), &at(1000, 0), &at(1100, 5));
        assert_eq!(check.state, State::Warning);
        assert!(check.found.starts_with("5.0 %"), "{check:?}");
    }
}
