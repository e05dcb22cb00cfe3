//! Run keys: `rk.<key id>.<run>.<expires>.<mac>`, an HMAC-SHA256 (RFC 2104) of the text before the last dot
//! under the admin key. Whoever holds the admin key can make one; whoever holds a run key can make nothing.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::api::RunId;
use crate::client::Secret;

pub(super) type Signer = Hmac<Sha256>;

/// What a verified run key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunClaims {
    pub run_id: RunId,
    /// Epoch seconds.
    pub expires: i64,
}

/// Why a key was not accepted: the `reason` of the refused-requests metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("no key was given; send `Authorization: Bearer KEY`")]
    Missing,
    #[error("the key does not verify")]
    Wrong,
    #[error("the run key has expired")]
    Expired,
}

impl BadKey {
    pub fn reason(self) -> &'static str {
        match self {
            BadKey::Missing => "no_key",
            BadKey::Wrong => "wrong_key",
            BadKey::Expired => "expired_key",
        }
    }
}

/// The run key of `run`, valid until `expires` (epoch seconds).
pub fn run_key(admin: &Secret, run: &RunId, expires: i64) -> Secret {
    let mut text = format!("rk.{}.{run}.{expires}", key_id(admin));
    let mac = signer(admin).chain_update(&text).finalize().into_bytes();
    text.push('.');
    push_hex(&mut text, &mac);
    Secret::new(text)
}

/// When a run key expires, epoch seconds; nothing is verified. `None` where the text is no run key.
pub fn run_key_expiry(key: &Secret) -> Option<i64> {
    parse(key.expose()).map(|parts| parts.expires)
}

/// Names a key without telling anything about it: 8 hexadecimal digits of its digest.
pub(super) fn key_id(key: &Secret) -> String {
    let digest = Sha256::new().chain_update("bench key id\0").chain_update(key.expose()).finalize();
    let mut id = String::with_capacity(8);
    push_hex(&mut id, &digest[..4]);
    id
}

pub(super) fn signer(admin: &Secret) -> Signer {
    Signer::new_from_slice(admin.expose().as_bytes()).expect("HMAC takes keys of any length")
}

/// The parts of a run key's text; nothing is verified yet.
pub(super) struct Parts<'a> {
    pub key_id: &'a str,
    pub signed: &'a str,
    pub run: &'a str,
    pub expires: i64,
    pub mac: [u8; 32],
}

pub(super) fn parse(text: &str) -> Option<Parts<'_>> {
    let (signed, mac) = text.rsplit_once('.')?;
    let mut parts = signed.strip_prefix("rk.")?.splitn(3, '.');
    let (key_id, run, expires) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
    Some(Parts { key_id, signed, run, expires, mac: from_hex(mac)? })
}

/// Checks a key's code and expiry against the signer of its admin key; the comparison takes constant time.
pub(super) fn verify(parts: &Parts<'_>, signer: &Signer, now: i64) -> Result<RunClaims, BadKey> {
    let code = signer.clone().chain_update(parts.signed);
    code.verify_slice(&parts.mac).or(Err(BadKey::Wrong))?;
    if parts.expires <= now {
        return Err(BadKey::Expired);
    }
    let run_id = parts.run.parse().or(Err(BadKey::Wrong))?;
    Ok(RunClaims { run_id, expires: parts.expires })
}

pub(super) fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string succeeds");
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |c: u8| (c as char).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, admin: &Secret, now: i64) -> Result<RunClaims, BadKey> {
        verify(&parse(text).ok_or(BadKey::Wrong)?, &signer(admin), now)
    }

    #[test]
    fn a_run_key_verifies_for_its_run_until_it_expires() {
        let (admin, run) = (Secret::new("admin"), "a-run".parse().unwrap());
        let key = run_key(&admin, &run, 1000);
        let claims = check(key.expose(), &admin, 999).unwrap();
        assert_eq!(claims, RunClaims { run_id: run, expires: 1000 });
        assert_eq!(check(key.expose(), &admin, 1000), Err(BadKey::Expired));
        assert_eq!(check(key.expose(), &Secret::new("other"), 0), Err(BadKey::Wrong));
    }

    #[test]
    fn no_part_of_a_run_key_can_be_changed() {
        let admin = Secret::new("admin");
        let key = run_key(&admin, &"a-run".parse().unwrap(), 1000);
        for (from, to) in [("a-run", "b-run"), (".1000.", ".9000."), ("rk.", "rk.0")] {
            assert_eq!(check(&key.expose().replacen(from, to, 1), &admin, 0), Err(BadKey::Wrong), "{from}");
        }
        let mut flipped = key.expose().to_owned();
        let last = if flipped.ends_with('0') { '1' } else { '0' };
        flipped.pop();
        flipped.push(last);
        assert_eq!(check(&flipped, &admin, 0), Err(BadKey::Wrong));
    }
}
