//! Where an orchestrator is and how to talk to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use super::{ClientError, Pin, Secret};

/// An orchestrator: its address, the key to show it, and, where it made its own certificate, its pin.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `https://HOST:PORT`, or `http://` with a loopback host; no path.
    pub url: String,
    /// The admin key or a run key.
    pub key: Secret,
    /// The only server key to accept; without it the platform's certificate authorities decide.
    pub pin: Option<Pin>,
}

/// Whether an address is this machine itself. Only the two canonical addresses count: others of 127.0.0.0/8
/// are handed out as public addresses by emulated clouds, and a key must not travel to those in the clear.
pub fn is_own_loopback(address: IpAddr) -> bool {
    address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST
}

/// The same for a host as it stands in a URL or a `Host` header (without its port).
pub fn is_own_loopback_name(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(is_own_loopback)
}

/// Checks an endpoint's address; the answer ends in `/` and has no path of its own.
pub(super) fn base_url(text: &str) -> Result<Url, ClientError> {
    let refuse = |why: &str| ClientError::BadEndpoint { url: redacted(text), why: why.to_owned() };
    let url = Url::parse(text).map_err(|source| refuse(&source.to_string()))?;
    let Some(host) = url.host_str() else { return Err(refuse("it names no host")) };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("keys do not belong into URLs; give the key separately"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("expected scheme, host and port alone"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_own_loopback_name(host) => Ok(url),
        "http" => Err(refuse(
            "plain HTTP would show the key to the network; it is spoken on 127.0.0.1, ::1 and localhost only, use https:// with the orchestrator's pin",
        )),
        _ => Err(refuse("expected https://, or http:// on this machine")),
    }
}

/// The URL without what may be a password in it.
fn redacted(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_goes_anywhere_and_http_stays_on_this_machine() {
        for good in
            ["https://203.0.113.7:8443", "http://127.0.0.1:80", "http://[::1]:1", "http://localhost:1/"]
        {
            base_url(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for bad in [
            "http://203.0.113.7",
            "http://127.1.2.3:80",
            "http://localhost.example.com",
            "ftp://localhost",
            "localhost:80",
            "https://x/path",
            "https://x/?a=b",
            "",
        ] {
            assert!(base_url(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        let error = base_url("https://me:hunter2@example.com").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
}
