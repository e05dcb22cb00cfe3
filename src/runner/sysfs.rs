//! Reading the small files of `/sys` and `/proc`. A file that is missing or strange is an absent value: no
//! machine has all of them.

use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

/// `/proc/stat` of a machine with many CPUs is longer, hardly any other file is.
const USUAL_BYTES: usize = 8 << 10;

/// The file's text without surrounding white space; absent when it cannot be read or is empty.
pub fn text(path: &Path) -> Option<String> {
    // These files say that they are empty, and are then read in small pieces unless there is room for all.
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    std::fs::File::open(path).ok()?.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The file as one number.
pub fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

/// Names in a folder, sorted; none when it cannot be read.
pub fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
