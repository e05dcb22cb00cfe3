//! Shows what the master does on stderr: one bar for the tasks and a line for each provider instance on a
//! terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Output;
use crate::api::{Event, EventKind, TaskCounts};
use crate::master::progress::{MasterEvent, Progress};
use crate::plan::Cost;
use crate::words::count;

/// Nobody who is asked needs longer; hosts cost money meanwhile.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Picks the form that fits where stderr goes.
pub fn for_stderr(output: Output) -> Box<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Box::new(Bars::new())
    } else {
        Box::new(Lines { output, shown: Mutex::default() })
    }
}

/// One bar over all tasks, below it what Terraform does; what is worth keeping scrolls past above.
struct Bars {
    all: MultiProgress,
    tasks: ProgressBar,
    providers: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn new() -> Bars {
        let all = MultiProgress::new();
        let tasks = all.add(ProgressBar::hidden());
        Bars { all, tasks, providers: Mutex::default() }
    }

    fn println(&self, line: &str) {
        // A terminal that went away is no reason to stop a run.
        drop(self.all.println(line));
    }

    /// The line of a provider instance, while Terraform works on it.
    fn provider(&self, name: &str, message: String) {
        let mut providers = self.providers.lock().expect("no holder panics");
        let bar = providers.entry(name.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new_spinner());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        bar.set_message(message);
    }

    fn provider_ended(&self, name: &str) {
        if let Some(bar) = self.providers.lock().expect("no holder panics").remove(name) {
            bar.finish_and_clear();
        }
    }
}

#[async_trait]
impl Progress for Bars {
    fn tell(&self, event: &MasterEvent) {
        match event {
            MasterEvent::Started { total_tasks, .. } => {
                let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}")
                    .expect("the template is constant");
                self.tasks.set_style(style);
                self.tasks.set_length(*total_tasks);
                self.tasks.enable_steady_tick(Duration::from_millis(200));
            }
            MasterEvent::Run { event, counts } => {
                self.tasks.set_position(counts.ended());
                self.tasks.set_message(brief(counts));
                if let Some(line) = notable(event) {
                    self.println(&line);
                }
            }
            MasterEvent::ProviderProgress { name, operation, progress } => {
                self.provider(name, format!("{name}: {operation}, {progress}"));
            }
            MasterEvent::ProviderUp { name, .. }
            | MasterEvent::ProviderFailed { name, .. }
            | MasterEvent::ProviderSettled { name, .. } => self.provider_ended(name),
            MasterEvent::Collecting => self.tasks.set_message("collecting results"),
            MasterEvent::Finished { .. } => self.tasks.finish_and_clear(),
            _ => {}
        }
        if let Some(line) = line(event) {
            self.println(&line);
        }
    }

    async fn ask_to_keep(&self) -> bool {
        self.println(
            "destroy the hosts of this run? [Y/n] (n leaves them to their time to live; no answer: yes)",
        );
        let (sender, answer) = tokio::sync::oneshot::channel();
        // A thread of its own: a question that nobody answers must not keep the process from ending.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            // Whoever asked has stopped waiting where this fails.
            let _ = sender.send(read.is_ok() && matches!(line.trim(), "n" | "N" | "no"));
        });
        matches!(tokio::time::timeout(ANSWER_WITHIN, answer).await, Ok(Ok(true)))
    }
}

/// A line an event, and how far tasks and Terraform are every few seconds at most.
struct Lines {
    output: Output,
    /// When something that is told often was last told, by its name.
    shown: Mutex<HashMap<String, Instant>>,
}

/// Pipelines keep what is printed: a count now and then is enough.
const COUNT_EVERY: Duration = Duration::from_secs(5);

impl Lines {
    fn now_and_then(&self, name: &str, line: impl FnOnce() -> String) {
        let mut shown = self.shown.lock().expect("no holder panics");
        let last = shown.entry(name.to_owned()).or_insert_with(Instant::now);
        if last.elapsed() >= COUNT_EVERY {
            *last = Instant::now();
            self.output.note(&line());
        }
    }
}

#[async_trait]
impl Progress for Lines {
    fn tell(&self, event: &MasterEvent) {
        if let Some(line) = line(event) {
            self.output.note(&line);
        }
        match event {
            MasterEvent::ProviderProgress { name, operation, progress } => {
                self.now_and_then(name, || format!("{name}: {operation}, {progress}"));
            }
            MasterEvent::Run { event, counts } => {
                if let Some(line) = notable(event) {
                    self.output.note(&line);
                }
                self.now_and_then("", || {
                    let tasks = count(counts.total, "task");
                    format!("{} of {tasks} ended, {}", counts.ended(), brief(counts))
                });
            }
            _ => {}
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
        MasterEvent::Hosts { count: hosts, cost, ttl_minutes } => hosts_line(*hosts, cost, *ttl_minutes),
        MasterEvent::Meta(step) => step.to_string(),
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
        MasterEvent::ProviderUp { name, hosts } => format!("{name}: {} made", count(*hosts, "host")),
        MasterEvent::ProviderFailed { name, error, class, next_step, hosts } => {
            let class = class.map(|class| format!(" ({class})")).unwrap_or_default();
            let error = printable(error);
            format!(
                "{name}: not set up as planned{class}, {hosts} hosts came up: {error}\n  next: {next_step}"
            )
        }
        MasterEvent::HostMissing { name, host, replaced } => {
            let then = if *replaced { "it is replaced" } else { "it is given up" };
            format!("{name}: {}; {then}", printable(host))
        }
        MasterEvent::ProviderSettled { .. }
        | MasterEvent::ProviderProgress { .. }
        | MasterEvent::Run { .. }
        | MasterEvent::Collecting
        | MasterEvent::Finished { .. } => return None,
    })
}

/// What is about to be paid for.
fn hosts_line(hosts: u64, cost: &Cost, ttl_minutes: u32) -> String {
    let known = format!(
        "{} for {:.4} USD an hour, at worst {:.2} USD (hosts end themselves after {ttl_minutes} minutes)",
        count(hosts, "host"),
        cost.hourly_usd,
        cost.worst_case_usd
    );
    match cost.unpriced.as_slice() {
        [] => known,
        unpriced => format!("{known}; the price of {} is unknown", super::failures::listed(unpriced)),
    }
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
