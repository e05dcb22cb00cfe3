//! From a config as it stands in its file to its plan. Mistakes of the file and what keeps its plan from being made are one list:
//! whoever mends a config wants to do it once.

use std::collections::HashMap;

use super::{Plan, Problem, plan};
use crate::config::{self, ConfigError, Located, RunConfig};
use crate::document::{Document, MAX_MISTAKES, Mistake, Node};
use crate::provider::{MachineFacts, Registry};

/// Checks a config against the backends of `registry` and plans it on `machine`.
///
/// # Errors
/// Everything that is wrong with it: where the file has mistakes, the plan of what can be read of it counts too.
pub fn plan_document(
    document: &Document,
    registry: &Registry,
    machine: MachineFacts,
) -> Result<(RunConfig, Plan), ConfigError> {
    let (problems, mut invalid) = match config::from_document(document, registry) {
        Ok(config) => match plan(&config, registry, machine) {
            Ok(plan) => return Ok((config, plan)),
            Err(error) => (error.problems, ConfigError { mistakes: Vec::new(), omitted: 0, source: None }),
        },
        Err(invalid) => {
            let planned = plan(&config::readable(document, registry), registry, machine);
            (planned.err().map(|error| error.problems).unwrap_or_default(), invalid)
        }
    };
    add(&mut invalid, document, &problems);
    Err(invalid)
}

/// Adds problems at their places. What the file's own check has named already is not said twice.
fn add(invalid: &mut ConfigError, document: &Document, problems: &[Problem]) {
    let lists = document.root().members().iter().map(|member| &member.value);
    let entries = lists.flat_map(|list| list.elements()).map(|node| (node.start, node)).collect();
    let of_file = invalid.mistakes.len();
    for problem in problems {
        let mistake = mistake(document, &entries, problem);
        let is_known = |known: &Mistake| (known.line, known.column) == (mistake.line, mistake.column);
        if mistake.path != "$" && invalid.mistakes[..of_file].iter().any(is_known) {
            continue;
        }
        if invalid.mistakes.len() < MAX_MISTAKES {
            invalid.mistakes.push(mistake);
        } else {
            invalid.omitted += 1;
        }
    }
    invalid.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
}

type Entries<'d> = HashMap<usize, &'d Node>;

fn mistake(document: &Document, entries: &Entries<'_>, problem: &Problem) -> Mistake {
    let of_entry = |at: &Located, key: &str| {
        let node = entries.get(&at.offset).and_then(|entry| entry.get(key));
        match node {
            Some(node) => (format!("{}.{key}", at.path), node.start, Some(node.shortened())),
            None => (at.path.clone(), at.offset, None),
        }
    };
    let of_section = |keys: &[&str]| {
        let (mut path, mut node) = ("$".to_owned(), document.root());
        for key in keys {
            let Some(inner) = node.get(key) else { break };
            (path, node) = (format!("{path}.{key}"), inner);
        }
        let value = (path != "$").then(|| node.shortened());
        (path, node.start, value)
    };
    let mut found_nearest = None;
    let ((path, offset, value), expected) = match problem {
        Problem::UnknownFact { at, backend, key, nearest, .. } => {
            found_nearest.clone_from(nearest);
            let expected =
                format!("an instance type that the catalog of `{backend}` has, or `{key}` beside it");
            (of_entry(at, "instance_type"), expected)
        }
        Problem::MoreThanMachine { at, online_cpus, .. } => {
            (of_entry(at, "vcpu"), format!("at most {online_cpus}, the CPUs of this machine"))
        }
        Problem::OtherMachine { at, machine, .. } => {
            (of_entry(at, "arch"), format!("`{machine}`, the architecture of this machine"))
        }
        Problem::MissingBinary { arch, .. } => {
            (of_section(&["task_runners", "binaries"]), format!("a program for {arch}, or an `image`"))
        }
        Problem::SharedOutput { .. } => {
            let expected = "a file in `$BENCH_TASK_DIR`, or one task runner".to_owned();
            (of_section(&["workload", "output", "file"]), expected)
        }
        Problem::TooManyTasks { .. } | Problem::TooManyTypes { .. } => {
            (of_section(&[]), "fewer tasks".to_owned())
        }
        Problem::UnknownPrice { .. } | Problem::OverLimit { .. } => {
            (of_section(&["limits", "max_cost_usd"]), "a plan that costs no more".to_owned())
        }
    };
    let (line, column) = document.line_and_column(offset);
    Mistake {
        file: document.file().to_owned(),
        line: Some(line),
        column: Some(column),
        path,
        value,
        expected,
        nearest: found_nearest,
        message: problem.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Arch;

    fn mistakes_of(text: &str) -> Vec<String> {
        let registry = Registry::embedded().unwrap();
        let machine = MachineFacts { online_cpus: 4, arch: Arch::X86_64 };
        let document = Document::parse("run.json", text).unwrap();
        let invalid = plan_document(&document, &registry, machine).unwrap_err();
        invalid.mistakes.iter().map(|m| format!("{}:{} {}", m.line.unwrap(), m.path, m.expected)).collect()
    }

    #[test]
    fn mistakes_of_the_file_and_of_its_plan_are_one_list_in_its_order() {
        let text = r#"{
  "runs_per_instance_type": 0,
  "workload": { "command": ["./b"], "output": { "file": "out.json", "format": "bmf" } },
  "task_runners": { "count": 2 },
  "local": [
    { "instance_type": "process", "alias": "a", "vcpu": 9 },
    { "instance_type": "process", "alias": "b", "arch": "arm64" },
    { "instance_type": "proces", "alias": "c" }
  ],
  "limtis": {}
}"#;
        assert_eq!(
            mistakes_of(text),
            [
                "2:$.runs_per_instance_type an integer from 1 to 1,000,000",
                "3:$.workload.output.file a file in `$BENCH_TASK_DIR`, or one task runner",
                "6:$.local[0].vcpu at most 4, the CPUs of this machine",
                "7:$.local[1].arch `x86_64`, the architecture of this machine",
                "8:$.local[2].instance_type one of `process`, `docker`",
                "10:$.limtis a key of the config or the name of a provider instance",
            ]
        );
    }

    #[test]
    fn what_the_file_s_own_check_has_named_is_not_said_twice() {
        let text = r#"{ "local": [{ "instance_type": "process", "alias": "a", "vcpu": 2000 }] }"#;
        assert_eq!(mistakes_of(text), ["1:$.local[0].vcpu an integer from 1 to 1,024"]);
    }
}
