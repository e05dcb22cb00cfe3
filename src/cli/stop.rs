//! `bench stop`: cancels a run from another process, whether its master lives or not.

use std::io::{self, Write};

use serde::Serialize;

use super::remote::{self, RemoteArgs};
use super::runtime::block_on;
use super::{Context, Exit, Failure, View};
use crate::api::RunId;
use crate::client::Client;
use crate::master::home::Home;
use crate::master::record::RecordStatus;
use crate::master::stop::{self, StopError};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A master that lives saves the results and destroys the hosts. Where it is dead, exit code 4 says that hosts may still \
                  be there, and how to remove them.\n\nExample:\n  bench stop latest"
)]
pub struct Args {
    /// The run: its id or `latest`
    run: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    if let Some(client) = args.remote.client()? {
        let stopped = block_on(stop_there(&client, &args.run))?;
        context.output.show(&stopped);
        return Ok(Exit::Done);
    }
    let home = Home::new(&context.home);
    let folder = home.find_run(&args.run).map_err(Failure::usage)?;
    let run_id = folder.run_id.clone();
    let status = block_on(async { stop::stop(&folder).await.map_err(failure) })?;
    let unknown = |error| Failure::new(Exit::Leftovers, error).hint("`bench nuke` looks for its hosts");
    let abandoned = stop::abandoned(&home, &folder).map_err(unknown)?;
    let exit = if abandoned.is_empty() { Exit::Done } else { Exit::Leftovers };
    context.output.show(&Stopped { run_id, status, abandoned });
    Ok(exit)
}

/// Its own master, where it lives, notices and destroys the hosts.
async fn stop_there(client: &Client, name: &str) -> Result<Stopped, Failure> {
    let run_id = remote::find_run(client, name).await?;
    let view = client.stop_run(&run_id).await.map_err(remote::failure)?;
    Ok(Stopped { run_id, status: view.status.into(), abandoned: Vec::new() })
}

fn failure(error: StopError) -> Failure {
    Failure::infrastructure(error)
}

#[derive(Serialize)]
struct Stopped {
    run_id: RunId,
    status: RecordStatus,
    /// Provider instances whose hosts nobody destroys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    abandoned: Vec<String>,
}

impl View for Stopped {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "run {}: {}", self.run_id, self.status.word())?;
        if self.abandoned.is_empty() {
            return Ok(());
        }
        let names = self.abandoned.join(", ");
        writeln!(out, "its master is dead, and hosts of {names} may still run and be billed")?;
        writeln!(out, "`bench nuke --run-id {}` removes them", self.run_id)
    }
}
