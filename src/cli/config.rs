//! `bench config`: checks a config, prints its schema.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use super::provider::RegistryArgs;
use super::{Context, Exit, Failure, Format, View};
use crate::config::{self, ConfigError, Mistake, RunConfig};
use crate::document::Document;
use crate::plan::plan_document;
use crate::provider::{self, MachineFacts};
use crate::sweep;
use crate::words::count;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Name every mistake of a config, each with its place; creates nothing
    #[command(after_help = "Example:\n  bench config check config/local.json")]
    Check {
        /// The config, a JSON file
        config: PathBuf,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Print the JSON Schema (draft 2020-12) that editors and `$schema` use
    #[command(after_help = "Example:\n  bench config schema > config/run.schema.json")]
    Schema {
        /// Print the schema of provider.json instead
        #[arg(long)]
        provider: bool,
        /// Print the schema of sweep manifests (nuke.json) instead
        #[arg(long, conflicts_with = "provider")]
        nuke: bool,
    },
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.command {
        Command::Check { config, registry } => check(&config, &registry, context),
        Command::Schema { provider, nuke } => {
            let schema = match (provider, nuke) {
                (true, _) => provider::schema(),
                (_, true) => sweep::schema(),
                (false, false) => config::schema(),
            };
            context.output.show(&SchemaView(schema.value()));
            Ok(Exit::Done)
        }
    }
}

/// A config that no plan can be made of is not right either: facts nobody knows, more than the machine has.
fn check(path: &std::path::Path, registry: &RegistryArgs, context: &Context) -> Result<Exit, Failure> {
    let registry = registry.load()?;
    let planned =
        Document::read(path).and_then(|document| plan_document(&document, &registry, MachineFacts::read()));
    match planned {
        Ok((config, _)) => {
            context.output.show(&Valid::of(&config));
            Ok(Exit::Done)
        }
        Err(error) if context.output.format == Format::Json => {
            let ConfigError { mistakes, omitted, .. } = error;
            context.output.show(&Invalid { valid: false, mistakes, omitted });
            Ok(Exit::Usage)
        }
        Err(error) => Err(failure(error)),
    }
}

/// A config's mistakes as the failure of a command: a line each, and all of them in the JSON form.
pub fn failure(error: ConfigError) -> Failure {
    let count = error.mistakes.len() + error.omitted;
    let title = if count == 1 {
        "the config has a mistake".to_owned()
    } else {
        format!("the config has {count} mistakes")
    };
    let details = json!({ "valid": false, "mistakes": error.mistakes, "omitted": error.omitted });
    let lines = error.to_string().replace('\n', "\n  ");
    let chain = match error.source {
        Some(source) => anyhow::Error::new(source).context(format!("{title}\n  {lines}")),
        None => anyhow::anyhow!("{title}\n  {lines}"),
    };
    Failure::usage(chain).details(details)
}

#[derive(Serialize)]
struct Valid {
    valid: bool,
    file: String,
    provider_instances: usize,
    instance_types: usize,
    runs_per_instance_type: u32,
}

impl Valid {
    fn of(config: &RunConfig) -> Valid {
        Valid {
            valid: true,
            file: config.file.clone(),
            provider_instances: config.providers.len(),
            instance_types: config.providers.iter().map(|p| p.instance_types.len()).sum(),
            runs_per_instance_type: config.runs_per_instance_type,
        }
    }
}

impl View for Valid {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: no mistakes ({} of {}, {} of each)",
            self.file,
            count(self.instance_types, "instance type"),
            count(self.provider_instances, "provider instance"),
            count(self.runs_per_instance_type, "run")
        )
    }
}

/// Only shown as JSON; people see [`failure`].
#[derive(Serialize)]
struct Invalid {
    valid: bool,
    mistakes: Vec<Mistake>,
    omitted: usize,
}

impl View for Invalid {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        self.mistakes.iter().try_for_each(|mistake| writeln!(out, "{mistake}"))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct SchemaView<'s>(&'s Value);

impl View for SchemaView<'_> {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{:#}", self.0)
    }
}
