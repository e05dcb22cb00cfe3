//! Credentials for object storage: from the environment, else from the role of the cloud instance, asked of
//! its metadata service (version 2, with a session token).

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, future};
use serde::Deserialize;

const METADATA: &str = "http://169.254.169.254/latest";
/// On the instance itself the service answers at once; elsewhere nobody does.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct EnvironmentOrInstanceRole;

impl ProvideCredentials for EnvironmentOrInstanceRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            match from_environment() {
                Some(credentials) => Ok(credentials),
                None => from_instance_role().await,
            }
        })
    }
}

/// `AWS_REGION`, `AWS_DEFAULT_REGION`, else the instance's own.
pub(super) async fn region() -> String {
    if let Some(region) = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")) {
        return region;
    }
    // With a key in the environment this is rarely a cloud instance: do not wait for one.
    let asked =
        if from_environment().is_some() { None } else { metadata("meta-data/placement/region").await.ok() };
    asked.unwrap_or_else(|| "us-east-1".to_owned())
}

fn from_environment() -> Option<Credentials> {
    let (id, secret) = (set("AWS_ACCESS_KEY_ID")?, set("AWS_SECRET_ACCESS_KEY")?);
    Some(Credentials::new(id, secret, set("AWS_SESSION_TOKEN"), None, "environment"))
}

fn set(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleCredentials {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: jiff::Timestamp,
}

async fn from_instance_role() -> Result {
    const ROLES: &str = "meta-data/iam/security-credentials/";
    let role = metadata(ROLES).await.map_err(CredentialsError::not_loaded)?;
    let text =
        metadata(&format!("{ROLES}{}", role.trim())).await.map_err(CredentialsError::provider_error)?;
    let given: RoleCredentials = serde_json::from_str(&text).map_err(CredentialsError::unhandled)?;
    let expires = SystemTime::from(given.expiration);
    Ok(Credentials::new(
        given.access_key_id,
        given.secret_access_key,
        Some(given.token),
        Some(expires),
        "instance role",
    ))
}

async fn metadata(path: &str) -> std::result::Result<String, reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().timeout(METADATA_TIMEOUT).build()?;
    let token = client
        .put(format!("{METADATA}/api/token"))
        .header("x-aws-ec2-metadata-token-ttl-seconds", "300")
        .send()
        .await?
        .error_for_status()?
        .text()
        .await?;
    let answer =
        client.get(format!("{METADATA}/{path}")).header("x-aws-ec2-metadata-token", token).send().await?;
    answer.error_for_status()?.text().await
}
