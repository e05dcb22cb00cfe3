//! Moves the deadline of a run's hosts, whether their master lives or not. A host learns of it when its own
//! deadline has come, so nothing disturbs what it measures until then.

use super::connection::{ConnectionError, client_of};
use super::home::RunFolder;
use super::record::{RecordError, RunRecord};
use crate::api::Deadline;
use crate::client::{ClientError, Secret};
use crate::orchestrator::auth::run_key_expiry;

#[derive(Debug, thiserror::Error)]
pub enum ExtendError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the run has no hosts with a deadline")]
    NoHosts,
    #[error("the run's orchestrator ended with its master, and its hosts cannot ask it")]
    NoOrchestrator,
    #[error("could not reach the run's orchestrator")]
    Connection(#[from] ConnectionError),
    #[error("the run's orchestrator did not take the deadline")]
    Client(#[from] ClientError),
    #[error("could not read the run's key")]
    Key(#[source] std::io::Error),
    #[error("the hosts of the run had to end at {}", shown(*.0))]
    TooLate(i64),
    #[error(
        "the hosts of the run end at {}, and {} is not later; `bench stop` ends a run early",
        shown(*.current), shown(*.asked)
    )]
    NotLater { current: i64, asked: i64 },
    #[error("the hosts' key is good until {}, and so are they; they cannot stay until {}", shown(*.key), shown(*.asked))]
    KeyEnds { key: i64, asked: i64 },
}

/// Lets the hosts live until `asked` (seconds since 1970); `now` is the present.
pub async fn extend(folder: &RunFolder, asked: i64, now: i64) -> Result<(), ExtendError> {
    let record = RunRecord::load(&folder.record())?;
    let made_until = record.expires_at.ok_or(ExtendError::NoHosts)?;
    let orchestrator = record.orchestrator.as_ref().ok_or(ExtendError::NoHosts)?;
    if orchestrator.inside_master && !folder.has_master() {
        return Err(ExtendError::NoOrchestrator);
    }
    let client = client_of(folder, orchestrator)?;
    let moved = client.move_deadline(&folder.run_id, Deadline::default()).await?.expires_at;
    let key = fs_err::read_to_string(folder.run_key()).map_err(ExtendError::Key)?;
    let key = run_key_expiry(&Secret::new(key.trim())).unwrap_or(i64::MAX);
    check(asked, now, moved.unwrap_or(made_until), key)?;
    client.move_deadline(&folder.run_id, Deadline { expires_at: Some(asked) }).await?;
    Ok(())
}

/// Whether hosts that end at `current`, with a key good until `key`, can live until `asked`.
fn check(asked: i64, now: i64, current: i64, key: i64) -> Result<(), ExtendError> {
    if current <= now {
        return Err(ExtendError::TooLate(current));
    }
    if asked <= current {
        return Err(ExtendError::NotLater { current, asked });
    }
    if asked > key {
        return Err(ExtendError::KeyEnds { key, asked });
    }
    Ok(())
}

/// A time as people read it.
pub fn shown(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or(seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_moves_to_what_hosts_can_still_learn_and_use() {
        assert!(check(200, 50, 100, 300).is_ok());
        assert!(check(300, 50, 100, 300).is_ok());
        assert!(matches!(check(200, 100, 100, 300), Err(ExtendError::TooLate(100))));
        assert!(matches!(check(100, 50, 100, 300), Err(ExtendError::NotLater { current: 100, asked: 100 })));
        let ends = check(301, 50, 100, 300).unwrap_err();
        assert!(ends.to_string().contains("1970-01-01T00:05:00Z"), "{ends}");
    }
}
