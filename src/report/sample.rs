//! Made-up but realistic results for the tests of this module.

use crate::api::{
    Alias, Benchmark, Better, Conditions, Machine, NoiseFigures, Pinning, RunStatus, TaskMetadata,
    TaskOutput, TaskState,
};

use super::Report;
use super::facts::{PlanFact, RunFacts, TaskResult};

pub(super) fn alias(name: &str) -> Alias {
    name.parse().expect("tests use valid aliases")
}

pub(super) fn facts(aliases: &[&str]) -> RunFacts {
    let row = |name: &&str| PlanFact {
        provider: "local".to_owned(),
        instance_type: "process".to_owned(),
        alias: alias(name),
        architecture: Some("x86_64".to_owned()),
        vcpu: Some(2),
        effective_vcpu: Some(2),
        instances: Some(3),
        tasks: 6,
        price_usd_per_h: None,
    };
    RunFacts {
        run_id: "20261120-101500-k3v9".parse().unwrap(),
        status: RunStatus::Completed,
        workload: "cpu".to_owned(),
        seed: 42,
        started_at: "2026-11-20T10:15:00Z".parse().unwrap(),
        finished_at: Some("2026-11-20T10:15:31Z".parse().unwrap()),
        config_sha256: "c0ffee".repeat(10) + "beef",
        bench_version: "0.1.0".to_owned(),
        plan: aliases.iter().map(row).collect(),
    }
}

fn metadata(name: &str, number: u32) -> TaskMetadata {
    TaskMetadata {
        schema: 1,
        bench_version: "0.1.0".to_owned(),
        run_id: "20261120-101500-k3v9".parse().unwrap(),
        task_id: i64::from(number),
        attempt: 1,
        provider: "local".to_owned(),
        instance_type: "process".to_owned(),
        alias: alias(name),
        number,
        runner_id: format!("runner-{number}"),
        host: "host-1".to_owned(),
        started_at: "2026-11-20T10:15:01Z".parse().unwrap(),
        finished_at: "2026-11-20T10:15:08Z".parse().unwrap(),
        pinning: Pinning { cpu: Some(1), beat_cpu: Some(0), ..Pinning::default() },
        machine: Machine {
            hostname: "host-1".to_owned(),
            architecture: "x86_64".to_owned(),
            cpu_model: Some("Example CPU <4> & Co.".to_owned()),
            threads: 2,
            cores: Some(2),
            kernel: "6.12.0".to_owned(),
            memory_bytes: 8 << 30,
            ..Machine::default()
        },
        conditions: Conditions {
            noise: NoiseFigures { steal_percent: Some(0.1), ..NoiseFigures::default() },
            ..Conditions::default()
        },
    }
}

pub(super) fn series(name: &str, unit: &str, samples: &[f64]) -> Benchmark {
    let warmup = samples.first().map(|first| first * 1.5).into_iter().collect();
    let (name, unit) = (name.to_owned(), unit.to_owned());
    Benchmark { name, unit, better: Better::Lower, warmup, samples: samples.to_vec() }
}

/// A completed task of one benchmark, `sort`, in ns.
pub(super) fn task(name: &str, number: u32, samples: &[f64]) -> TaskResult {
    task_with(name, number, vec![series("sort", "ns", samples)])
}

pub(super) fn task_with(name: &str, number: u32, benchmarks: Vec<Benchmark>) -> TaskResult {
    TaskResult {
        task_id: Some(i64::from(number)),
        provider: "local".to_owned(),
        instance_type: "process".to_owned(),
        alias: alias(name),
        number,
        state: TaskState::Completed,
        reason: None,
        error_message: None,
        attempts: 1,
        metadata: Some(metadata(name, number)),
        output: Some(TaskOutput { schema: 1, workload: "sort".to_owned(), benchmarks, executions: vec![] }),
        unreadable: None,
    }
}

pub(super) fn failed(name: &str, number: u32, reason: &str) -> TaskResult {
    let mut task = task(name, number, &[]);
    task.state = TaskState::Failed;
    task.reason = Some(reason.to_owned());
    task.error_message = Some("<script>alert('x')</script>".to_owned());
    (task.metadata, task.output) = (None, None);
    task
}

/// Two aliases with two benchmarks, one of them noisy, one task failed.
pub(super) fn report() -> Report {
    let wave = |center: f64, spread: f64, phase: u32| -> Vec<f64> {
        (0..8).map(|i| center + spread * f64::from((i * 5 + phase * 3) % 8) / 8.0).collect()
    };
    let make = |name: &str, number: u32, factor: f64| {
        let sort = wave((12_300_000.0 + 21_000.0 * f64::from(number % 3)) * factor, 150_000.0, number);
        let noisy = wave(58.0 * factor * f64::from(4 + number % 3), 3.0, number);
        let benchmarks = vec![series("sort", "ns", &sort), series("=cmd|' /C calc'!A0", "frobs", &noisy)];
        task_with(name, number, benchmarks)
    };
    let mut tasks: Vec<TaskResult> = (1..=4).map(|number| make("c7g", number, 1.0)).collect();
    tasks.extend((1..=4).map(|number| make("this-machine", number, 1.21)));
    tasks.push(failed("this-machine", 5, "timeout"));
    let noise = &mut tasks[5].metadata.as_mut().expect("it completed").conditions.noise;
    noise.steal_percent = Some(4.25);
    Report::new(facts(&["c7g", "this-machine"]), tasks)
}
