//! What must be there, said before anything is measured.

use bench::terraform::Terraform;

use crate::hand::{Init, apply, init};
use crate::world::{Cloud, World};

/// Programs.
pub fn check() -> Result<(), String> {
    Terraform::find().map_err(|error| error.to_string())?;
    for (program, how) in [
        ("moto_server", "pip install 'moto[server]==5.*'"),
        ("aws", "the AWS CLI lists what `bench nuke` deletes; pip install awscli is enough"),
    ] {
        which::which(program).map_err(|error| format!("`{program}`: {error} ({how})"))?;
    }
    Ok(())
}

/// Terraform's provider for AWS, by the first `init`, which also fills the cache that later ones by hand use; and a
/// first apply, after which moto has loaded what it loads once.
pub fn check_provider(world: &World) -> Result<(), String> {
    let folders = world.render("check", &[Cloud::aws("check", 1)]);
    init(world, &folders[0], Init::FirstTime).map_err(|said| {
        format!(
            "`terraform init` cannot get the AWS provider: {said}\n\
             It comes from the registry; where that cannot be reached, TF_CLI_CONFIG_FILE has to name a CLI \
             configuration with a `filesystem_mirror` that holds it."
        )
    })?;
    apply(world, &folders);
    world.moto.reset();
    Ok(())
}
