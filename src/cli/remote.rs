//! `--orchestrator-url`: a run is looked at where its orchestrator is, without the home of its master.

use super::Failure;
use crate::api::RunId;
use crate::client::{Client, Endpoint, Pin, Secret};

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
        self.endpoint().map(Client::new).transpose().map_err(Failure::usage)
    }
}

/// The run of that name at an orchestrator; `latest` is the one that was created last.
pub async fn find_run(client: &Client, name: &str) -> Result<RunId, Failure> {
    if name == "latest" {
        let runs = client.runs().await.map_err(Failure::infrastructure)?;
        let newest = runs.into_iter().next();
        return newest
            .map(|run| run.run_id)
            .ok_or_else(|| Failure::usage(anyhow::anyhow!("the orchestrator has no runs")));
    }
    name.parse().map_err(Failure::usage)
}
