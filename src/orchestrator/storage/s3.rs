//! Archives in an S3-compatible object store. Runners send them there themselves, with a request that is
//! signed when they ask for it.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_smithy_http_client::tls;
use base64::Engine as _;
use tokio_util::io::SyncIoBridge;

use super::s3_credentials::{EnvironmentOrInstanceRole, region};
use super::{Archive, StorageError};
use crate::api::{UploadRequest, UploadTicket};

/// Life of a signed upload. It is signed when the archive is ready to go, so only the transfer must start
/// within it.
const TICKET_LIFE: Duration = Duration::from_secs(15 * 60);

/// The most that one PUT may carry
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>).
pub const MOST_OBJECT_BYTES: u64 = 5 << 30;

pub struct S3Storage {
    client: Client,
    bucket: String,
    prefix: String,
}

/// The SDK's calls are kilobytes of state. They are boxed, so that handlers which could make one, and rarely do, are
/// small.
impl S3Storage {
    /// Credentials come from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` or the instance's role; the
    /// endpoint from `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`. Nothing is asked of the bucket yet.
    pub async fn connect(bucket: &str, prefix: &str) -> S3Storage {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(TimeoutConfig::builder().connect_timeout(Duration::from_secs(10)).build())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            // Archives are digested here anyway, and a wrong one is no failure of the storage.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .credentials_provider(EnvironmentOrInstanceRole)
            .region(Region::new(region().await));
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].into_iter().find_map(set);
        if let Some(endpoint) = endpoint {
            // A custom endpoint rarely has a DNS name for every bucket.
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        let client = Client::from_conf(config.build());
        S3Storage { client, bucket: bucket.to_owned(), prefix: prefix.to_owned() }
    }

    /// A PUT for exactly these bytes: length and digest are part of what is signed.
    pub async fn ticket(&self, key: &str, upload: &UploadRequest) -> Result<UploadTicket, StorageError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StorageError::S3 {
            what: "sign an upload",
            source,
        };
        let life = PresigningConfig::expires_in(TICKET_LIFE).map_err(|source| failed(source.into()))?;
        let signed = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.object(key))
            .content_type("application/gzip")
            .content_length(i64::try_from(upload.size).map_err(|source| failed(source.into()))?)
            .checksum_sha256(base64_of_hex(&upload.sha256))
            .presigned(life);
        let signed = Box::pin(signed).await.map_err(|source| failed(source.into()))?;
        let headers: BTreeMap<String, String> =
            signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(UploadTicket { method: signed.method().to_owned(), url: signed.uri().to_owned(), headers })
    }

    pub(super) async fn read(&self, key: &str) -> Result<Archive, StorageError> {
        let object =
            Box::pin(self.client.get_object().bucket(&self.bucket).key(self.object(key)).send()).await;
        let object = object.map_err(|error| match &error {
            SdkError::ServiceError(service) if service.err().is_no_such_key() => {
                StorageError::Missing(key.to_owned())
            }
            _ => StorageError::S3 { what: "read an archive", source: Box::new(error) },
        })?;
        Ok(Box::new(SyncIoBridge::new(Box::pin(object.body.into_async_read()))))
    }

    /// Whether the bucket can be reached with these credentials.
    pub(super) async fn ping(&self) -> Result<(), StorageError> {
        let asked = Box::pin(self.client.head_bucket().bucket(&self.bucket).send()).await;
        let failed = |source| StorageError::S3 { what: "find the bucket", source: Box::new(source) };
        asked.map(drop).map_err(failed)
    }

    fn object(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }
}

fn set(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// S3 wants digests in base64. Input that is no hexadecimal text was refused before.
fn base64_of_hex(hex: &str) -> String {
    let pairs = hex.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Vec<u8> = pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_change_their_alphabet_and_nothing_else() {
        assert_eq!(base64_of_hex("00ff10"), "AP8Q");
    }
}
