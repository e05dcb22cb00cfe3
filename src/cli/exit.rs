//! How commands end: exit codes and failures.

use std::fmt;

/// Exit code of the program; see `bench --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// A task failed or the run was stopped.
    TaskFailed,
    /// Bad usage or config; nothing was created.
    Usage,
    /// Infrastructure or orchestrator failed.
    Infrastructure,
    /// Something that costs money may still run.
    Leftovers,
    /// A bug in `bench`.
    Bug,
    Interrupted,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::TaskFailed => 1,
            Exit::Usage => 2,
            Exit::Infrastructure => 3,
            Exit::Leftovers => 4,
            Exit::Bug => 70,
            Exit::Interrupted => 130,
        }
    }

    /// The one that counts where several apply: leftovers cost money and win.
    pub fn most_important(exits: impl IntoIterator<Item = Exit>) -> Exit {
        const ORDER: [Exit; 7] = [
            Exit::Leftovers,
            Exit::Interrupted,
            Exit::Bug,
            Exit::Infrastructure,
            Exit::Usage,
            Exit::TaskFailed,
            Exit::Done,
        ];
        let rank = |exit: &Exit| ORDER.iter().position(|o| o == exit);
        exits.into_iter().min_by_key(rank).unwrap_or(Exit::Done)
    }
}

/// A command that did not succeed: what failed (with its causes), what to do next, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub error: anyhow::Error,
    /// Sentences that say what to do next.
    pub hints: Vec<String>,
    /// Machine-readable particulars for `--output json`.
    pub details: Option<serde_json::Value>,
}

impl Failure {
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, error: error.into(), hints: Vec::new(), details: None }
    }

    /// Bad usage or config: exit 2.
    pub fn usage(error: impl Into<anyhow::Error>) -> Failure {
        Failure::new(Exit::Usage, error)
    }

    /// Infrastructure or orchestrator: exit 3.
    pub fn infrastructure(error: impl Into<anyhow::Error>) -> Failure {
        Failure::new(Exit::Infrastructure, error)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    #[must_use]
    pub fn details(mut self, details: serde_json::Value) -> Failure {
        self.details = Some(details);
        self
    }
}

impl fmt::Display for Failure {
    /// The form in which people see it: `error:`, then `  cause:` lines, then `hint:` lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        for cause in self.error.chain().skip(1) {
            write!(f, "\n  cause: {cause}")?;
        }
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_win_then_interruption_then_infrastructure() {
        use Exit::{Done, Infrastructure, Interrupted, Leftovers, TaskFailed};
        assert_eq!(Exit::most_important([Done, TaskFailed, Leftovers, Interrupted]), Leftovers);
        assert_eq!(Exit::most_important([Infrastructure, Interrupted]), Interrupted);
        assert_eq!(Exit::most_important([TaskFailed, Infrastructure]), Infrastructure);
        assert_eq!(Exit::most_important([Done, TaskFailed]), TaskFailed);
        assert_eq!(Exit::most_important([]), Done);
    }

    #[test]
    fn a_failure_reads_from_what_failed_over_why_to_what_to_do() {
        let error = anyhow::anyhow!("quota is 32").context("apply failed");
        let failure = Failure::infrastructure(error).hint("raise the quota");
        assert_eq!(failure.to_string(), "error: apply failed\n  cause: quota is 32\nhint: raise the quota");
    }
}
