//! A keep-alive connection that does as little as possible: prepared requests out, lengths and bodies in.

use std::io;
use std::sync::Arc;

use bench::api::RunId;
use memchr::memmem::find;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::server::Server;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct Connection {
    stream: Box<dyn Stream>,
    /// Headers of every call, up to the length of its body.
    headers: String,
    buffer: Vec<u8>,
    request: Vec<u8>,
    body: Vec<u8>,
}

/// A lease, as far as a client needs it.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub task: i64,
    pub fence: i64,
}

impl Connection {
    pub async fn open(server: &Server, key: Arc<str>) -> io::Result<Connection> {
        let tcp = TcpStream::connect(server.address).await?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match server.pin {
            None => Box::new(tcp),
            Some(_) => {
                let name = ServerName::try_from("localhost").expect("a name");
                Box::new(TlsConnector::from(tls()).connect(name, tcp).await?)
            }
        };
        let headers = format!(
            " HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: "
        );
        let (buffer, request, body) =
            (Vec::with_capacity(4096), Vec::with_capacity(1024), Vec::with_capacity(256));
        Ok(Connection { stream, headers, buffer, request, body })
    }

    pub async fn get(&mut self, path: &str) -> io::Result<u16> {
        self.request.clear();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.request.extend_from_slice(head.as_bytes());
        Ok(self.exchange().await?.0)
    }

    /// Claims a task; `None` when there is none left.
    pub async fn claim(&mut self, run: &RunId, runner: &str) -> io::Result<Option<Held>> {
        const NAMES: &str = r#"{"provider":"load","instance_type":"load","alias":"load","runner_id":""#;
        join(&mut self.body, &[NAMES, runner, r#"","host":""#, runner, r#""}"#]);
        let answer = self.post(&["/api/v1/runs/", run.as_str(), "/tasks/claim"]).await?;
        Ok(number(answer, b"\"id\":")
            .zip(number(answer, b"\"fence\":"))
            .map(|(task, fence)| Held { task, fence }))
    }

    pub async fn heartbeat(&mut self, held: Held) -> io::Result<()> {
        let mut fence = itoa::Buffer::new();
        join(&mut self.body, &[r#"{"fence":"#, fence.format(held.fence), r#","status":"measure"}"#]);
        self.post(&["/api/v1/tasks/", itoa::Buffer::new().format(held.task), "/heartbeat"]).await.map(drop)
    }

    pub async fn complete(&mut self, held: Held) -> io::Result<()> {
        let mut fence = itoa::Buffer::new();
        join(&mut self.body, &[r#"{"fence":"#, fence.format(held.fence), "}"]);
        self.post(&["/api/v1/tasks/", itoa::Buffer::new().format(held.task), "/complete"]).await.map(drop)
    }

    /// Posts the prepared body.
    async fn post(&mut self, path: &[&str; 3]) -> io::Result<&[u8]> {
        let mut length = itoa::Buffer::new();
        let [start, middle, end] = path;
        let head = ["POST ", start, middle, end, &self.headers, length.format(self.body.len()), "\r\n\r\n"];
        join(&mut self.request, &head);
        self.request.extend_from_slice(&self.body);
        let (status, start) = self.exchange().await?;
        if status != 200 {
            let text = String::from_utf8_lossy(&self.buffer).into_owned();
            return Err(io::Error::other(format!("{}: {text}", path.concat())));
        }
        Ok(&self.buffer[start..])
    }

    /// Sends the prepared request; gives the status and where in the buffer the body starts.
    async fn exchange(&mut self) -> io::Result<(u16, usize)> {
        self.stream.write_all(&self.request).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(end) = find(&self.buffer, b"\r\n\r\n") else { continue };
            let length = number(&self.buffer[..end + 2], b"content-length: ").unwrap_or(0) as usize;
            if self.buffer.len() >= end + 4 + length {
                let status = number(&self.buffer, b"HTTP/1.1 ").unwrap_or(0) as u16;
                return Ok((status, end + 4));
            }
        }
    }
}

/// Writes the parts over what the buffer holds. No memory is asked for: the client shares its CPUs with the server that is measured.
fn join(buffer: &mut Vec<u8>, parts: &[&str]) {
    buffer.clear();
    for part in parts {
        buffer.extend_from_slice(part.as_bytes());
    }
}

/// The number behind the first `name`.
fn number(text: &[u8], name: &[u8]) -> Option<i64> {
    let start = find(text, name)? + name.len();
    let digits = text[start..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

fn tls() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyKey))
        .with_no_client_auth();
    Arc::new(config)
}

/// The cost of trust is paid once a connection, and the connections are opened before the clock runs.
#[derive(Debug)]
struct AnyKey;

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
