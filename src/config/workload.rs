//! From the config's words for a workload to the one that travels to the runners.

use std::path::Path;

use super::file::WorkloadFile;
use crate::api::{Builtin, CommandWorkload, OutputSource, Workload, WorkloadKind};

/// Minutes that one task may take where the config does not say.
const TIMEOUT_MINUTES: f64 = 60.0;
/// ruby-bench's headline set takes over an hour on small machines.
const RUBY_BENCH_TIMEOUT_MINUTES: f64 = 240.0;

/// The workload of a config without mistakes.
pub(super) fn convert(file: Option<WorkloadFile>, ruby_version: Option<&str>) -> Workload {
    match (file, ruby_version) {
        (Some(file), _) => of_file(file),
        (None, Some(version)) => Workload {
            name: "ruby-bench".to_owned(),
            timeout_seconds: seconds(RUBY_BENCH_TIMEOUT_MINUTES),
            kind: WorkloadKind::RubyBench { ruby_version: version.to_owned() },
        },
        (None, None) => builtin(Builtin::Cpu, None, None),
    }
}

fn of_file(file: WorkloadFile) -> Workload {
    match (file.builtin, file.command) {
        (Some(kernel), None) => builtin(kernel, file.name, file.timeout_minutes),
        (_, command) => {
            let command = command.expect("the check found one of `command` and `builtin`");
            let program = Path::new(&command[0]).file_name().map(|n| n.to_string_lossy().into_owned());
            let name = file.name.or(program).unwrap_or_else(|| "command".to_owned());
            let output =
                file.output.map(|o| OutputSource { file: o.file, format: o.format, pattern: o.pattern });
            Workload {
                name: name.chars().take(64).collect(),
                timeout_seconds: seconds(file.timeout_minutes.unwrap_or(TIMEOUT_MINUTES)),
                kind: WorkloadKind::Command(CommandWorkload {
                    command,
                    setup: file.setup,
                    env: file.env.unwrap_or_default(),
                    working_directory: file.working_directory,
                    repetitions: file.repetitions.unwrap_or(1),
                    warmup: file.warmup.unwrap_or(0),
                    output,
                }),
            }
        }
    }
}

fn builtin(kernel: Builtin, name: Option<String>, timeout_minutes: Option<f64>) -> Workload {
    let own = match kernel {
        Builtin::Cpu => "cpu",
    };
    Workload {
        name: name.unwrap_or_else(|| own.to_owned()),
        timeout_seconds: seconds(timeout_minutes.unwrap_or(TIMEOUT_MINUTES)),
        kind: WorkloadKind::Builtin { builtin: kernel },
    }
}

/// Whole seconds, at least one. The schema keeps minutes between 0 and 10,080.
fn seconds(minutes: f64) -> u64 {
    (minutes * 60.0).ceil().max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Workload {
        let registry = crate::provider::Registry::embedded().unwrap();
        let local = r#""local": [{ "instance_type": "process", "alias": "a" }]"#;
        let text = if text.is_empty() { format!("{{ {local} }}") } else { format!("{{ {text}, {local} }}") };
        crate::config::parse("run.json", &text, &registry).unwrap().workload
    }

    #[test]
    fn the_builtin_benchmark_is_the_default_and_a_ruby_version_alone_means_ruby_bench() {
        assert_eq!(of("").kind, WorkloadKind::Builtin { builtin: Builtin::Cpu });
        assert_eq!(of("").name, "cpu");
        let ruby = of(r#""ruby_version": "3.4.7""#);
        assert_eq!(ruby.kind, WorkloadKind::RubyBench { ruby_version: "3.4.7".to_owned() });
        assert_eq!(ruby.timeout_seconds, 14_400);
        let both = of(r#""ruby_version": "3.4.7", "workload": { "command": ["true"] }"#);
        assert!(matches!(both.kind, WorkloadKind::Command(_)));
    }

    #[test]
    fn a_command_gets_its_name_from_its_program_and_its_defaults() {
        let workload = of(r#""workload": { "command": ["./bin/bench.sh", "-n"], "timeout_minutes": 0.001 }"#);
        assert_eq!((workload.name.as_str(), workload.timeout_seconds), ("bench.sh", 1));
        let WorkloadKind::Command(command) = workload.kind else { panic!("not a command") };
        assert_eq!((command.repetitions, command.warmup, command.output), (1, 0, None));
        assert_eq!(command.command, ["./bin/bench.sh", "-n"]);
    }

    #[test]
    fn every_key_of_a_command_arrives() {
        let workload =
            of(r#""workload": { "name": "sort", "command": ["s"], "setup": ["make"], "env": { "A": "1" },
                "working_directory": "w", "timeout_minutes": 2.5, "warmup": 2, "repetitions": 3.0,
                "output": { "file": "o", "format": "regex", "pattern": "(?P<value>.)" } }"#);
        assert_eq!((workload.name.as_str(), workload.timeout_seconds), ("sort", 150));
        let WorkloadKind::Command(command) = workload.kind else { panic!("not a command") };
        assert_eq!((command.repetitions, command.warmup), (3, 2));
        assert_eq!(command.setup.as_deref(), Some(["make".to_owned()].as_slice()));
        assert_eq!(command.env["A"], "1");
        assert_eq!(command.working_directory.as_deref(), Some("w"));
        assert_eq!(command.output.unwrap().file.as_deref(), Some("o"));
    }
}
