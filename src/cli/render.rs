//! `bench plan --render`: what Terraform would be given, for a look.

use std::path::Path;

use indexmap::IndexMap;

use super::{Context, Failure};
use crate::client::Secret;
use crate::config::{RunConfig, RunnerSource};
use crate::master::home::{create_private_dir, write_private};
use crate::plan::{Plan, PlannedProvider};
use crate::provider::{Arch, Driver, Registry};
use crate::render::{self, BinaryFile, Inputs, RunFacts, Runner};
use crate::terraform::Source;

/// Stands where a run has its own; long enough for the size of user-data to be right.
const RUN_ID: &str = "00000000-000000-plan";
const KEY: &str = "rk.made-up.for.a.look.0000000000000000000000000000000000000000000";

/// Writes one folder a provider instance with Terraform. The others have nothing to render.
pub fn render(
    folder: &Path,
    config: &RunConfig,
    plan: &Plan,
    registry: &Registry,
    context: &Context,
) -> Result<(), Failure> {
    let run = run_facts(config, plan, context)?;
    let runner = Runner::new(&plan.runner_source, binaries(&plan.runner_source));
    for provider in plan.providers.iter().filter(|provider| provider.driver == Driver::Terraform) {
        let target = folder.join(&provider.name);
        let size = render_one(&target, provider, &run, &runner, registry)?;
        let size = size.map(|size| format!(", user-data at most {} of {} bytes", size.encoded, size.limit));
        context.output.note(&format!("rendered {}{}", target.display(), size.unwrap_or_default()));
    }
    Ok(())
}

fn render_one(
    target: &Path,
    provider: &PlannedProvider,
    run: &RunFacts,
    runner: &Runner,
    registry: &Registry,
) -> Result<Option<render::Size>, Failure> {
    let backend = registry.get(&provider.backend).expect("the plan was made with this registry");
    let source = Source::load(&backend.folder).map_err(Failure::usage)?;
    let inputs = Inputs {
        run,
        provider,
        manifest: &backend.manifest,
        runner,
        module: &source.module,
        extra: &source.extra,
        templates: &source.templates,
    };
    let rendered = render::render(&inputs).map_err(Failure::usage)?;
    create_private_dir(target).map_err(Failure::usage)?;
    for (name, bytes) in rendered.files.iter() {
        write_private(&target.join(name), bytes).map_err(Failure::usage)?;
    }
    Ok(rendered.user_data)
}

fn run_facts(config: &RunConfig, plan: &Plan, context: &Context) -> Result<RunFacts, Failure> {
    let home = std::path::absolute(&context.home).map_err(Failure::usage)?;
    let expires = jiff::Timestamp::now().as_second() + i64::from(plan.ttl_minutes) * 60;
    Ok(RunFacts {
        run_id: RUN_ID.parse().expect("the constant is a run id"),
        owner: "made-up-owner".into(),
        ruby_version: config.ruby_version.clone(),
        mock: false,
        debug: false,
        ttl_minutes: plan.ttl_minutes,
        expires_at: expires,
        run_key: Secret::new(KEY),
        meta_state_path: home.join("meta").join("terraform.tfstate"),
        tags: Default::default(),
    })
}

/// Addresses as the orchestrator would give them; digests of files that were not read yet are made up.
fn binaries(source: &RunnerSource) -> IndexMap<Arch, BinaryFile> {
    let named = match source {
        RunnerSource::Image { .. } => return IndexMap::new(),
        RunnerSource::Build { .. } => None,
        RunnerSource::Binary { binaries } => Some(binaries),
    };
    let of = |arch: Arch| {
        let named = named.and_then(|binaries| binaries.get(&arch));
        let sha256 = named.map_or_else(|| "0".repeat(64), |binary| binary.sha256.clone());
        (arch, BinaryFile { url: format!("/api/v1/binaries/{sha256}"), sha256 })
    };
    [Arch::Arm64, Arch::X86_64].map(of).into_iter().collect()
}
