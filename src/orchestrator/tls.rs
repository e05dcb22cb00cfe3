//! HTTPS without a domain: a key and certificate made here, trusted by the digest of the key; or real ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::TlsMode;
use super::auth::write_private;
use crate::client::Pin;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("could not read or write the TLS key or certificate")]
    File(#[from] std::io::Error),
    #[error("{} holds no {wanted} in PEM form", .path.display())]
    Pem {
        path: PathBuf,
        wanted: &'static str,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("could not make a TLS key and certificate")]
    Make(#[from] rcgen::Error),
    #[error("the TLS key and certificate cannot be used together")]
    Use(#[from] rustls::Error),
    #[error("{} does not begin with an X.509 certificate", .0.display())]
    Certificate(PathBuf),
}

/// What the server speaks TLS with, and what clients know it by.
pub struct Tls {
    pub acceptor: TlsAcceptor,
    pub pin: Pin,
}

/// Prepares TLS as the mode says; `None` for plain HTTP.
pub fn prepare(mode: &TlsMode, home: &Path) -> Result<Option<Tls>, TlsError> {
    match mode {
        TlsMode::Off => Ok(None),
        TlsMode::Files { certificate, key } => load(certificate, key).map(Some),
        TlsMode::SelfMade => {
            let (certificate, key) = (home.join("tls-certificate.pem"), home.join("tls-key.pem"));
            if !(certificate.exists() && key.exists()) {
                make(&certificate, &key)?;
            }
            load(&certificate, &key).map(Some)
        }
    }
}

/// Makes a P-256 key and a certificate of itself, in PEM files that only their owner reads. Its names and dates
/// mean nothing: clients look at the key.
pub fn make(certificate: &Path, key: &Path) -> Result<(), TlsError> {
    let pair = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "bench orchestrator");
    let made = params.self_signed(&pair)?;
    write_private(key, pair.serialize_pem().as_bytes())?;
    write_private(certificate, made.pem().as_bytes())?;
    Ok(())
}

/// What clients know the server of this certificate by.
pub fn pin(certificate: &Path) -> Result<Pin, TlsError> {
    let text = fs_err::read(certificate)?;
    pin_of(certificate, &chain(certificate, &text)?)
}

fn chain(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        wanted: "certificate",
        source,
    })
}

fn pin_of(path: &Path, chain: &[CertificateDer<'static>]) -> Result<Pin, TlsError> {
    let pin = chain.first().and_then(|first| Pin::of_certificate(first));
    pin.ok_or_else(|| TlsError::Certificate(path.to_owned()))
}

fn load(certificate: &Path, key: &Path) -> Result<Tls, TlsError> {
    let chain = chain(certificate, &fs_err::read(certificate)?)?;
    let secret = PrivateKeyDer::from_pem_slice(&fs_err::read(key)?).map_err(|source| TlsError::Pem {
        path: key.to_owned(),
        wanted: "private key",
        source,
    })?;
    let pin = pin_of(certificate, &chain)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), pin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_certificate_is_kept_so_that_its_pin_stays() {
        let home = tempfile::tempdir().unwrap();
        let first = prepare(&TlsMode::SelfMade, home.path()).unwrap().unwrap();
        let again = prepare(&TlsMode::SelfMade, home.path()).unwrap().unwrap();
        assert_eq!(first.pin, again.pin);
    }

    #[test]
    fn files_that_are_none_are_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.pem");
        fs_err::write(&path, "nothing").unwrap();
        let mode = TlsMode::Files { certificate: path.clone(), key: path };
        let error = prepare(&mode, home.path()).err().unwrap().to_string();
        assert!(error.contains("x.pem"), "{error}");
    }
}
