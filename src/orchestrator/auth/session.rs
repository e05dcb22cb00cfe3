//! Dashboard sessions: a random token in a cookie stands for the admin key for some hours, or, where the
//! dashboard was opened on this machine without a key, for looking only.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::run_key::push_hex;

const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// People, not programs, log in.
const MAX_SESSIONS: usize = 1000;

/// What a browser is given on login.
#[derive(Debug, Clone)]
pub struct Session {
    pub token: String,
    /// Must come back with every POST, so that no other site's page can make one.
    pub csrf: String,
    pub role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Has shown the admin key.
    Admin,
    /// May read.
    Viewer,
}

/// Open sessions by the digest of their token; they end with the process.
#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<[u8; 32], Open>>,
}

struct Open {
    csrf: String,
    role: Role,
    until: Instant,
}

impl Sessions {
    /// Opens a session. Where there are too many, the one that would end first makes room.
    pub fn start(&self, role: Role, now: Instant) -> Session {
        let session = Session { token: random_text(), csrf: random_text(), role };
        let mut open = self.open.lock().expect("no holder of this lock panics");
        open.retain(|_, session| session.until > now);
        if open.len() >= MAX_SESSIONS {
            let viewers_first = |open: &Open| (open.role == Role::Admin, open.until);
            let oldest = open.iter().min_by_key(|(_, open)| viewers_first(open)).map(|(token, _)| *token);
            oldest.and_then(|token| open.remove(&token));
        }
        let entry = Open { csrf: session.csrf.clone(), role, until: now + LIFETIME };
        open.insert(digest(&session.token), entry);
        session
    }

    /// The open session of a token.
    pub fn find(&self, token: &str, now: Instant) -> Option<Session> {
        let open = self.open.lock().expect("no holder of this lock panics");
        let found = open.get(&digest(token)).filter(|session| session.until > now)?;
        Some(Session { token: token.to_owned(), csrf: found.csrf.clone(), role: found.role })
    }

    pub fn end(&self, token: &str) {
        self.open.lock().expect("no holder of this lock panics").remove(&digest(token));
    }

    /// After a change of keys.
    pub fn end_all(&self) {
        self.open.lock().expect("no holder of this lock panics").clear();
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn random_text() -> String {
    let random: [u8; 32] = rand::random();
    let mut text = String::with_capacity(64);
    push_hex(&mut text, &random);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lasts_until_it_is_ended_or_expires() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let session = sessions.start(Role::Admin, now);
        assert_eq!(sessions.find(&session.token, now).unwrap().csrf, session.csrf);
        assert!(sessions.find(&session.token, now + LIFETIME).is_none());
        assert!(sessions.find("other", now).is_none());
        sessions.end(&session.token);
        assert!(sessions.find(&session.token, now).is_none());
    }
}
