//! `bench orchestrator`: serves runs as a process of its own, and looks after its keys and database.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Context, Exit, Failure, View};
use crate::api::RunId;
use crate::client::{Secret, is_own_loopback};
use crate::orchestrator::auth::{KeyInfo, KeyringFile, run_key};
use crate::orchestrator::storage::StorageTarget;
use crate::orchestrator::store::{self, Durability, StoreTarget};
use crate::orchestrator::{Limits, Running, ServerConfig, StartError, TlsMode, start};

const EXAMPLES: &str = "\
Examples:
  bench orchestrator                                        on this machine only, plain HTTP
  bench orchestrator --listen 0.0.0.0:8443 --home /var/lib/bench
  bench orchestrator --listen 0.0.0.0:8443 --database postgres://bench@db/bench --storage s3://results/bench
  bench orchestrator key run-key 20261120-101500-k3v9
  bench orchestrator backup /backups/orchestrator.db

Off loopback it speaks HTTPS with a key of its own making, unless --tls-cert and --tls-key name a real one.
It prints the pin that clients take as --orchestrator-pin and curl as --pinnedpubkey.
The admin key comes from BENCH_API_KEY, else from keys.json in the home, which is made on the first start.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// sqlite:PATH or postgres://USER@HOST/NAME [default: sqlite:HOME/orchestrator.db]
    #[arg(long, value_name = "TARGET", env = "BENCH_DATABASE", hide_env_values = true)]
    database: Option<StoreTarget>,
    /// A folder, or s3://BUCKET/PREFIX [default: HOME/storage]
    #[arg(long, value_name = "TARGET")]
    storage: Option<StorageTarget>,
    /// HTTPS: auto (off loopback), on, or off (loopback only)
    #[arg(long, value_enum, default_value_t = Tls::Auto)]
    tls: Tls,
    /// PEM file with a real certificate and its chain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Requests a second with one run key; twice as many in a burst
    #[arg(long, value_name = "REQUESTS", default_value_t = Limits::default().run_key_per_second as u32,
        value_parser = clap::value_parser!(u32).range(1..))]
    rate_limit: u32,
    /// Largest result archive, MiB
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().upload_bytes >> 20,
        value_parser = clap::value_parser!(u64).range(1..=1 << 22))]
    max_upload_mib: u64,
    /// Connections open at once; half of them at most from one address
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().connections as u32,
        value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Tls {
    Auto,
    On,
    Off,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show, rotate or derive keys
    #[command(subcommand)]
    Key(KeyAction),
    /// Copy the SQLite database to a new file, also while the orchestrator serves
    Backup {
        /// File to make; it must not exist
        file: PathBuf,
    },
    /// Put a backup in the place of the database; the orchestrator must not be running
    Restore {
        /// A file made by `backup`
        file: PathBuf,
    },
}

#[derive(Debug, clap::Subcommand)]
enum KeyAction {
    /// List the keys by id
    Show {
        /// Print the active admin key itself
        #[arg(long)]
        reveal: bool,
    },
    /// Make a new admin key, which masters need from now on; run keys of the old one stay valid until they expire, for
    /// 30 days at most
    Rotate,
    /// Print a key that can only claim and report for one run
    RunKey {
        run: RunId,
        /// How long it is valid, hours
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=24 * 30))]
        hours: u32,
    },
}

pub fn execute(args: Args, context: &Context) -> Result<Exit, Failure> {
    match args.action {
        Some(Action::Key(action)) => keys(&action, context),
        Some(Action::Backup { file }) => backup(&file, context),
        Some(Action::Restore { file }) => restore(&file, context),
        None => serve(args, context),
    }
}

fn serve(args: Args, context: &Context) -> Result<Exit, Failure> {
    let config = config(args, &context.home).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::infrastructure)?;
    runtime.block_on(async {
        // Before anybody can know that it runs: an early signal must not kill it.
        let mut signals = Signals::catch().map_err(Failure::infrastructure)?;
        let running = start(config).await.map_err(start_failure)?;
        context.output.show(&Started::of(&running, &context.home));
        signals.next().await;
        context.output.note("stopping: open requests are finished first");
        running.shutdown().await;
        Ok(Exit::Done)
    })
}

fn config(args: Args, home: &Path) -> Result<ServerConfig, anyhow::Error> {
    let tls = match (args.tls, args.tls_cert, args.tls_key) {
        (Tls::Off, None, None) => TlsMode::Off,
        (Tls::Off, ..) => anyhow::bail!("--tls off and a certificate cannot go together"),
        (_, Some(certificate), Some(key)) => TlsMode::Files { certificate, key },
        (Tls::Auto, ..) if is_own_loopback(args.listen.ip()) => TlsMode::Off,
        (Tls::Auto | Tls::On, ..) => TlsMode::SelfMade,
    };
    Ok(ServerConfig {
        listen: args.listen,
        home: home.to_owned(),
        database: args.database.unwrap_or_else(|| StoreTarget::Sqlite(database_path(home))),
        durability: Durability::Synced,
        storage: args.storage.unwrap_or_else(|| StorageTarget::Folder(home.join("storage"))),
        tls,
        admin_key: admin_key_from_environment(),
        limits: Limits {
            run_key_per_second: args.rate_limit.into(),
            upload_bytes: args.max_upload_mib << 20,
            connections: args.max_connections as usize,
            connections_per_peer: args.max_connections.div_ceil(2) as usize,
            ..Limits::default()
        },
    })
}

