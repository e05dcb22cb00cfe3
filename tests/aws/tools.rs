//! What the tests need of this machine, looked for once.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{describe, repository};
use crate::world::World;

pub struct Tools {
    pub moto: PathBuf,
    pub aws: PathBuf,
    /// Terraform's CLI configuration: AWS's provider comes from this machine.
    pub terraform_config: PathBuf,
    /// This bench without symbols: it travels to every instance.
    pub bench: PathBuf,
}

/// # Errors
/// What is missing.
pub fn find() -> Result<Tools, String> {
    let program = |name: &str| which::which(name).map_err(|_missing| format!("{name} is missing"));
    for name in ["python3", "curl", "unshare", "nsenter"] {
        program(name)?;
    }
    // Dropped, it is gone.
    World::new(&[])?;
    let (moto, aws) = (program("moto_server")?, program("aws")?);
    bench::terraform::Terraform::find().map_err(|error| error.to_string())?;
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("aws");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let terraform_config = mirror(&folder)?;
    Ok(Tools { moto, aws, terraform_config, bench: stripped(&folder)? })
}

/// AWS's provider as Terraform unpacks it, from whichever mirror or registry this machine is set up for. The tests
/// themselves reach no network.
fn mirror(folder: &Path) -> Result<PathBuf, String> {
    let versions = repository("infrastructure/aws/versions.tf");
    let module = folder.join("provider");
    std::fs::create_dir_all(&module).map_err(|error| error.to_string())?;
    let text = std::fs::read_to_string(versions).map_err(|error| error.to_string())?;
    // Only what it requires; the rest asks for variables.
    let required = text.split("\nprovider ").next().unwrap_or_default();
    std::fs::write(module.join("versions.tf"), required).map_err(|error| error.to_string())?;
    let init = Command::new("terraform")
        .args(["init", "-input=false", "-no-color"])
        .current_dir(&module)
        .env("CHECKPOINT_DISABLE", "1")
        .output()
        .map_err(|error| error.to_string())?;
    if !init.status.success() {
        return Err(format!("no provider mirror or registry has hashicorp/aws: {}", describe(&init)));
    }
    let config = folder.join("terraform.rc");
    let path = module.join(".terraform/providers");
    let text = format!("provider_installation {{\n  filesystem_mirror {{ path = {path:?} }}\n}}\n");
    std::fs::write(&config, text).map_err(|error| error.to_string())?;
    Ok(config)
}

fn stripped(folder: &Path) -> Result<PathBuf, String> {
    let fresh = folder.join(format!("bench.{}", std::process::id()));
    let original = env!("CARGO_BIN_EXE_bench");
    let done = Command::new("strip").arg("-o").arg(&fresh).arg(original).status();
    if !done.is_ok_and(|status| status.success()) {
        std::fs::copy(original, &fresh).map_err(|error| error.to_string())?;
    }
    let program = folder.join("bench");
    std::fs::rename(&fresh, &program).map_err(|error| error.to_string())?;
    Ok(program)
}
