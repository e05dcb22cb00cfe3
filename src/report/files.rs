//! The three files of a run's results, written so that a reader never sees half of one, and read back.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Report, SCHEMA_VERSION, csv, html};

pub const JSON: &str = "results.json";
pub const CSV: &str = "results.csv";
pub const HTML: &str = "report.html";

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("could not write {path}; check that there is space left and that the folder may be written to")]
    Write { path: PathBuf, source: io::Error },
    #[error("could not read a run's results; `results.json` is written when a run ends")]
    Read(#[source] io::Error),
    #[error("{path} holds no results that can be understood; it is left as it is")]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("{path} has layout version {found}, this bench reads up to {SCHEMA_VERSION}: use a newer bench")]
    TooNew { path: PathBuf, found: u64 },
}

/// Writes `results.json`, `results.csv` and `report.html` into `dir`, which is made where it is missing. Each
/// replaces its predecessor as a whole, or not at all.
pub fn write_all(dir: &Path, report: &Report) -> Result<(), ReportError> {
    fs_err::create_dir_all(dir).map_err(|source| ReportError::Write { path: dir.to_owned(), source })?;
    replace(&dir.join(JSON), |out| {
        serde_json::to_writer_pretty(&mut *out, report)?;
        out.write_all(b"\n")
    })?;
    replace(&dir.join(CSV), |out| csv::write(&report.run, &report.tasks, out))?;
    replace(&dir.join(HTML), |out| out.write_all(html::html(report).as_bytes()))
}

/// A file beside it, synced, then renamed onto it.
fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), ReportError> {
    let attempt = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = builder().prefix(".results-").tempfile_in(folder)?;
        let mut out = BufWriter::new(file.as_file_mut());
        write(&mut out)?;
        out.flush()?;
        drop(out);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    attempt().map_err(|source| ReportError::Write { path: path.to_owned(), source })
}

/// Results may be read by others, as the user's umask allows; a temporary file would be private.
fn builder() -> tempfile::Builder<'static, 'static> {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "permissions exist on Unix only"))]
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// The report as `write_all` wrote it, from `results.json` alone.
pub fn load(dir: &Path) -> Result<Report, ReportError> {
    let path = dir.join(JSON);
    let text = fs_err::read(&path).map_err(ReportError::Read)?;
    let malformed = |source| ReportError::Malformed { path: path.clone(), source };
    // The version first: a newer layout need not fit today's types.
    let Version { schema } = serde_json::from_slice(&text).map_err(malformed)?;
    if schema > u64::from(SCHEMA_VERSION) {
        return Err(ReportError::TooNew { path, found: schema });
    }
    serde_json::from_slice(&text).map_err(malformed)
}

#[derive(serde::Deserialize)]
struct Version {
    schema: u64,
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn what_is_written_is_read_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let samples = [0.1 + 0.2, 1.0 / 3.0, 5e-324, f64::MAX, -0.0, 9_007_199_254_740_993.0];
        let report = Report::new(sample::facts(&["a"]), vec![sample::task("a", 1, &samples)]);
        write_all(dir.path(), &report).unwrap();
        let back = load(dir.path()).unwrap();
        assert_eq!(back, report);
        let read = &back.tasks[0].output.as_ref().unwrap().benchmarks[0].samples;
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(read), bits(&samples));
    }

    #[test]
    fn a_whole_report_survives_and_leaves_three_files() {
        let dir = tempfile::tempdir().unwrap();
        let report = sample::report();
        write_all(dir.path(), &report).unwrap();
        write_all(dir.path(), &report).unwrap();
        assert_eq!(load(dir.path()).unwrap(), report);
        let mut names: Vec<_> =
            fs_err::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [HTML, CSV, JSON]);
    }

    #[test]
    fn unusable_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(dir.path()), Err(ReportError::Read(_))));
        fs_err::write(dir.path().join(JSON), "{").unwrap();
        assert!(matches!(load(dir.path()), Err(ReportError::Malformed { .. })));
        fs_err::write(dir.path().join(JSON), r#"{"schema": 99, "other": 1}"#).unwrap();
        assert!(matches!(load(dir.path()), Err(ReportError::TooNew { found: 99, .. })));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs_err::write(&file, "").unwrap();
        let error = write_all(&file.join("results"), &sample::report()).unwrap_err();
        assert!(error.to_string().contains("results"), "{error}");
    }
}
