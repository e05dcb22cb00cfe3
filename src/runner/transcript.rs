//! `output.txt` of a task: what its processes wrote, one section an execution, bounded in all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::capture::Capture;
use super::execute::Finished;
use crate::api::{Execution, Phase};

/// All executions of a task together, bytes; later ones leave their headers only.
const MOST_BYTES: u64 = 64 << 20;

pub struct Transcript {
    file: io::BufWriter<File>,
    written: u64,
}

impl Transcript {
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> io::Result<Transcript> {
        let file = fs_err::File::create(path)?.into_parts().0;
        Ok(Transcript { file: io::BufWriter::new(file), written: 0 })
    }

    /// # Errors
    /// When the disk refuses.
    pub fn add(&mut self, command: &[String], finished: &Finished) -> io::Result<()> {
        self.write(&header(command, &finished.execution))?;
        if let Some(error) = &finished.spawn_error {
            self.write(&format!("[bench: could not be started: {error}]\n"))?;
        }
        self.stream("stdout", &finished.stdout)?;
        self.stream("stderr", &finished.stderr)
    }

    /// A sentence of the runner's own.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        self.write(&format!("[bench: {text}]\n"))
    }

    /// # Errors
    /// When the disk refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn stream(&mut self, name: &str, capture: &Capture) -> io::Result<()> {
        let figures = capture.figures();
        if figures.total_bytes == 0 {
            return Ok(());
        }
        self.write(&format!("--- {name}, {} bytes\n", figures.total_bytes))?;
        if self.written + figures.kept_bytes > MOST_BYTES {
            return self.note("left out: the task's output is full");
        }
        let mut text = capture.text();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.write(&text)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.written += text.len() as u64;
        self.file.write_all(text.as_bytes())
    }
}

fn header(command: &[String], execution: &Execution) -> String {
    let phase = match execution.phase {
        Phase::Setup => "setup",
        Phase::Warmup => "warmup",
        Phase::Measure => "measure",
    };
    let end = match (execution.exit_status, execution.signal) {
        _ if execution.timed_out => "timed out".to_owned(),
        (Some(status), _) => format!("exit {status}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "not started".to_owned(),
    };
    let wall = std::time::Duration::from_nanos(execution.wall_ns);
    format!("=== {phase} {}: {} · {end} · {wall:?}\n", execution.index, command.join(" "))
}
