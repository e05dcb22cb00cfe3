//! Why tasks did not complete, in words: `bench run` and `bench results` end with it.

use std::io::{self, Write};

use indexmap::IndexMap;

use super::progress::printable;
use crate::api::TaskState;
use crate::report::TaskResult;

/// Different reasons that are shown; all of them stand in `results.json`.
const SHOWN_REASONS: usize = 10;
/// Tasks that are named for each reason.
const SHOWN_TASKS: usize = 3;

/// One line for each different reason, with the tasks that it ended.
pub fn write(out: &mut dyn Write, tasks: &[TaskResult]) -> io::Result<()> {
    let mut reasons: IndexMap<String, Vec<String>> = IndexMap::new();
    for task in tasks.iter().filter(|task| task.state == TaskState::Failed) {
        let name = format!("{}-{}", task.alias, task.number);
        reasons.entry(why(task)).or_default().push(name);
    }
    for (why, names) in reasons.iter().take(SHOWN_REASONS) {
        writeln!(out, "{}: {why}", listed(names))?;
    }
    let more = reasons.len().saturating_sub(SHOWN_REASONS);
    if more > 0 {
        writeln!(out, "and {more} other reasons, in results.json")?;
    }
    Ok(())
}

fn why(task: &TaskResult) -> String {
    let reason = task.reason.as_deref().unwrap_or("failed");
    match &task.error_message {
        Some(message) => format!("{} ({})", printable(message), printable(reason)),
        None => printable(reason),
    }
}

pub(super) fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN_TASKS)].join(", ");
    match names.len().saturating_sub(SHOWN_TASKS) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(number: u32, message: &str) -> TaskResult {
        serde_json::from_value(serde_json::json!({
            "provider": "local", "instance_type": "process", "alias": "a", "number": number,
            "state": "failed", "reason": "exit", "error_message": message, "attempts": 1
        }))
        .expect("a task")
    }

    fn shown(tasks: &[TaskResult]) -> String {
        let mut out = Vec::new();
        write(&mut out, tasks).expect("memory takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn tasks_that_failed_alike_share_a_line() {
        let mut tasks: Vec<TaskResult> = (1..=5).map(|n| failed(n, "exited with status 3")).collect();
        tasks.push(failed(6, "was ended\n\u{1b}[2Jby signal 9"));
        assert_eq!(
            shown(&tasks),
            "a-1, a-2, a-3 and 2 more: exited with status 3 (exit)\na-6: was ended  [2Jby signal 9 (exit)\n"
        );
    }

    #[test]
    fn tasks_that_did_not_fail_are_not_named() {
        let mut completed = failed(1, "");
        completed.state = TaskState::Completed;
        assert_eq!(shown(&[completed]), "");
    }

    #[test]
    fn very_many_reasons_are_cut_and_the_cut_is_said() {
        let tasks: Vec<TaskResult> = (1..=13).map(|n| failed(n, &format!("status {n}"))).collect();
        let text = shown(&tasks);
        assert_eq!(text.lines().count(), 11);
        assert!(text.ends_with("and 3 other reasons, in results.json\n"), "{text}");
    }
}
