//! `bench provider`: the backends and what they take.

use std::io::{self, Write};
use std::path::PathBuf;

use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::{Context, Exit, Failure, View, provider_check};
use crate::document::nearest;
use crate::provider::{Backend, Catalog, Folder, Manifest, Registry, Setting};

/// Colon-separated folders with backends; earlier ones win, `--infrastructure` wins over them.
const PATH_VARIABLE: &str = "BENCH_PROVIDER_PATH";

/// Where backends are looked for beside the built-in ones. For every command that reads a config.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RegistryArgs {
    /// Folder with provider backends that add to or replace the built-in ones (also BENCH_PROVIDER_PATH)
    #[arg(long, value_name = "DIR")]
    pub infrastructure: Vec<PathBuf>,
}

impl RegistryArgs {
    /// The built-in backends with those on disk.
    pub fn load(&self) -> Result<Registry, Failure> {
        let variable = std::env::var_os(PATH_VARIABLE).unwrap_or_default();
        let mut folders: Vec<PathBuf> =
            std::env::split_paths(&variable).filter(|path| !path.as_os_str().is_empty()).collect();
        folders.reverse();
        folders.extend(self.infrastructure.iter().cloned());
        Registry::load(&folders).map_err(Failure::usage)
    }
}

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the backends
    List {
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Show one backend: settings, credentials, tools, instance types
    #[command(after_help = "Example:\n  bench provider show local")]
    Show {
        /// Name of the backend
        name: String,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Make the folder of a new backend: manifest, module, test, catalog and sweep manifest
    #[command(after_help = "Example:\n  bench provider new acme --directory infrastructure\n  \
                            bench provider validate acme --infrastructure infrastructure")]
    New {
        /// Its name: 1 to 32 characters from a-z, 0-9 and `-`, a letter first
        name: String,
        /// Folder in which the new one is made
        #[arg(long, value_name = "DIR", default_value = "infrastructure")]
        directory: PathBuf,
    },
    /// Check that a backend keeps the contract: module, user-data, catalog, sweep, Terraform's own checks
    #[command(after_help = "Exits with 0 when nothing failed; what could not be checked here is named.\n\n\
                            Example:\n  bench provider validate acme --infrastructure infrastructure")]
    Validate {
        /// Name of the backend
        name: String,
        /// Checks that could not be made count as failed
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        registry: RegistryArgs,
    },
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.command {
        Command::List { registry } => context.output.show(&List::of(&registry.load()?)),
        Command::Show { name, registry } => {
            let registry = registry.load()?;
            let backend = registry.find(&name).ok_or_else(|| unknown(&name, &registry))?;
            context.output.show(&Show::of(backend));
        }
        Command::New { name, directory } => return provider_check::new(&name, &directory, context),
        Command::Validate { name, strict, registry } => {
            let registry = registry.load()?;
            let backend = registry.find(&name).ok_or_else(|| unknown(&name, &registry))?;
            return provider_check::validate(backend, strict, context);
        }
    }
    Ok(Exit::Done)
}

fn unknown(name: &str, registry: &Registry) -> Failure {
    let failure = Failure::usage(anyhow::anyhow!("there is no provider backend `{name}`"));
    let names = || registry.all().map(Backend::name);
    let failure = match nearest(name, names()) {
        Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
        None => failure,
    };
    failure.hint(format!("there are {}", names().collect::<Vec<_>>().join(", ")))
}

fn source(folder: &Folder) -> String {
    match folder {
        Folder::Embedded(_) => "built in".to_owned(),
        Folder::Disk(path) => path.display().to_string(),
    }
}

/// A value's name as it stands in JSON.
pub(super) fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

#[derive(Serialize)]
struct List {
    backends: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    description: String,
    role: String,
    driver: String,
    phase: String,
    instance_types: usize,
    source: String,
}

impl List {
    fn of(registry: &Registry) -> List {
        let row = |backend: &Backend| Row {
            name: backend.name().to_owned(),
            description: backend.manifest.description.clone(),
            role: word(backend.manifest.role),
            driver: word(backend.manifest.driver),
            phase: word(backend.manifest.phase),
            instance_types: backend.catalog().instance_types.len(),
            source: source(&backend.folder),
        };
        List { backends: registry.all().map(row).collect() }
    }
}

impl View for List {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["NAME", "DRIVER", "KNOWN TYPES", "FROM", "WHAT"]);
        for row in &self.backends {
            table.add_row([
                &row.name,
                &row.driver,
                &row.instance_types.to_string(),
                &row.source,
                &row.description,
            ]);
        }
        writeln!(out, "{}", table.trim_fmt())
    }
}

#[derive(Serialize)]
struct Show<'b> {
    source: String,
    manifest: &'b Manifest,
    catalog: &'b Catalog,
}

impl<'b> Show<'b> {
    fn of(backend: &'b Backend) -> Show<'b> {
        Show { source: source(&backend.folder), manifest: &backend.manifest, catalog: backend.catalog() }
    }
}

impl View for Show<'_> {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let manifest = self.manifest;
        writeln!(out, "{}: {} ({})", manifest.name, manifest.description, self.source)?;
        writeln!(out, "  driver {}, phase {}", word(manifest.driver), word(manifest.phase))?;
        for tool in &manifest.tools {
            let kind = if tool.optional { "may use" } else { "needs" };
            writeln!(out, "  {kind} {}: {}", tool.name, tool.hint.as_deref().unwrap_or("no hint"))?;
        }
        for credentials in &manifest.credentials {
            let parts = [credentials.env.as_slice(), &credentials.files].concat().join(", ");
            writeln!(out, "  credentials by {}: {parts}", credentials.name)?;
        }
        self.settings(out)?;
        self.types(out)
    }
}

impl Show<'_> {
    fn settings(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.manifest.settings.is_empty() {
            return writeln!(out, "\nno settings");
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["SETTING", "TYPE", "DEFAULT", "WHAT"]);
        for (name, setting) in &self.manifest.settings {
            table.add_row([name, &word(setting.kind), &default(setting), &setting.description]);
        }
        writeln!(out, "\n{}", table.trim_fmt())
    }

    fn types(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "INSTANCE TYPE",
            "VCPU",
            "GIB",
            "ARCH",
            "THREADS A CORE",
        ]);
        let text = |value: Option<String>| value.unwrap_or_else(|| "machine's".to_owned());
        for (name, facts) in &self.catalog.instance_types {
            table.add_row([
                name.clone(),
                text(facts.vcpu.map(|n| n.to_string())),
                text(facts.memory_gib.map(|n| n.to_string())),
                text(facts.arch.map(|a| a.to_string())),
                text(facts.threads_per_core.map(|n| n.to_string())),
            ]);
        }
        writeln!(out, "\n{}", table.trim_fmt())
    }
}

fn default(setting: &Setting) -> String {
    match &setting.default {
        Some(value) => word(value),
        None if setting.optional => "none".to_owned(),
        None => "required".to_owned(),
    }
}
