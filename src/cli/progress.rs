//! Shows what the master does on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Output;
use crate::api::{Event, EventKind, TaskCounts};
use crate::master::progress::{MasterEvent, Progress};
use crate::words::count;

/// Picks the form that fits where stderr goes.
pub fn for_stderr(output: Output) -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(Bar { bar: ProgressBar::hidden() })
    } else {
        Box::new(Lines { output, last_count: Mutex::new(Instant::now()) })
    }
}

/// One bar over all tasks; what is worth keeping scrolls past above it.
struct Bar {
    bar: ProgressBar,
}

impl Progress for Bar {
    fn tell(&self, event: &MasterEvent) {
        match event {
            MasterEvent::Started { total_tasks, .. } => {
                let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}")
                    .expect("the template is constant");
                self.bar.set_style(style);
                self.bar.set_length(*total_tasks);
                self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
                self.bar.enable_steady_tick(Duration::from_millis(200));
            }
            MasterEvent::Run { event, counts } => {
                self.bar.set_position(counts.ended());
                self.bar.set_message(brief(counts));
                if let Some(line) = notable(event) {
                    self.bar.println(line);
                }
            }
            MasterEvent::Collecting => self.bar.set_message("collecting results"),
            MasterEvent::Finished { .. } => self.bar.finish_and_clear(),
            _ => {}
        }
        if let Some(line) = line(event) {
            self.bar.println(line);
        }
    }
}

/// A line an event, and how far the run is every few seconds at most.
struct Lines {
    output: Output,
    last_count: Mutex<Instant>,
}

/// Pipelines keep what is printed: a count now and then is enough.
const COUNT_EVERY: Duration = Duration::from_secs(5);

impl Progress for Lines {
    fn tell(&self, event: &MasterEvent) {
        if let Some(line) = line(event) {
            self.output.note(&line);
        }
        let MasterEvent::Run { event, counts } = event else { return };
        if let Some(line) = notable(event) {
            self.output.note(&line);
        }
        let mut last = self.last_count.lock().expect("no holder panics");
        if last.elapsed() >= COUNT_EVERY {
            *last = Instant::now();
            let tasks = count(counts.total, "task");
            self.output.note(&format!("{} of {tasks} ended, {}", counts.ended(), brief(counts)));
        }
    }
}

fn brief(counts: &TaskCounts) -> String {
    let under_way = counts.claimed + counts.running;
    match counts.failed {
        0 => format!("{under_way} running"),
        failed => format!("{under_way} running, {failed} failed"),
    }
}

/// Steps of the master, as a sentence.
fn line(event: &MasterEvent) -> Option<String> {
    Some(match event {
        MasterEvent::Started { run_id, total_tasks } => {
            format!("run {run_id}: {}", count(*total_tasks, "task"))
        }
        MasterEvent::OrchestratorReady { url } => format!("orchestrator: {url}"),
        MasterEvent::WaitingForCpus { wanted, free, held_by } => {
            let (wanted, held_by) = (count(*wanted, "CPU"), held_by.join(", "));
            format!("waiting for {wanted}, {free} free: the others are held by {held_by}")
        }
        MasterEvent::ProviderStarted { name, alias, runners } => {
            format!("{name}: {} for {alias}", count(*runners, "task runner"))
        }
        MasterEvent::RunnerDied { name, alias, status, log } => format!(
            "{name}: a task runner of {alias} died ({status}) and is started again; its log is {}",
            log.display()
        ),
        MasterEvent::ProviderSettled { name, status } if status != "done" => format!("{name}: {status}"),
        MasterEvent::OrchestratorSilent { error } => {
            format!("the orchestrator does not answer, still trying: {error}")
        }
        MasterEvent::Interrupted => {
            "interrupted: stopping tasks and saving what there is; once more ends at once".to_owned()
        }
        MasterEvent::ProviderUp { name, hosts } => format!("{name}: {hosts} hosts are made"),
        MasterEvent::ProviderFailed { name, error, hosts, .. } => {
            format!("{name}: could not be set up as planned, {hosts} hosts came up: {error}")
        }
        MasterEvent::ProviderSettled { .. }
        | MasterEvent::ProviderProgress { .. }
        | MasterEvent::Run { .. }
        | MasterEvent::Collecting
        | MasterEvent::Finished { .. } => return None,
    })
}

/// Changes of the run that a user would want to have seen.
fn notable(event: &Event) -> Option<String> {
    let what = match event.kind {
        EventKind::TaskFailed => "failed",
        EventKind::TaskLost => "was lost with its runner",
        EventKind::TaskRetried => "is tried again",
        EventKind::HostDrained => "host gets no more tasks",
        EventKind::RunStopped => return Some("the run was stopped".to_owned()),
        _ => return None,
    };
    let subject = match (&event.alias, event.number, &event.host) {
        (Some(alias), Some(number), _) => format!("{alias}-{number}"),
        (_, _, Some(host)) => host.clone(),
        _ => event.run_id.to_string(),
    };
    let reason = event.detail.as_deref().map(|text| format!(": {}", printable(text))).unwrap_or_default();
    Some(format!("{subject} {what}{reason}"))
}

/// Text of runners for a terminal: one line, without control characters, not too long.
pub(super) fn printable(text: &str) -> String {
    const MOST: usize = 300;
    let mut clean: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST + 1).collect();
    if clean.chars().count() > MOST {
        clean.pop();
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_runners_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert!(printable(&"x".repeat(1000)).ends_with("x…"));
    }
}
