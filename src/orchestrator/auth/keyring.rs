//! The admin keys: one active, and retired ones that still verify the run keys made from them.
//!
//! They live in `keys.json` (mode 0600) in the orchestrator's home, or one comes from `BENCH_API_KEY`.

use std::collections::HashMap;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::SystemTime;

use base64::Engine as _;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::run_key::{Signer, key_id, parse, signer, verify};
use super::{BadKey, RunClaims};
use crate::client::Secret;

/// Shorter keys from the environment are refused: they can be guessed.
const MIN_KEY_LENGTH: usize = 16;
/// Retired keys verify nothing after this, and are forgotten by the next that is retired.
const RETIRED_DAYS: i64 = 30;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("could not read or write the key file")]
    File(#[from] std::io::Error),
    #[error("the key file {} is not readable as one; restore it, or move it away to have new keys made", .path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the key file {} holds no active key", .0.display())]
    NoActiveKey(PathBuf),
    #[error("the admin key is too short: {MIN_KEY_LENGTH} characters or more are needed")]
    TooShort,
}

/// `keys.json`.
#[derive(Serialize, Deserialize)]
pub struct KeyringFile {
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    key: String,
    created_at: jiff::Timestamp,
    retired_at: Option<jiff::Timestamp>,
}

/// What `bench orchestrator key show` tells about a key.
#[derive(Debug, Serialize)]
pub struct KeyInfo {
    pub id: String,
    pub created_at: jiff::Timestamp,
    pub retired_at: Option<jiff::Timestamp>,
}

impl KeyringFile {
    pub fn path(home: &Path) -> PathBuf {
        home.join("keys.json")
    }

    /// Reads the file, or makes one with a new key. One that others can read is taken from them.
    pub fn open(home: &Path, now: jiff::Timestamp) -> Result<KeyringFile, KeyError> {
        let path = Self::path(home);
        let text = match fs_err::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = KeyringFile { keys: vec![StoredKey::make(now)] };
                made.save(home)?;
                return Ok(made);
            }
            Err(error) => return Err(error.into()),
        };
        make_private(&path)?;
        let file: KeyringFile = serde_json::from_slice(&text)
            .map_err(|source| KeyError::Malformed { path: path.clone(), source })?;
        if file.keys.iter().all(|key| key.retired_at.is_some()) {
            return Err(KeyError::NoActiveKey(path));
        }
        Ok(file)
    }

    /// Retires the active key and makes a new one.
    pub fn rotate(&mut self, home: &Path, now: jiff::Timestamp) -> Result<Secret, KeyError> {
        for key in self.keys.iter_mut().filter(|key| key.retired_at.is_none()) {
            key.retired_at = Some(now);
        }
        self.keys.retain(|key| key.until().is_none_or(|until| now.as_second() < until));
        self.keys.push(StoredKey::make(now));
        self.save(home)?;
        Ok(self.active())
    }

    pub fn active(&self) -> Secret {
        let active = self.keys.iter().rfind(|key| key.retired_at.is_none());
        Secret::new(&*active.expect("a key ring always has an active key").key)
    }

    pub fn infos(&self) -> Vec<KeyInfo> {
        let info = |key: &StoredKey| KeyInfo {
            id: key_id(&Secret::new(&*key.key)),
            created_at: key.created_at,
            retired_at: key.retired_at,
        };
        self.keys.iter().map(info).collect()
    }

    fn save(&self, home: &Path) -> Result<(), KeyError> {
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::from)?;
        write_private(&Self::path(home), &text).map_err(KeyError::File)
    }
}

impl StoredKey {
    fn make(now: jiff::Timestamp) -> StoredKey {
        StoredKey { key: make_admin_key().expose().to_owned(), created_at: now, retired_at: None }
    }

    /// When a retired key stops to verify run keys, epoch seconds.
    fn until(&self) -> Option<i64> {
        self.retired_at.map(|at| at.as_second() + RETIRED_DAYS * 86_400)
    }
}

