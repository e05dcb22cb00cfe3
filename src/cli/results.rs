//! `bench results`: prints a run's results again, from files alone.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::remote::{self, RemoteArgs};
use super::runtime::block_on;
use super::{Context, Exit, Failure, View};
use crate::client::Client;
use crate::master::collect::{self, CollectError};
use crate::master::home::Home;
use crate::report::{self, Report};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bench results latest\n  bench results 20261120-101500-k3v9 --output json\n  bench results ./results/20261120-101500-k3v9"
)]
pub struct Args {
    /// The run: its id, `latest`, or a folder of results
    run: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    if let Some(client) = args.remote.client()? {
        return results_there(&client, &args.run, context);
    }
    let folder = if Path::new(&args.run).join("results.json").is_file() {
        Path::new(&args.run).to_owned()
    } else {
        let home = Home::new(&context.home);
        home.find_run(&args.run).map_err(Failure::usage)?.results().to_owned()
    };
    let report = report::load(&folder).map_err(|error| {
        Failure::usage(error).hint("results exist once a run has ended; `bench status` shows where it stands")
    })?;
    context.output.show(&ReportView(&report));
    Ok(Exit::Done)
}

/// Fetches what the orchestrator has into `results/` beside the home.
fn results_there(client: &Client, name: &str, context: &Context) -> Result<Exit, Failure> {
    block_on(async {
        let run_id = remote::find_run(client, name).await?;
        let place = Home::new(&context.home).results_root().join(run_id.as_str());
        let collected = collect::fetch(client, &run_id, &place).await.map_err(fetch_failure)?;
        context.output.note(&format!("results: {}", collected.results_dir.display()));
        context.output.show(&ReportView(&collected.report));
        Ok(Exit::Done)
    })
}

fn fetch_failure(error: CollectError) -> Failure {
    match error {
        CollectError::Fetch(error) => remote::failure(error),
        error => Failure::infrastructure(error),
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct ReportView<'a>(&'a Report);

impl View for ReportView<'_> {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", report::table(self.0, super::output::width()))?;
        super::failures::write(out, &self.0.tasks)
    }
}
