//! PURE. Where an apply or a destroy stands, as a fold over its events.

use serde::Serialize;

use super::events::{Action, Diagnostic, EventKind, Severity, TfEvent};

/// Counts of resources.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Progress {
    /// To be made, changed or destroyed; a replacement counts twice, as it is carried out.
    pub planned: u64,
    pub created: u64,
    pub changed: u64,
    pub destroyed: u64,
    pub failed: u64,
    /// Begun and not ended.
    pub in_flight: u64,
    /// From the first to the last event by Terraform's clock, seconds.
    pub elapsed_s: f64,
    /// Errors, in the order in which they came.
    pub errors: Vec<Diagnostic>,
    #[serde(skip)]
    first: Option<jiff::Timestamp>,
}

impl Progress {
    pub fn of<'e>(events: impl IntoIterator<Item = &'e TfEvent>) -> Progress {
        let mut progress = Progress::default();
        events.into_iter().for_each(|event| progress.add(event));
        progress
    }

    pub fn add(&mut self, event: &TfEvent) {
        if let Some(at) = event.at {
            let first = *self.first.get_or_insert(at);
            self.elapsed_s = self.elapsed_s.max(at.duration_since(first).as_secs_f64());
        }
        match &event.kind {
            EventKind::PlannedChange { action, .. } => self.planned += steps(*action),
            EventKind::ApplyStart { action, .. } if steps(*action) > 0 => self.in_flight += 1,
            EventKind::ApplyComplete { action, .. } => self.complete(*action),
            EventKind::ApplyErrored { action, .. } if steps(*action) > 0 => {
                self.failed += 1;
                self.in_flight = self.in_flight.saturating_sub(1);
            }
            EventKind::Diagnostic(diagnostic) if diagnostic.severity == Severity::Error => {
                self.errors.push(diagnostic.clone());
            }
            _ => {}
        }
    }

    fn complete(&mut self, action: Action) {
        match action {
            Action::Create => self.created += 1,
            Action::Update => self.changed += 1,
            Action::Delete => self.destroyed += 1,
            _ => return,
        }
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}

impl std::fmt::Display for Progress {
    /// For one line of a display: `3 of 8 resources, 1 failed, 12 s`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} resources", self.created + self.changed + self.destroyed, self.planned)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        write!(f, ", {:.0} s", self.elapsed_s)
    }
}

/// Operations on resources that an action takes.
fn steps(action: Action) -> u64 {
    match action {
        Action::Create | Action::Update | Action::Delete => 1,
        Action::Replace => 2,
        Action::Read | Action::NoOp | Action::Other => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: i64, kind: EventKind) -> TfEvent {
        TfEvent { at: jiff::Timestamp::from_second(second).ok(), kind }
    }

    #[test]
    fn counts_and_times_come_from_events_alone() {
        let a = || "a".to_owned();
        let error = Diagnostic {
            severity: Severity::Error,
            summary: "no".into(),
            detail: String::new(),
            address: None,
        };
        let warning = Diagnostic { severity: Severity::Warning, ..error.clone() };
        let progress = Progress::of(&[
            event(10, EventKind::Version { version: "1".into() }),
            event(11, EventKind::PlannedChange { address: a(), action: Action::Create }),
            event(11, EventKind::PlannedChange { address: a(), action: Action::Replace }),
            event(11, EventKind::PlannedChange { address: a(), action: Action::NoOp }),
            event(12, EventKind::ApplyStart { address: a(), action: Action::Create }),
            event(12, EventKind::ApplyStart { address: a(), action: Action::Delete }),
            event(12, EventKind::ApplyStart { address: a(), action: Action::Read }),
            event(
                13,
                EventKind::ApplyComplete { address: a(), action: Action::Delete, id: None, elapsed_s: 1.0 },
            ),
            event(14, EventKind::ApplyErrored { address: a(), action: Action::Create, elapsed_s: 2.0 }),
            event(14, EventKind::ApplyStart { address: a(), action: Action::Create }),
            event(14, EventKind::Diagnostic(error.clone())),
            event(14, EventKind::Diagnostic(warning)),
        ]);
        let expected = Progress {
            planned: 3,
            destroyed: 1,
            failed: 1,
            in_flight: 1,
            elapsed_s: 4.0,
            errors: vec![error],
            first: jiff::Timestamp::from_second(10).ok(),
            ..Progress::default()
        };
        assert_eq!(progress, expected);
        assert_eq!(progress.to_string(), "1 of 3 resources, 1 failed, 4 s");
    }
}
