//! One mistake in a file, and all of them together.

use std::fmt;
use std::io;

use serde::Serialize;

use super::{Document, Node, Path};

/// After this many mistakes a file is not worth reading on; the rest is counted only.
pub const MAX_MISTAKES: usize = 1_000;

/// What is wrong at one place of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    pub file: String,
    /// From 1; absent where the file could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// From 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// `$` for the whole file.
    pub path: String,
    /// What stands there, shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    pub expected: String,
    /// The nearest right name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// The whole sentence.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        if self.path != "$" {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Every mistake of one file. Its text is one line per mistake.
#[derive(Debug)]
pub struct InvalidDocument {
    pub mistakes: Vec<Mistake>,
    /// Mistakes beyond [`MAX_MISTAKES`].
    pub omitted: usize,
    /// Why the file could not be read, where that is the mistake.
    pub source: Option<io::Error>,
}

impl std::error::Error for InvalidDocument {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

impl fmt::Display for InvalidDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        if self.omitted > 0 {
            write!(f, "\n… and {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl InvalidDocument {
    /// The whole file is the mistake: it cannot be read or understood.
    pub(super) fn whole(file: &str, expected: &str, message: String) -> InvalidDocument {
        let mistake = Mistake {
            file: file.to_owned(),
            line: None,
            column: None,
            path: "$".to_owned(),
            value: None,
            expected: expected.to_owned(),
            nearest: None,
            message,
        };
        InvalidDocument { mistakes: vec![mistake], omitted: 0, source: None }
    }

    pub(super) fn at(mut self, line: usize, column: usize) -> InvalidDocument {
        for mistake in &mut self.mistakes {
            mistake.line = Some(line);
            mistake.column = Some(column);
        }
        self
    }
}

/// Where a mistake is: a path, and the bytes it stands on.
#[derive(Debug, Clone)]
pub struct Place {
    pub path: Path,
    pub offset: usize,
    /// The text found there, shortened.
    pub found: Option<String>,
}

impl Place {
    /// A value.
    pub fn of(path: Path, node: &Node) -> Place {
        Place { path, offset: node.start, found: Some(node.shortened()) }
    }
}

/// Collects the mistakes of one document; those that were found while it was parsed are in it from the start.
#[derive(Debug)]
pub struct Mistakes<'d> {
    document: &'d Document,
    found: Vec<(usize, Mistake)>,
    omitted: usize,
}

impl<'d> Mistakes<'d> {
    pub fn new(document: &'d Document) -> Mistakes<'d> {
        Mistakes { document, found: document.slips().to_vec(), omitted: 0 }
    }

    /// `found X, expected Y`.
    pub fn wrong_value(&mut self, place: Place, expected: &str, nearest: Option<String>) {
        let found = place.found.clone().unwrap_or_else(|| "nothing".to_owned());
        let mut message = format!("found {found}, expected {expected}");
        if let Some(nearest) = &nearest {
            message.push_str(&format!("; did you mean `{nearest}`?"));
        }
        self.add(place, expected, nearest, message);
    }

    /// A mistake that needs a sentence of its own.
    pub fn add(&mut self, place: Place, expected: &str, nearest: Option<String>, message: String) {
        // A number that does not fit was named already; nothing true can be said about what stands for it.
        if self.document.slips().iter().any(|(offset, _)| *offset == place.offset) {
            return;
        }
        if self.is_full() {
            return self.omit();
        }
        let (line, column) = self.document.line_and_column(place.offset);
        let mistake = Mistake {
            file: self.document.file().to_owned(),
            line: Some(line),
            column: Some(column),
            path: place.path.to_string(),
            value: place.found,
            expected: expected.to_owned(),
            nearest,
            message,
        };
        self.found.push((place.offset, mistake));
    }

    /// No more sentences are kept; making them would be in vain.
    pub fn is_full(&self) -> bool {
        self.found.len() >= MAX_MISTAKES
    }

    /// Counts a mistake without a sentence.
    pub fn omit(&mut self) {
        self.omitted += 1;
    }

    pub(super) fn into_found(self) -> Vec<(usize, Mistake)> {
        self.found
    }

    /// All mistakes in the order of the file, or nothing.
    pub fn finish(mut self) -> Result<(), InvalidDocument> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|(offset, _)| *offset);
        // Two checks may say the same about one value.
        self.found.dedup();
        let mistakes = self.found.into_iter().map(|(_, mistake)| mistake).collect();
        Err(InvalidDocument { mistakes, omitted: self.omitted, source: None })
    }
}
