//! One home folder, one cloud, one orchestrator; and the configs that are run in them.

use std::path::{Path, PathBuf};
use std::process::Command;

use bench::client::Secret;
use bench::terraform::MetaOutputs;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::servers::{Moto, Orchestrator};

pub const BENCH: &str = env!("CARGO_BIN_EXE_bench");

pub struct World {
    pub moto: Moto,
    pub orchestrator: Orchestrator,
    folder: TempDir,
}

/// A provider instance and how many hosts it makes.
#[derive(Debug, Clone)]
pub struct Cloud {
    pub name: String,
    pub hosts: usize,
    settings: Value,
    instance_type: &'static str,
}

impl Cloud {
    pub fn aws(name: &str, hosts: usize) -> Cloud {
        Cloud::aws_in(name, hosts, "us-east-1")
    }

    pub fn aws_in(name: &str, hosts: usize, region: &str) -> Cloud {
        // Hosts get the program of this machine.
        let instance_type = if cfg!(target_arch = "aarch64") { "c7g.large" } else { "c7i.large" };
        Cloud {
            name: name.to_owned(),
            hosts,
            settings: json!({ "backend": "aws", "region": region }),
            instance_type,
        }
    }

    /// Hosts that are folders of this machine, of Terraform's built-in resource.
    pub fn loopback(name: &str, hosts: usize, world: &World) -> Cloud {
        let settings = json!({ "backend": "loopback", "directory": world.path("hosts"), "program": BENCH });
        Cloud { name: name.to_owned(), hosts, settings, instance_type: "single" }
    }

    /// Whether its hosts are processes of this machine.
    pub fn is_here(&self) -> bool {
        self.settings["backend"] == "loopback"
    }
}

impl World {
    pub fn new() -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (moto, orchestrator) = (Moto::start(folder.path()), Orchestrator::start(folder.path()));
        let world = World { moto, orchestrator, folder };
        let outputs = MetaOutputs {
            orchestrator_url: world.orchestrator.url.clone(),
            orchestrator_pin: world.orchestrator.pin.clone(),
            api_key: Secret::new("none"),
        };
        let state = world.hand_home().join("meta/terraform.tfstate");
        std::fs::create_dir_all(state.parent().expect("it has one")).expect("a writable folder");
        outputs.write(&state).expect("a writable folder");
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Where modules that are rendered for a look find the orchestrator.
    fn hand_home(&self) -> PathBuf {
        self.path("hand-home")
    }

    /// `bench`, or another program, with moto for AWS and nothing of the developer's that would change it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| is_foreign(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.current_dir(self.folder.path()).stdin(std::process::Stdio::null());
        command.env("AWS_ENDPOINT_URL", self.moto.url()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command.env("BENCH_OWNER", "figures").env("BENCH_API_KEY", &self.orchestrator.key);
        command.env("XDG_STATE_HOME", self.path("state")).env("CHECKPOINT_DISABLE", "1");
        command
    }

    /// A config with one task a host. All provider instances have the same number of them.
    pub fn config(&self, name: &str, clouds: &[Cloud]) -> PathBuf {
        let mut config = json!({
            "runs_per_instance_type": clouds[0].hosts,
            "task_runners": { "mode": "binary", "count": 1 },
            "workload": { "builtin": "cpu" },
            "limits": { "ttl_minutes": 60 },
            "providers": {},
        });
        for cloud in clouds {
            config["providers"][&cloud.name] = cloud.settings.clone();
            config[&cloud.name] = json!([{
                "instance_type": cloud.instance_type, "alias": cloud.name, "price_usd_per_h": 0.01,
            }]);
        }
        let path = self.path(&format!("{name}.json"));
        std::fs::write(&path, config.to_string()).expect("a writable folder");
        path
    }

    /// What Terraform is given, a folder for each provider instance.
    pub fn render(&self, name: &str, clouds: &[Cloud]) -> Vec<PathBuf> {
        let (config, target) = (self.config(name, clouds), self.path(&format!("{name}-by-hand")));
        let mut command = self.command(BENCH);
        command.arg("plan").arg(config).arg("--render").arg(&target).arg("--home").arg(self.hand_home());
        let output = command.args(FIXTURES).output().expect("bench starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        clouds.iter().map(|cloud| target.join(&cloud.name)).collect()
    }
}

/// Where the backend `loopback` is.
pub const FIXTURES: [&str; 2] =
    ["--infrastructure", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/providers")];

fn is_foreign(name: &str) -> bool {
    let kept = name == "TF_CLI_CONFIG_FILE" || name == "BENCH_TERRAFORM";
    !kept && ["AWS_", "BENCH_", "TF_"].iter().any(|prefix| name.starts_with(prefix))
}
