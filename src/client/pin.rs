//! A server's public key, named by its digest, and the TLS verifier that accepts that key alone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 5280, 4.1.2.7) in the form that
/// `curl --pinnedpubkey` takes: `sha256//BASE64`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a pin: expected `sha256//` and 44 characters of base64, as the orchestrator prints it on start"
)]
pub struct InvalidPin(String);

/// The server showed another key than the pinned one.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the server's key is {found}, expected {expected}")]
pub(super) struct WrongKey {
    pub expected: Pin,
    pub found: Pin,
}

impl Pin {
    /// The pin of a certificate's key; `None` where the bytes are not an X.509 certificate.
    pub fn of_certificate(der: &[u8]) -> Option<Pin> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        Some(Pin(Sha256::digest(certificate.public_key().raw).into()))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256//{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Pin {
    type Err = InvalidPin;
    fn from_str(text: &str) -> Result<Pin, InvalidPin> {
        text.strip_prefix("sha256//")
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(Pin)
            .ok_or_else(|| InvalidPin(text.to_owned()))
    }
}

/// Accepts exactly one key, whatever the certificate's names, dates and issuer say.
#[derive(Debug)]
pub(super) struct PinVerifier {
    expected: Pin,
    provider: Arc<CryptoProvider>,
}

impl PinVerifier {
    pub(super) fn new(expected: Pin, provider: Arc<CryptoProvider>) -> PinVerifier {
        PinVerifier { expected, provider }
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Pin::of_certificate(end_entity).ok_or(CertificateError::BadEncoding)?;
        if found == self.expected {
            Ok(ServerCertVerified::assertion())
        } else {
            let wrong = WrongKey { expected: self.expected, found };
            Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
        }
    }

    // The signatures prove that the server holds the key whose certificate it showed.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_back_as_it_was_written() {
        let made = rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap();
        let pin = Pin::of_certificate(made.cert.der()).unwrap();
        assert_eq!(pin.to_string().parse::<Pin>().unwrap(), pin);
        assert_eq!(pin.to_string().len(), "sha256//".len() + 44);
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "sha256//", "sha256//AAAA", "sha256/AAAA", "md5//AAAA"] {
            assert!(bad.parse::<Pin>().is_err(), "{bad:?} was accepted");
        }
        assert!(Pin::of_certificate(b"not a certificate").is_none());
    }
}
