//! Looks at the machine's counters before, during and after a task, and says what they mean for trust.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::machine::meminfo_bytes;
use super::sysfs;
use crate::api::{Conditions, Execution, NoiseFigures, Phase, Pressure, Snapshot};

/// First distance between two looks. One look costs some 0.1 ms, outside of the workload's CPU.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);
/// When so many are kept, every other one is dropped and the interval doubles.
const MOST_SNAPSHOTS: usize = 120;

/// The kernel sums pressure up every two seconds (kernel/sched/psi.c, PSI_FREQ): over a shorter task the totals
/// tell of the time before it.
const PRESSURE_FROM: Duration = Duration::from_secs(10);
/// The launcher and the workload's first process share a CPU while the one starts the other, nanoseconds.
const STARTING_NS: u64 = 1_000_000;

/// Takes one snapshot of the machine whose file systems are below `root`; of `cpu`, or of all CPUs.
pub fn take(root: &Path, cpu: Option<u32>) -> Snapshot {
    let mut snapshot = Snapshot { at: Some(jiff::Timestamp::now()), ..Snapshot::default() };
    if let Some(text) = sysfs::text(&root.join("proc/loadavg")) {
        read_load(&text, &mut snapshot);
    }
    if let Some(text) = sysfs::text(&root.join("proc/stat")) {
        read_ticks(&text, cpu, &mut snapshot);
    }
    let folder = root.join(format!("sys/devices/system/cpu/cpu{}", cpu.unwrap_or(0)));
    snapshot.frequency_khz = sysfs::number(&folder.join("cpufreq/scaling_cur_freq"));
    snapshot.throttle_count = sysfs::number(&folder.join("thermal_throttle/core_throttle_count"));
    snapshot.memory_available_bytes =
        sysfs::text(&root.join("proc/meminfo")).and_then(|text| meminfo_bytes(&text, "MemAvailable"));
    let pressure = |name| sysfs::text(&root.join("proc/pressure").join(name)).and_then(|t| read_pressure(&t));
    snapshot.pressure_cpu = pressure("cpu");
    snapshot.pressure_memory = pressure("memory");
    snapshot.pressure_io = pressure("io");
    snapshot
}

/// `0.20 0.18 0.12 1/80 11206` (`man 5 proc_loadavg`).
fn read_load(text: &str, snapshot: &mut Snapshot) {
    let mut fields = text.split_whitespace();
    snapshot.load_1m = fields.next().and_then(|field| field.parse().ok());
    snapshot.load_5m = fields.next().and_then(|field| field.parse().ok());
    snapshot.running =
        fields.nth(1).and_then(|field| field.split_once('/')).and_then(|(running, _)| running.parse().ok());
}

