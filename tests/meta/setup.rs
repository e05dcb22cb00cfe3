//! A home with a meta stack whose machine is a folder. When it is dropped, the machine ends.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bench::config::MetaSettings;
use bench::ledger::Ledger;
use bench::master::home::Home;
use bench::master::interrupt::Interrupts;
use bench::master::meta::{MetaFolder, MetaPlan, MetaRecord, MetaStep, Patience, Programs, Setup, Stack};
use bench::master::progress::{MasterEvent, Progress};
use bench::provider::{MachineFacts, Registry};
use bench::terraform::{InitCache, Terraform, Tools};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Whether the tests can run. Says why not.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
pub fn terraform_is_there() -> bool {
    match Terraform::find() {
        Ok(_) => true,
        Err(error) if std::env::var_os("BENCH_REQUIRE_TERRAFORM").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            false
        }
    }
}

pub struct Place {
    dir: tempfile::TempDir,
    address: String,
}

/// Keeps what it is told.
#[derive(Default)]
pub struct Told(Mutex<Vec<MetaStep>>);

impl Progress for Told {
    fn tell(&self, event: &MasterEvent) {
        if let MasterEvent::Meta(step) = event {
            self.0.lock().unwrap().push(step.clone());
        }
    }
}

impl Told {
    pub fn steps(&self) -> Vec<MetaStep> {
        self.0.lock().unwrap().clone()
    }

    pub fn applied(&self) -> bool {
        self.steps().iter().any(|step| matches!(step, MetaStep::Applying { .. }))
    }
}

/// One master.
pub struct Master {
    pub stack: Stack,
    pub told: Arc<Told>,
    pub interrupt: watch::Sender<u32>,
}

impl Place {
    pub fn new() -> Place {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Place { dir: tempfile::tempdir().unwrap(), address: free.to_string() }
    }

    pub fn home(&self) -> Home {
        Home::new(self.dir.path().join(".bench"))
    }

    /// The folder that is the machine.
    pub fn machine(&self) -> PathBuf {
        self.dir.path().join("machine")
    }

    pub fn gate(&self) -> PathBuf {
        self.dir.path().join("gate")
    }

    /// How often a machine was booted in this folder, since it was last removed.
    pub fn boots(&self) -> usize {
        let boots = fs_err::read_to_string(self.machine().join("boots")).unwrap_or_default();
        boots.lines().count()
    }

    pub fn record(&self) -> Option<MetaRecord> {
        MetaRecord::load(&self.home().root().join("orchestrator.json")).unwrap()
    }

    /// How many commands Terraform was given in the stack's folder.
    pub fn jobs(&self) -> u64 {
        let job = fs_err::read(self.home().root().join("meta/logs/job.json")).unwrap();
        serde_json::from_slice::<Value>(&job).unwrap()["number"].as_u64().unwrap()
    }

    pub fn master(&self, settings: Value, change: impl FnOnce(&mut Setup)) -> Master {
        let mut given = json!({ "directory": self.machine(), "address": self.address });
        given.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let Value::Object(given) = given else { unreachable!("an object") };
        let stacks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stacks");
        let registry = Registry::load(&[stacks]).unwrap();
        let bench = PathBuf::from(env!("CARGO_BIN_EXE_bench"));
        let none = BTreeMap::new();
        let programs = Programs { own: bench.clone(), own_arch: MachineFacts::read().arch, others: &none };
        let settings = MetaSettings { backend: "meta".into(), given };
        let home = self.home();
        let mut setup = Setup {
            plan: MetaPlan::new(&settings, &registry, &programs, "tester".parse().unwrap()).unwrap(),
            folder: MetaFolder::of(&home),
            tools: Tools { bench, ..Tools::find().unwrap() },
            cache: InitCache::new(home.root().join("init")),
            ledger: Ledger::of(&home),
            may_make: true,
            patience: Patience { probe: Duration::from_secs(10), boot: Duration::from_secs(60) },
        };
        change(&mut setup);
        let told = Arc::new(Told::default());
        let (interrupt, count) = watch::channel(0);
        let stack = Stack::new(setup, told.clone(), Interrupts::from_channel(count));
        Master { stack, told, interrupt }
    }

    /// The machine goes as one that powered itself off: with all that ran on it.
    pub fn end_machine(&self) {
        self.kill();
        let ended = self.dir.path().join("machine.ended");
        fs_err::write(&ended, format!("{}", self.boots())).unwrap();
        fs_err::remove_dir_all(self.machine()).unwrap();
    }

    /// Everything that ran on the machine ends; the machine stays.
    pub fn kill(&self) {
        let pid = fs_err::read_to_string(self.machine().join("pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse::<i32>() {
            let group = nix::unistd::Pid::from_raw(-pid);
            let _ = nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs_err::write(self.gate(), "").unwrap();
        self.kill();
    }
}

/// Waits until a condition holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
