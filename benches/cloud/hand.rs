//! Terraform by hand, as somebody without `bench` would run it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bench::terraform::Terraform;

use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// Without a lock file. Fills the plugin cache.
    FirstTime,
    /// With a lock file, providers from where the CLI configuration says.
    Locked,
    /// With a lock file and a plugin cache that has them.
    Cached,
}

const DATA: &str = ".terraform";
const LOCK: &str = ".terraform.lock.hcl";

/// Runs `terraform init`. What it said, where it failed.
pub fn init(world: &World, folder: &Path, how: Init) -> Result<Duration, String> {
    let _ = std::fs::remove_dir_all(folder.join(DATA));
    if how == Init::FirstTime {
        let _ = std::fs::remove_file(folder.join(LOCK));
    }
    let mut command = world.command(program());
    command.args(["init", "-input=false", "-no-color"]).current_dir(folder);
    if how != Init::Locked {
        let cache = world.path("plugin-cache");
        std::fs::create_dir_all(&cache).expect("a writable folder");
        command.env("TF_PLUGIN_CACHE_DIR", cache);
    }
    let begun = Instant::now();
    let output = command.output().expect("terraform starts");
    let time = begun.elapsed();
    match output.status.success() {
        true => Ok(time),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Makes folders ready for an apply, once.
pub fn ready(world: &World, folders: &[PathBuf]) {
    for folder in folders {
        init(world, folder, Init::FirstTime).unwrap_or_else(|said| panic!("terraform init: {said}"));
    }
}

/// `terraform apply` in all folders at once, from nothing.
pub fn apply(world: &World, folders: &[PathBuf]) -> Duration {
    for folder in folders {
        for state in ["terraform.tfstate", "terraform.tfstate.backup"] {
            let _ = std::fs::remove_file(folder.join(state));
        }
    }
    side_by_side(world, folders, "apply")
}

/// `terraform destroy` in all folders at once.
pub fn destroy(world: &World, folders: &[PathBuf]) -> Duration {
    side_by_side(world, folders, "destroy")
}

fn side_by_side(world: &World, folders: &[PathBuf], operation: &str) -> Duration {
    let begun = Instant::now();
    let children: Vec<Child> = folders.iter().map(|folder| start(world, folder, operation)).collect();
    for (mut child, folder) in children.into_iter().zip(folders) {
        let status = child.wait().expect("terraform can be waited for");
        let said = || std::fs::read_to_string(folder.join(format!("{operation}.log"))).unwrap_or_default();
        assert!(status.success(), "terraform {operation} in {}: {}", folder.display(), said());
    }
    begun.elapsed()
}

fn start(world: &World, folder: &Path, operation: &str) -> Child {
    let log = File::create(folder.join(format!("{operation}.log"))).expect("a writable folder");
    let mut command = world.command(program());
    command.args([operation, "-input=false", "-no-color", "-auto-approve", "-parallelism=30"]);
    command.current_dir(folder).stderr(log.try_clone().expect("a file")).stdout(Stdio::from(log));
    command.spawn().expect("terraform starts")
}

fn program() -> PathBuf {
    Terraform::find().expect("it was there a moment ago").program
}
