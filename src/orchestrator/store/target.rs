//! Which database: `sqlite:PATH` or `postgres://…`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where the store keeps its rows. Neither `Debug` nor `Display` shows a password.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreTarget {
    Sqlite(PathBuf),
    /// A connection string as `libpq` takes it, the URL form.
    Postgres(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a database: expected `sqlite:PATH` or `postgres://USER@HOST/NAME`, found one that starts `{start}`"
)]
pub struct InvalidTarget {
    /// The scheme only: what follows may hold a password.
    start: String,
}

impl FromStr for StoreTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<StoreTarget, InvalidTarget> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.is_empty() {
                return Ok(StoreTarget::Sqlite(path.into()));
            }
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(StoreTarget::Postgres(text.to_owned()));
        }
        let start = text.split(':').next().unwrap_or_default().chars().take(20).collect();
        Err(InvalidTarget { start })
    }
}

impl fmt::Display for StoreTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreTarget::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            StoreTarget::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for StoreTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `user:secret@` becomes `user@`, and parameters, which may hold a password too, are left out.
fn without_password(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return "postgres://".to_owned() };
    match rest.rsplit_once('@') {
        Some((login, place)) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{place}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_are_recognised() {
        assert_eq!("sqlite:a/b.db".parse(), Ok(StoreTarget::Sqlite("a/b.db".into())));
        assert_eq!("sqlite:///var/b.db".parse(), Ok(StoreTarget::Sqlite("/var/b.db".into())));
        assert!(matches!("postgresql://h/d".parse(), Ok(StoreTarget::Postgres(_))));
    }

    #[test]
    fn what_is_no_database_is_refused_without_repeating_secrets() {
        for bad in ["", "sqlite:", "mysql://u:hunter2@h/d", "/a/path"] {
            let error = bad.parse::<StoreTarget>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        for url in
            ["postgres://u:hunter2@h:5/d", "postgres://u:a@hunter2@h/d", "postgres://h/d?password=hunter2"]
        {
            let target: StoreTarget = url.parse().unwrap();
            assert!(!format!("{target} {target:?}").contains("hunter2"), "{target}");
        }
    }
}
