//! `output.txt` of a task: what its processes wrote, one section an execution, bounded in all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::capture::Capture;
use super::execute::Finished;
use crate::api::output::MOST_TEXT_BYTES;
use crate::api::{Execution, Phase};

/// Kept free for the runner's own last sentences, bytes.
const RESERVE: u64 = 64 << 10;
/// Characters of a command that its header shows.
const SHOWN_COMMAND: usize = 200;

pub struct Transcript {
    file: io::BufWriter<File>,
    written: u64,
    most: u64,
    /// Something was left out, and it was said.
    full: bool,
}

impl Transcript {
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> io::Result<Transcript> {
        let file = fs_err::File::create(path)?.into_parts().0;
        Ok(Transcript {
            file: io::BufWriter::new(file),
            written: 0,
            most: MOST_TEXT_BYTES - RESERVE,
            full: false,
        })
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

    /// A sentence of the runner's own; it is written however full the file is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        let line = format!("[bench: {text}]\n");
        let room = (self.most + RESERVE).saturating_sub(self.written);
        if line.len() as u64 > room {
            return Ok(());
        }
        self.put(&line)
    }

    /// # Errors
    /// When the disk refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn stream(&mut self, name: &str, capture: &Capture) -> io::Result<()> {
        let figures = capture.figures();
        if figures.total_bytes == 0 {
            return Ok(());
        }
        let mut text = format!("--- {name}, {} bytes\n{}", figures.total_bytes, capture.text());
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.write(&text)
    }

    /// Text of the workload, or nothing more of it once there is no room for all of it.
    fn write(&mut self, text: &str) -> io::Result<()> {
        if self.full {
            return Ok(());
        }
        if self.written + text.len() as u64 > self.most {
            self.full = true;
            return self.note("the rest is left out: the task's output is full");
        }
        self.put(text)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
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
    let command: String = command.join(" ").chars().take(SHOWN_COMMAND).collect();
    format!("=== {phase} {}: {command} · {end} · {wall:?}\n", execution.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_never_grows_beyond_its_bound_and_says_so_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output.txt");
        let mut transcript = Transcript::create(&path).unwrap();
        transcript.most = 1000;
        for _ in 0..100 {
            transcript.write(&"y\n".repeat(20)).unwrap();
        }
        transcript.note("the reason of the failure").unwrap();
        for _ in 0..100 {
            transcript.note(&"z".repeat(1000)).unwrap();
        }
        transcript.flush().unwrap();
        let text = fs_err::read_to_string(&path).unwrap();
        assert!(text.len() as u64 <= 1000 + RESERVE, "{} bytes", text.len());
        assert_eq!(text.matches("the task's output is full").count(), 1);
        assert!(text.contains("[bench: the reason of the failure]"));
    }
}
