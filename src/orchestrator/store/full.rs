//! Tells a full disk from other failures: somebody can free some space, and the same request works.

use std::error::Error;
use std::io;

use rusqlite::ErrorCode;
use tokio_postgres::error::SqlState;

/// Whether there is no room left, by whatever database or file says so.
pub fn is_full(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        }
        if let Some(error) = error.downcast_ref::<rusqlite::Error>() {
            return error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        }
        let postgres = error.downcast_ref::<tokio_postgres::Error>();
        postgres.and_then(tokio_postgres::Error::code) == Some(&SqlState::DISK_FULL)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::store::StoreError;

    #[test]
    fn a_full_disk_is_found_below_what_was_made_of_it() {
        let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        let error = StoreError::failed(rusqlite::Error::SqliteFailure(full, None));
        assert!(is_full(&error));
        assert!(is_full(&StoreError::failed(io::Error::from(io::ErrorKind::StorageFull))));
    }

    #[test]
    fn other_failures_are_not_taken_for_it() {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        assert!(!is_full(&StoreError::failed(rusqlite::Error::SqliteFailure(busy, None))));
        assert!(!is_full(&StoreError::failed(io::Error::from(io::ErrorKind::NotFound))));
    }
}
