//! What texts are on their way to the orchestrator: it refuses some characters, and more than so many of them.

/// Failure messages are cut to what the orchestrator accepts, characters.
const MOST_FAILURE: usize = 9_000;
/// The same for what a heartbeat says.
const MOST_PROGRESS: usize = 1_000;

pub(super) fn failure(text: &str) -> String {
    sendable(text, MOST_FAILURE)
}

pub(super) fn progress(text: &str) -> String {
    sendable(text, MOST_PROGRESS)
}

/// Cut, and without the control characters that names in a workload's output may hold: the orchestrator refuses a
/// NUL, and with it the reason would be lost.
fn sendable(text: &str, most: usize) -> String {
    let plain = |c: char| if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER };
    text.chars().take(most).map(plain).collect()
}

/// Lines and columns stay.
fn is_plain(c: char) -> bool {
    !c.is_control() || matches!(c, '\n' | '\r' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced_and_lines_stay() {
        assert_eq!(failure("a\0b\u{1b}[2J\u{85}\r\n\tä"), "a\u{fffd}b\u{fffd}[2J\u{fffd}\r\n\tä");
        assert_eq!(progress("\0"), "\u{fffd}");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(failure(&"ä".repeat(MOST_FAILURE + 1)), "ä".repeat(MOST_FAILURE));
        assert_eq!(progress(&"ä".repeat(MOST_PROGRESS + 1)), "ä".repeat(MOST_PROGRESS));
    }
}
