//! The word for each value of an enum, the same in the database, in reasons and on the wire.

use crate::api::{AttemptOutcome, FailKind, HostStage, RunStatus, TaskState};

/// An enum without data whose values have fixed names.
pub trait Word: Copy + Sized + 'static {
    const ALL: &'static [(Self, &'static str)];

    fn word(self) -> &'static str;

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(value, _)| *value)
    }
}

macro_rules! words {
    ($type:ident { $($value:ident = $word:literal),+ $(,)? }) => {
        impl Word for $type {
            const ALL: &'static [(Self, &'static str)] = &[$(($type::$value, $word)),+];

            fn word(self) -> &'static str {
                match self { $($type::$value => $word),+ }
            }
        }
    };
}

words!(TaskState {
    Pending = "pending",
    Claimed = "claimed",
    Running = "running",
    Completed = "completed",
    Failed = "failed",
    Cancelled = "cancelled",
});
words!(AttemptOutcome {
    Active = "active",
    Completed = "completed",
    Failed = "failed",
    Lost = "lost",
    Released = "released",
    Cancelled = "cancelled",
});
words!(RunStatus {
    Running = "running",
    Completed = "completed",
    Failed = "failed",
    Cancelled = "cancelled",
});
words!(HostStage {
    Boot = "boot",
    Runner = "runner",
    Joined = "joined",
    Ready = "ready",
    SpotNotice = "spot_notice",
    Leaving = "leaving",
    Failed = "failed",
});
words!(FailKind {
    Exit = "exit",
    Timeout = "timeout",
    Setup = "setup",
    Spawn = "spawn",
    Output = "output",
    Environment = "environment",
    Runner = "runner",
});

#[cfg(test)]
mod tests {
    use super::*;

    fn matches_the_wire<T: Word + serde::Serialize + PartialEq + std::fmt::Debug>() {
        for (value, word) in T::ALL {
            assert_eq!(serde_json::to_value(value).unwrap(), serde_json::json!(word));
            assert_eq!(T::from_word(word), Some(*value));
        }
    }

    #[test]
    fn words_are_those_of_the_wire() {
        matches_the_wire::<TaskState>();
        matches_the_wire::<AttemptOutcome>();
        matches_the_wire::<RunStatus>();
        matches_the_wire::<HostStage>();
        matches_the_wire::<FailKind>();
    }
}