/// A new admin key: 256 random bits.
pub fn make_admin_key() -> Secret {
    let random: [u8; 32] = rand::random();
    let key = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
    Secret::new(format!("bench_{key}"))
}

/// Takes the key file from other users of this machine. Where that is not possible it is used nevertheless: whoever put it
/// there may have meant it.
fn make_private(path: &Path) -> std::io::Result<()> {
    if fs_err::metadata(path)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let path_shown = path.display();
    match fs_err::set_permissions(path, Permissions::from_mode(0o600)) {
        Ok(()) => tracing::warn!(
            "others of this machine could read {path_shown}, and cannot any more; if somebody may have done so, \
             `bench orchestrator key rotate` makes a new key"
        ),
        Err(error) => {
            tracing::warn!(%error, "others of this machine can read {path_shown}: take it from them (chmod 600)")
        }
    }
    Ok(())
}

/// Writes a file of mode 0600, replaced at once.
pub(in crate::orchestrator) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let temporary = path.with_extension(format!("part-{:08x}", rand::random::<u32>()));
    let mut file = fs_err::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs_err::rename(&temporary, path)
}

/// The keys as the server verifies with them.
pub struct Keyring {
    keys: RwLock<Arc<Keys>>,
    /// Home whose key file is watched, and what was seen there.
    source: Option<(PathBuf, Mutex<Seen>)>,
}

struct Seen {
    /// The file that the keys are of.
    read: Option<FileMark>,
    /// What could not be read, and was told: it is tried again without a word.
    failed: Option<Option<FileMark>>,
}

/// The run key that a connection showed last. Runners show theirs with each request: it is verified with the first.
#[derive(Default)]
pub struct Shown(Mutex<Option<Verified>>);

struct Verified {
    key: Secret,
    claims: RunClaims,
    /// What it was verified with.
    keys: Arc<Keys>,
}

/// Tells a file from the one that takes its place: its number too, since two writes may share a time.
type FileMark = (SystemTime, u64);

struct Keys {
    active: Secret,
    active_digest: [u8; 32],
    verifiers: HashMap<String, Verifier>,
}

struct Verifier {
    signer: Signer,
    /// Epoch seconds; an active key has no end.
    until: Option<i64>,
}

impl Keyring {
    /// One key that somebody else keeps.
    pub fn fixed(admin: Secret) -> Result<Keyring, KeyError> {
        if admin.expose().len() < MIN_KEY_LENGTH {
            return Err(KeyError::TooShort);
        }
        Ok(Keyring { keys: RwLock::new(Arc::new(Keys::new(admin, &[]))), source: None })
    }

    /// The keys in the home's file, made where there is none.
    pub fn open(home: &Path, now: jiff::Timestamp) -> Result<Keyring, KeyError> {
        // Marked before it is read: a change in between is then seen at the next look.
        let before = mark(home);
        let keys = RwLock::new(Arc::new(Keys::of_file(&KeyringFile::open(home, now)?)));
        let seen = Seen { read: before.or_else(|| mark(home)), failed: None };
        Ok(Keyring { keys, source: Some((home.to_owned(), Mutex::new(seen))) })
    }

    /// Reads the file again where it has changed. The flag says so.
    ///
    /// # Errors
    /// Once for each state of the file that cannot be read; the keys stay, and it is tried again at each call.
    pub fn refresh(&self, now: jiff::Timestamp) -> Result<bool, KeyError> {
        let Some((home, seen)) = &self.source else { return Ok(false) };
        let mut seen = seen.lock().expect("no holder of this lock panics");
        let found = mark(home);
        if found == seen.read {
            seen.failed = None;
            return Ok(false);
        }
        let file = match KeyringFile::open(home, now) {
            Ok(file) => file,
            Err(_) if seen.failed == Some(found) => return Ok(false),
            Err(error) => {
                seen.failed = Some(found);
                return Err(error);
            }
        };
        *self.keys.write().expect("no holder of this lock panics") = Arc::new(Keys::of_file(&file));
        *seen = Seen { read: found, failed: None };
        Ok(true)
    }

