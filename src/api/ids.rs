//! Identifiers. Each is checked where it enters the program, so that the rest can rely on its form. Copies share
//! their text: every request carries some.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// Name of one run: `YYYYMMDD-HHMMSS-xxxx` when `bench` makes it; any text of 1 to 40 characters from
/// `[a-z0-9-]` that neither starts nor ends with a dash when the user gives it. Forty characters leave room
/// for prefixes within the 63 that DNS labels, and so most clouds' names, allow (RFC 1035, 2.3.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", examples("20261120-101500-k3v9"))]
pub struct RunId(Arc<str>);

/// Short name of an instance type in results: `[a-z0-9-]{1,32}`, unique in a config.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9-]{1,32}$", examples("c7g"))]
pub struct Alias(Arc<str>);

/// Number of a task, unique in one orchestrator's store.
pub type TaskId = i64;

/// Why a text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {wanted}")]
pub struct InvalidId {
    pub value: String,
    pub wanted: &'static str,
}

impl RunId {
    pub const WANTED: &'static str =
        "a run id: 1 to 40 characters from a-z, 0-9 and `-`, with no dash at either end";

    /// Makes `YYYYMMDD-HHMMSS-xxxx` from a time in UTC and four characters from `random`.
    pub fn make(now: jiff::Timestamp, random: u32) -> RunId {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let suffix: String = (0..4).map(|i| ALPHABET[(random >> (5 * i)) as usize & 31] as char).collect();
        RunId(format!("{}-{suffix}", now.strftime("%Y%m%d-%H%M%S")).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Alias {
    pub const WANTED: &'static str = "an alias: 1 to 32 characters from a-z, 0-9 and `-`";

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

impl TryFrom<String> for RunId {
    type Error = InvalidId;
    fn try_from(value: String) -> Result<Self, InvalidId> {
        let fits = (1..=40).contains(&value.len())
            && value.chars().all(is_name_character)
            && !value.starts_with('-')
            && !value.ends_with('-');
        if fits { Ok(RunId(value.into())) } else { Err(InvalidId { value, wanted: Self::WANTED }) }
    }
}

impl TryFrom<String> for Alias {
    type Error = InvalidId;
    fn try_from(value: String) -> Result<Self, InvalidId> {
        if (1..=32).contains(&value.len()) && value.chars().all(is_name_character) {
            Ok(Alias(value.into()))
        } else {
            Err(InvalidId { value, wanted: Self::WANTED })
        }
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_id!(RunId);
text_id!(Alias);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_run_id_has_the_documented_form_and_is_valid() {
        let id = RunId::make("2026-11-20T10:15:00Z".parse().unwrap(), 0x1234_5678);
        assert!(id.as_str().starts_with("20261120-101500-"), "{id}");
        assert_eq!(id.as_str().len(), 20);
        assert_eq!(id.as_str().parse::<RunId>().unwrap(), id);
    }

    #[test]
    fn run_ids_that_would_break_names_or_paths_are_refused() {
        for bad in ["", "-a", "a-", "A", "a/b", "..", "a b", &"a".repeat(41)] {
            assert!(bad.parse::<RunId>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn aliases_keep_to_their_alphabet_and_length() {
        assert!("c7g-eu".parse::<Alias>().is_ok());
        for bad in ["", "C7g", "a.b", "ä", &"a".repeat(33)] {
            assert!(bad.parse::<Alias>().is_err(), "{bad:?} was accepted");
        }
    }
}