/// `cpuN user nice system idle iowait irq softirq steal guest guest_nice` (`man 5 proc_stat`). Guest time is
/// part of user time already.
fn read_ticks(text: &str, cpu: Option<u32>, snapshot: &mut Snapshot) {
    let label = cpu.map_or("cpu".to_owned(), |cpu| format!("cpu{cpu}"));
    let line = text.lines().find(|line| line.split(' ').next() == Some(label.as_str()));
    let Some(line) = line else { return };
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|t| t.parse().ok()).collect();
    if ticks.len() == 8 {
        snapshot.cpu_total_ticks = Some(ticks.iter().sum());
        snapshot.cpu_idle_ticks = Some(ticks[3] + ticks[4]);
        snapshot.cpu_steal_ticks = Some(ticks[7]);
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` (Documentation/accounting/psi.rst).
fn read_pressure(text: &str) -> Option<Pressure> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let value = |key: &str| some.split(' ').find_map(|field| field.strip_prefix(key)?.strip_prefix('='));
    Some(Pressure { avg10: value("avg10")?.parse().ok()?, total_us: value("total")?.parse().ok()? })
}

/// Collects the snapshots of one task.
#[derive(Debug)]
pub struct Sampler {
    root: PathBuf,
    cpu: Option<u32>,
    threads: u32,
    interval: Duration,
    before: Snapshot,
    during: Vec<Snapshot>,
}

impl Sampler {
    /// Takes the snapshot before the task. `threads` is the number of logical CPUs online.
    pub fn start(root: &Path, cpu: Option<u32>, threads: u32) -> Sampler {
        let before = take(root, cpu);
        Sampler { root: root.to_owned(), cpu, threads, interval: FIRST_INTERVAL, before, during: Vec::new() }
    }

    /// Takes snapshots for ever; dropped when the task is over.
    pub async fn watch(&mut self) {
        loop {
            tokio::time::sleep(self.interval).await;
            let snapshot = take(&self.root, self.cpu);
            self.keep(snapshot);
        }
    }

    fn keep(&mut self, snapshot: Snapshot) {
        self.during.push(snapshot);
        if self.during.len() >= MOST_SNAPSHOTS {
            let mut index = 0;
            self.during.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.interval = self.interval.saturating_mul(2);
        }
    }

    /// Takes the snapshot after the task and sums up. The workload ran on `cpus` logical CPUs.
    pub fn finish(self, executions: &[Execution], cpus: usize) -> Conditions {
        let after = take(&self.root, self.cpu);
        let mut noise = noise(&self.before, &self.during, &after, self.threads);
        noise.cpu_wait_percent = cpu_wait_percent(executions, cpus);
        Conditions { before: self.before, during: self.during, after, noise }
    }
}

/// Share of the executions' wall time in which others had the workload's CPUs. Processes of the workload that
/// wait for each other are its own affair: others cannot have had more than what it left of its CPUs' time.
fn cpu_wait_percent(executions: &[Execution], cpus: usize) -> Option<f64> {
    let (mut waited, mut wall) = (0, 0);
    for execution in executions.iter().filter(|execution| execution.phase != Phase::Setup) {
        let left = (execution.wall_ns.saturating_mul(cpus as u64))
            .saturating_sub(execution.user_ns + execution.system_ns);
        waited += execution.cpu_wait_ns?.saturating_sub(STARTING_NS).min(left);
        wall += execution.wall_ns;
    }
    (wall > 0).then(|| (waited as f64 / wall as f64 * 100.0).min(100.0))
}

/// What the differences between the snapshots say. Figures whose counters are absent are absent.
pub fn noise(before: &Snapshot, during: &[Snapshot], after: &Snapshot, threads: u32) -> NoiseFigures {
    let grown = |counter: fn(&Snapshot) -> Option<u64>| counter(after)?.checked_sub(counter(before)?);
    let total = grown(|s| s.cpu_total_ticks).filter(|&ticks| ticks > 0);
    let elapsed_us = match (before.at, after.at) {
        (Some(from), Some(to)) => Some(to.duration_since(from).as_micros() as f64).filter(|us| *us > 0.0),
        _ => None,
    };
    let waited = |counter: fn(&Snapshot) -> Option<u64>| {
        let elapsed_us = elapsed_us.filter(|us| *us >= PRESSURE_FROM.as_micros() as f64)?;
        // Both clocks are read at slightly different moments.
        Some((grown(counter)? as f64 / elapsed_us * 100.0).min(100.0))
    };
    let frequencies = || during.iter().chain([before, after]).filter_map(|s| s.frequency_khz);
    NoiseFigures {
        steal_percent: grown(|s| s.cpu_steal_ticks)
            .zip(total)
            .map(|(steal, total)| steal as f64 / total as f64 * 100.0),
        cpu_wait_percent: None,
        pressure_cpu_percent: waited(|s| s.pressure_cpu.map(|p| p.total_us)),
        pressure_memory_percent: waited(|s| s.pressure_memory.map(|p| p.total_us)),
        pressure_io_percent: waited(|s| s.pressure_io.map(|p| p.total_us)),
        throttle_events: grown(|s| s.throttle_count),
        frequency_min_khz: frequencies().min(),
        frequency_max_khz: frequencies().max(),
        load_before_per_cpu: before.load_1m.filter(|_| threads > 0).map(|load| load / f64::from(threads)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    #[test]
    fn the_counters_of_the_pinned_cpu_are_read() {
        let root = tempfile::tempdir().unwrap();
        let stat =
            "cpu  10 0 10 100 0 0 0 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 5 0 5 50 2 1 1 3 9 9\nintr 1\n";
        write(root.path(), "proc/stat", stat);
        write(root.path(), "proc/loadavg", "0.50 0.25 0.12 3/80 11206\n");
        write(
            root.path(),
            "proc/pressure/cpu",
            "some avg10=1.50 avg60=0.00 avg300=0.00 total=4200\nfull x\n",
        );
        write(root.path(), "proc/meminfo", "MemAvailable:    1000 kB\n");
        write(root.path(), "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "2600000\n");
        let one = take(root.path(), Some(1));
        assert_eq!(
            (one.cpu_total_ticks, one.cpu_idle_ticks, one.cpu_steal_ticks),
            (Some(67), Some(52), Some(3))
        );
        assert_eq!((one.load_1m, one.load_5m, one.running), (Some(0.5), Some(0.25), Some(3)));
        assert_eq!(one.pressure_cpu, Some(Pressure { avg10: 1.5, total_us: 4200 }));
        assert_eq!((one.frequency_khz, one.memory_available_bytes), (Some(2_600_000), Some(1_024_000)));
        assert_eq!(one.throttle_count, None);
        assert_eq!(take(root.path(), None).cpu_total_ticks, Some(124));
    }

    #[test]
    fn noise_is_the_difference_of_the_counters() {
        let at = |second| Some(jiff::Timestamp::from_second(second).unwrap());
        let pressure = |total_us| Some(Pressure { avg10: 0.0, total_us });
        let before = Snapshot {
            at: at(100),
            load_1m: Some(3.0),
            cpu_total_ticks: Some(1000),
            cpu_steal_ticks: Some(10),
            pressure_cpu: pressure(1_000_000),
            frequency_khz: Some(2000),
            throttle_count: Some(1),
            ..Snapshot::default()
        };
        let during = [Snapshot { frequency_khz: Some(1500), ..Snapshot::default() }];
        let after = Snapshot {
            at: at(110),
            cpu_total_ticks: Some(2000),
            cpu_steal_ticks: Some(60),
            pressure_cpu: pressure(2_000_000),
            frequency_khz: Some(2500),
            throttle_count: Some(4),
            ..Snapshot::default()
        };
        let noise = noise(&before, &during, &after, 2);
        assert_eq!(noise.steal_percent, Some(5.0));
        assert_eq!(noise.pressure_cpu_percent, Some(10.0));
        assert_eq!((noise.pressure_io_percent, noise.throttle_events), (None, Some(3)));
        assert_eq!((noise.frequency_min_khz, noise.frequency_max_khz), (Some(1500), Some(2500)));
        assert_eq!(noise.load_before_per_cpu, Some(1.5));
    }

    #[test]
    fn pressure_over_a_task_shorter_than_its_bookkeeping_says_nothing() {
        let at = |second| Some(jiff::Timestamp::from_second(second).unwrap());
        let snapshot = |second, total_us| {
            let pressure_cpu = Some(Pressure { avg10: 0.0, total_us });
            Snapshot { at: at(second), pressure_cpu, ..Snapshot::default() }
        };
        let figure =
            |seconds| noise(&snapshot(0, 0), &[], &snapshot(seconds, 1_000_000), 2).pressure_cpu_percent;
        assert_eq!((figure(9), figure(10)), (None, Some(10.0)));
    }

    #[test]
    fn waiting_for_others_counts_and_waiting_for_oneself_does_not() {
        let execution = |wall_ms: u64, cpu_ms: u64, wait_ms: u64| -> Execution {
            serde_json::from_value(serde_json::json!({
                "phase": "measure", "index": 0, "started_at": "2026-01-01T00:00:00Z", "timed_out": false,
                "wall_ns": wall_ms * 1_000_000, "user_ns": cpu_ms * 1_000_000, "system_ns": 0,
                "cpu_wait_ns": wait_ms * 1_000_000, "max_rss_bytes": 1, "exit_status": 0, "signal": null,
                "stdout": { "total_bytes": 0, "kept_bytes": 0 },
                "stderr": { "total_bytes": 0, "kept_bytes": 0 },
            }))
            .unwrap()
        };
        let percent = |executions: &[Execution]| cpu_wait_percent(executions, 1).unwrap();
        assert_eq!(percent(&[execution(2, 1, 1)]), 0.0, "starting it takes that long");
        assert_eq!(
            percent(&[execution(1000, 500, 501)]),
            50.0,
            "another program had the CPU half of the time"
        );
        assert_eq!(percent(&[execution(1000, 990, 900)]), 1.0, "its own two processes took turns");
        assert_eq!(percent(&[execution(1000, 500, 501), execution(1000, 1000, 1)]), 25.0);
        assert_eq!(cpu_wait_percent(&[], 1), None);
    }

    #[test]
    fn snapshots_stay_bounded_over_a_long_task() {
        let mut sampler = Sampler::start(Path::new("/"), None, 2);
        for load in 0..10_000 {
            sampler.keep(Snapshot { load_1m: Some(f64::from(load)), ..Snapshot::default() });
            assert!(sampler.during.len() < MOST_SNAPSHOTS);
        }
        assert!(sampler.interval > FIRST_INTERVAL);
        let conditions = sampler.finish(&[], 1);
        assert!(conditions.before.at.is_some() && conditions.after.at.is_some());
    }
}
