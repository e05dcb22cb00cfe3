//! `--orchestrator-url`: a run is looked at where its orchestrator is, without the home of its master.

use super::{Exit, Failure};
use crate::api::RunId;
use crate::client::{Client, ClientError, Endpoint, Pin, Secret};

/// Where an orchestrator answers, for commands that need no home then.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RemoteArgs {
    /// Ask this orchestrator instead of the home folder
    #[arg(long, value_name = "URL", requires = "api_key")]
    orchestrator_url: Option<String>,
    /// Admin key of that orchestrator; better given by the environment, since arguments show in process lists
    #[arg(long, env = "BENCH_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<Secret>,
    /// SPKI pin of that orchestrator, as it prints it when it starts
    #[arg(long, value_name = "PIN", requires = "orchestrator_url")]
    orchestrator_pin: Option<Pin>,
}

impl RemoteArgs {
    /// `None` where no orchestrator was named.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let (url, key) = (self.orchestrator_url.clone()?, self.api_key.clone()?);
        Some(Endpoint { url, key, pin: self.orchestrator_pin })
    }

    pub fn client(&self) -> Result<Option<Client>, Failure> {
        self.endpoint().map(Client::new).transpose().map_err(failure)
    }
}

/// The run of that name at an orchestrator; `latest` is the one that was created last.
pub async fn find_run(client: &Client, name: &str) -> Result<RunId, Failure> {
    if name == "latest" {
        let runs = client.runs().await.map_err(failure)?;
        let newest = runs.into_iter().next();
        return newest
            .map(|run| run.run_id)
            .ok_or_else(|| Failure::usage(anyhow::anyhow!("the orchestrator has no runs")));
    }
    name.parse().map_err(Failure::usage)
}

/// What an orchestrator that was named did not do, with what to do next. A wrong address or key is bad usage.
pub fn failure(error: ClientError) -> Failure {
    let exit = if error.is_misuse() { Exit::Usage } else { Exit::Infrastructure };
    let hint = hint(&error);
    let failure = Failure::new(exit, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn hint(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::BadEndpoint { .. } => Some(
            "give --orchestrator-url as `bench orchestrator` prints it: https://HOST:PORT, or http://127.0.0.1:PORT on \
             its own machine",
        ),
        ClientError::BadKey { .. } => Some(ADMIN_KEY),
        ClientError::PinMismatch { .. } => {
            Some("give the pin that `bench orchestrator` printed when it started, as --orchestrator-pin")
        }
        error if error.is_refused_key() => Some(ADMIN_KEY),
        error if error.is_untrusted() => Some(
            "no certificate authority vouches for an orchestrator that made its own certificate: give the pin that \
             `bench orchestrator` printed when it started, as --orchestrator-pin",
        ),
        ClientError::Unreachable { .. } => {
            Some("see that the orchestrator runs, at that address, and that this machine may reach it")
        }
        _ => None,
    }
}

const ADMIN_KEY: &str = "give the admin key as BENCH_API_KEY; on the orchestrator's machine \
                         `bench orchestrator key show --reveal` prints it, where it was not set there";
