//! The right name for a wrong one.

/// Names that people know from elsewhere, which no edit distance would find.
const SYNONYMS: [(&str, &str); 9] = [
    ("aarch64", "arm64"),
    ("arm", "arm64"),
    ("amd64", "x86_64"),
    ("x64", "x86_64"),
    ("x86-64", "x86_64"),
    ("cpus", "vcpu"),
    ("architecture", "arch"),
    ("timeout", "timeout_minutes"),
    ("ttl", "ttl_minutes"),
];

/// The candidate nearest to `name`, when one is near enough to be meant.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    let wanted = name.to_lowercase();
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let synonym = SYNONYMS.iter().find(|(from, to)| *from == wanted && candidates.contains(to));
    if let Some((_, to)) = synonym {
        return Some((*to).to_owned());
    }
    // One letter for another is another name when there is but one.
    let length = wanted.chars().count();
    let allowed = (length / 3).clamp(1, 4).min(length.saturating_sub(1));
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed || is_prefix(&wanted, candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

fn is_prefix(wanted: &str, candidate: &str) -> bool {
    wanted.len() >= 3 && (candidate.starts_with(wanted) || wanted.starts_with(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_slips_find_the_name_and_strangers_find_nothing() {
        let names = ["ruby_version", "runs_per_instance_type", "limits"];
        assert_eq!(nearest("runs_per_instance_typ", names).as_deref(), Some("runs_per_instance_type"));
        assert_eq!(nearest("Limits", names).as_deref(), Some("limits"));
        assert_eq!(nearest("limtis", names).as_deref(), Some("limits"));
        assert_eq!(nearest("bananas", names), None);
    }

    #[test]
    fn an_architecture_by_another_name_is_not_taken_for_the_other_one() {
        assert_eq!(nearest("amd64", ["arm64", "x86_64"]).as_deref(), Some("x86_64"));
        assert_eq!(nearest("aarch64", ["arm64", "x86_64"]).as_deref(), Some("arm64"));
    }
}