    pub fn active(&self) -> Secret {
        self.current().active.clone()
    }

    pub fn is_admin(&self, key: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(key).into();
        digest.ct_eq(&self.current().active_digest).into()
    }

    /// Verifies a run key, unless it is the one that the same connection showed before and nothing has changed.
    /// Where its admin key is retired, it expires with that one at the latest.
    pub fn run_claims(&self, key: &str, shown: &Shown, now_s: i64) -> Result<RunClaims, BadKey> {
        let keys = self.current();
        let mut shown = shown.0.lock().expect("no holder of this lock panics");
        if let Some(known) = &*shown
            && bool::from(known.key.expose().as_bytes().ct_eq(key.as_bytes()))
            && Arc::ptr_eq(&known.keys, &keys)
            && now_s < known.claims.expires
        {
            return Ok(known.claims.clone());
        }
        let parts = parse(key).ok_or(BadKey::Wrong)?;
        let verifier = keys.verifiers.get(parts.key_id).ok_or(BadKey::Wrong)?;
        let mut claims = verify(&parts, &verifier.signer, now_s)?;
        if let Some(until) = verifier.until {
            claims.expires = claims.expires.min(until);
        }
        if claims.expires <= now_s {
            return Err(BadKey::Expired);
        }
        *shown = Some(Verified { key: Secret::new(key), claims: claims.clone(), keys });
        Ok(claims)
    }

    fn current(&self) -> Arc<Keys> {
        self.keys.read().expect("no holder of this lock panics").clone()
    }
}

fn mark(home: &Path) -> Option<FileMark> {
    let data = fs_err::metadata(KeyringFile::path(home)).ok()?;
    Some((data.modified().ok()?, data.ino()))
}

impl Keys {
    /// The retired keys with when each stops to verify.
    fn new(active: Secret, retired: &[(Secret, i64)]) -> Keys {
        let verifier = |key: &Secret, until| (key_id(key), Verifier { signer: signer(key), until });
        let retired = retired.iter().map(|(key, until)| verifier(key, Some(*until)));
        let verifiers = retired.chain([verifier(&active, None)]).collect();
        Keys { active_digest: Sha256::digest(active.expose()).into(), active, verifiers }
    }

