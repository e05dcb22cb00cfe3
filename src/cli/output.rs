//! stdout: every command shows its answer as a [`View`], which has both a human and a JSON form.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::Failure;

/// Whether an answer did not reach stdout whole; see [`is_cut`].
static CUT: AtomicBool = AtomicBool::new(false);

/// Whether an answer of this process was lost on its way out, e.g. on a full disk. A reader that went away
/// does not count.
pub fn is_cut() -> bool {
    CUT.load(Ordering::Relaxed)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Human,
    Json,
}

/// What a command shows. The JSON form is its `Serialize`; the human form is written here, so neither can
/// be forgotten.
pub trait View: Serialize {
    fn human(&self, out: &mut dyn Write) -> io::Result<()>;
}

#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub format: Format,
}

impl Output {
    /// Prints a command's one answer on stdout. A reader that went away is not an error.
    pub fn show(&self, view: &impl View) {
        let stdout = io::stdout();
        let mut out = io::BufWriter::new(stdout.lock());
        let written = match self.format {
            Format::Human => view.human(&mut out),
            Format::Json => serde_json::to_writer_pretty(&mut out, view)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n")),
        };
        if let Err(error) = written.and_then(|()| out.flush())
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            CUT.store(true, Ordering::Relaxed);
            self.note(&format!("error: the answer could not be written to stdout: {error}"));
        }
    }

    /// A line for people on stderr: progress, notes, hints.
    #[expect(clippy::print_stderr, reason = "the one place that writes notes for people")]
    pub fn note(&self, line: &str) {
        eprintln!("{line}");
    }

    /// Prints why a command failed: text on stderr for people, one JSON value on stdout for programs.
    pub fn fail(&self, failure: &Failure) {
        match self.format {
            Format::Human => self.note(&failure.to_string()),
            Format::Json => self.show(&FailureView::from(failure)),
        }
    }
}

/// Columns of the terminal that stdout goes to; 100 elsewhere.
pub fn width() -> u16 {
    terminal_size::terminal_size().map_or(100, |(terminal_size::Width(columns), _)| columns)
}

#[derive(Serialize)]
struct FailureView {
    error: FailureBody,
}

#[derive(Serialize)]
struct FailureBody {
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<serde_json::Value>,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> Self {
        let causes = failure.error.chain().skip(1).map(ToString::to_string).collect();
        FailureView {
            error: FailureBody {
                message: failure.error.to_string(),
                causes,
                hints: failure.hints.clone(),
                exit_code: failure.exit.code(),
                details: failure.details.clone(),
            },
        }
    }
}

impl View for FailureView {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "error: {}", self.error.message)
    }
}
