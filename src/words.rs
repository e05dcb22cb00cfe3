//! Numbers and their nouns in sentences for people.

/// `1 task`, `2 tasks`: for nouns that take an `s`.
pub fn count(n: impl TryInto<u64>, noun: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_else_is_plural() {
        let shown = [0_u32, 1, 2].map(|n| count(n, "task runner"));
        assert_eq!(shown, ["0 task runners", "1 task runner", "2 task runners"]);
    }
}