fn database_path(home: &Path) -> PathBuf {
    home.join("orchestrator.db")
}

fn admin_key_from_environment() -> Option<Secret> {
    std::env::var("BENCH_API_KEY").ok().filter(|key| !key.is_empty()).map(Secret::new)
}

fn start_failure(error: StartError) -> Failure {
    match error {
        StartError::PlainHttp(_) => Failure::usage(error).hint("leave --tls out, or listen on 127.0.0.1"),
        StartError::AddressTaken(_) => Failure::infrastructure(error),
        error => {
            Failure::infrastructure(anyhow::Error::new(error).context("could not start the orchestrator"))
        }
    }
}

/// Signals that ask to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[derive(Serialize)]
struct Started {
    url: String,
    /// For `--orchestrator-pin` and `curl --pinnedpubkey`.
    pin: Option<String>,
    /// Where the admin key is; absent where it came from the environment.
    key_file: Option<PathBuf>,
    pid: u32,
}

impl Started {
    fn of(running: &Running, home: &Path) -> Started {
        Started {
            url: running.url(),
            pin: running.pin().map(|pin| pin.to_string()),
            key_file: admin_key_from_environment().is_none().then(|| KeyringFile::path(home)),
            pid: std::process::id(),
        }
    }
}

impl View for Started {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "orchestrator: {}", self.url)?;
        if let Some(pin) = &self.pin {
            writeln!(out, "pin:          {pin}")?;
        }
        match &self.key_file {
            Some(file) => writeln!(out, "admin key:    in {}", file.display()),
            None => writeln!(out, "admin key:    from BENCH_API_KEY"),
        }
    }
}

#[derive(Serialize)]
struct Keys {
    keys: Vec<KeyInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_key: Option<String>,
}

impl View for Keys {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(key) = &self.active_key {
            return writeln!(out, "{key}");
        }
        for key in &self.keys {
            let state = key.retired_at.map_or("active".to_owned(), |at| format!("retired {at:.0}"));
            writeln!(out, "{}  made {:.0}  {state}", key.id, key.created_at)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct RunKey {
    run_id: RunId,
    run_key: String,
    expires_at: jiff::Timestamp,
}

impl View for RunKey {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.run_key)
    }
}

fn keys(action: &KeyAction, context: &Context) -> Result<Exit, Failure> {
    let now = jiff::Timestamp::now();
    if let KeyAction::RunKey { run, hours } = action {
        return derive(run, *hours, now, context);
    }
    if admin_key_from_environment().is_some() && matches!(action, KeyAction::Rotate) {
        let error = anyhow::anyhow!("the admin key comes from BENCH_API_KEY, which cannot be rotated here");
        return Err(Failure::usage(error).hint("set another BENCH_API_KEY and start the orchestrator again"));
    }
    let mut file = open_keys(context, now)?;
    if matches!(action, KeyAction::Rotate) {
        file.rotate(&context.home, now).map_err(Failure::infrastructure)?;
    }
    let reveal = matches!(action, KeyAction::Show { reveal: true });
    let active_key = reveal.then(|| file.active().expose().to_owned());
    context.output.show(&Keys { keys: file.infos(), active_key });
    Ok(Exit::Done)
}

fn derive(run: &RunId, hours: u32, now: jiff::Timestamp, context: &Context) -> Result<Exit, Failure> {
    let admin = match admin_key_from_environment() {
        Some(key) => key,
        None => open_keys(context, now)?.active(),
    };
    let expires_at = now + jiff::SignedDuration::from_hours(hours.into());
    let key = run_key(&admin, run, expires_at.as_second());
    context.output.show(&RunKey { run_id: run.clone(), run_key: key.expose().to_owned(), expires_at });
    Ok(Exit::Done)
}

/// The keys of the home; none are made here.
fn open_keys(context: &Context, now: jiff::Timestamp) -> Result<KeyringFile, Failure> {
    let path = KeyringFile::path(&context.home);
    if !path.exists() {
        let error = anyhow::anyhow!("there are no keys in {}", context.home.display());
        return Err(
            Failure::usage(error).hint("`bench orchestrator` makes them; `--home` says where they are")
        );
    }
    KeyringFile::open(&context.home, now).map_err(Failure::infrastructure)
}

#[derive(Serialize)]
struct Copied {
    from: PathBuf,
    to: PathBuf,
}

impl View for Copied {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "copied {} to {}", self.from.display(), self.to.display())
    }
}

fn backup(file: &Path, context: &Context) -> Result<Exit, Failure> {
    let database = database_path(&context.home);
    store::backup_database(&database, file)
        .with_context(|| format!("could not back up {}", database.display()))
        .map_err(Failure::infrastructure)?;
    context.output.show(&Copied { from: database, to: file.to_owned() });
    Ok(Exit::Done)
}

fn restore(file: &Path, context: &Context) -> Result<Exit, Failure> {
    let database = database_path(&context.home);
    store::restore_backup(file, &database)
        .with_context(|| format!("could not restore {}", database.display()))
        .map_err(Failure::infrastructure)?;
    context.output.show(&Copied { from: file.to_owned(), to: database });
    Ok(Exit::Done)
}