    fn of_file(file: &KeyringFile) -> Keys {
        let retired = |key: &StoredKey| Some((Secret::new(&*key.key), key.until()?));
        Keys::new(file.active(), &file.keys.iter().filter_map(retired).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::super::run_key;
    use super::*;

    #[test]
    fn a_rotated_key_still_verifies_run_keys_but_is_no_admin_key_any_more() {
        let home = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::now();
        let ring = Keyring::open(home.path(), now).unwrap();
        let old = ring.active();
        let of_old = run_key(&old, &"r".parse().unwrap(), now.as_second() + 60);
        assert!(ring.is_admin(old.expose()));

        let new = KeyringFile::open(home.path(), now).unwrap().rotate(home.path(), now).unwrap();
        assert!(ring.refresh(now).unwrap());
        assert!(!ring.is_admin(old.expose()));
        assert!(ring.is_admin(new.expose()));
        let claims = ring.run_claims(of_old.expose(), &Shown::default(), now.as_second());
        assert_eq!(claims.unwrap().run_id.as_str(), "r");
    }

    #[test]
    fn a_key_file_that_others_can_read_is_taken_from_them() {
        let home = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::now();
        let key = KeyringFile::open(home.path(), now).unwrap().active();
        let path = KeyringFile::path(home.path());
        fs_err::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(KeyringFile::open(home.path(), now).unwrap().active().expose(), key.expose());
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_a_connection_showed_before_is_still_refused_once_it_is_not_valid() {
        let home = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::now();
        let ring = Keyring::open(home.path(), now).unwrap();
        let key = run_key(&ring.active(), &"r".parse().unwrap(), now.as_second() + 60);
        let shown = Shown::default();
        let claims = |key: &Secret, at: i64| ring.run_claims(key.expose(), &shown, at);
        for _ in 0..2 {
            assert_eq!(claims(&key, now.as_second()).unwrap().run_id.as_str(), "r");
        }
        assert_eq!(claims(&key, now.as_second() + 60), Err(BadKey::Expired));
        let mut forged = key.expose().to_owned();
        forged.replace_range(forged.len() - 1.., if forged.ends_with('0') { "1" } else { "0" });
        assert_eq!(claims(&Secret::new(forged), now.as_second()), Err(BadKey::Wrong));
        assert_eq!(claims(&key, now.as_second()).unwrap().run_id.as_str(), "r");
        // Another key file: the one that it was made with is gone.
        fs_err::remove_file(KeyringFile::path(home.path())).unwrap();
        assert!(ring.refresh(now).unwrap());
        assert_eq!(claims(&key, now.as_second()), Err(BadKey::Wrong));
    }

    #[test]
    fn a_retired_key_verifies_for_thirty_days_and_no_longer_whatever_its_run_keys_say() {
        let home = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::now();
        let ring = Keyring::open(home.path(), now).unwrap();
        let far = now.as_second() + 400 * 86_400;
        let of_retired = run_key(&ring.active(), &"r".parse().unwrap(), far);
        KeyringFile::open(home.path(), now).unwrap().rotate(home.path(), now).unwrap();
        assert!(ring.refresh(now).unwrap());
        let of_active = run_key(&ring.active(), &"r".parse().unwrap(), far);

        let end = now.as_second() + 30 * 86_400;
        let shown = Shown::default();
        let claims = ring.run_claims(of_retired.expose(), &shown, end - 1).unwrap();
        assert_eq!(claims.expires, end);
        for shown in [&shown, &Shown::default()] {
            assert_eq!(ring.run_claims(of_retired.expose(), shown, end), Err(BadKey::Expired));
        }
        assert_eq!(ring.run_claims(of_active.expose(), &shown, end).unwrap().expires, far);
    }

    #[test]
    fn a_key_file_that_cannot_be_read_is_told_once_for_each_of_its_states() {
        let home = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::now();
        let ring = Keyring::open(home.path(), now).unwrap();
        let (key, path) = (ring.active(), KeyringFile::path(home.path()));
        let whole = fs_err::read(&path).unwrap();
        // Files may get the number of one that is gone, so each gets a time of its own.
        let replace = |content: &[u8], second: u64| {
            write_private(&path, content).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
            std::fs::File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
        };
        for (second, broken) in [(1, &b"{"[..]), (2, b"[\n")] {
            replace(broken, second);
            let told = crate::cause_chain(&ring.refresh(now).unwrap_err());
            assert!(told.contains("line") && told.contains("column"), "{told}");
            assert!(!ring.refresh(now).unwrap());
            assert_eq!(ring.active(), key, "the old keys stay");
        }
        replace(&whole, 3);
        assert!(ring.refresh(now).unwrap());
        assert!(!ring.refresh(now).unwrap());
    }

    #[test]
    fn the_key_file_is_private_and_kept() {
        let home = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::now();
        let first = Keyring::open(home.path(), now).unwrap().active();
        let mode = fs_err::metadata(KeyringFile::path(home.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Keyring::open(home.path(), now).unwrap().active(), first);
    }

    #[test]
    fn an_unreadable_key_file_is_not_replaced() {
        let home = tempfile::tempdir().unwrap();
        fs_err::write(KeyringFile::path(home.path()), "{").unwrap();
        assert!(matches!(
            Keyring::open(home.path(), jiff::Timestamp::now()),
            Err(KeyError::Malformed { .. })
        ));
        assert!(matches!(Keyring::fixed(Secret::new("short")), Err(KeyError::TooShort)));
    }
}
