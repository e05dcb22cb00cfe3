//! `init` with a provider that has to be fetched: once for all folders with the same module.

use bench::provider::Registry;
use bench::render::Files;
use bench::terraform::{Command, InitCache, JobState, TerraformError, Tools, Workspace};

use crate::setup::terraform_is_there;

const MODULE: &str = r#"
terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "5.100.0" }
  }
}
"#;

fn workspace(root: &std::path::Path, name: &str) -> (Workspace, Tools) {
    let tools = Tools { bench: env!("CARGO_BIN_EXE_bench").into(), ..Tools::find().unwrap() };
    let registry = Registry::embedded().unwrap();
    let workspace = Workspace::new(root.join(name), &tools, &registry.get("local").unwrap().manifest);
    let mut files = Files::default();
    files.insert("versions.tf", MODULE);
    workspace.prepare(&files).unwrap();
    (workspace, tools)
}

#[tokio::test]
async fn a_provider_is_fetched_once_and_every_folder_can_use_it() {
    if !terraform_is_there() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let cache = InitCache::new(root.path().join("init"));
    let (first, tools) = workspace(root.path(), "first");
    let (second, _) = workspace(root.path(), "second");
    let (a, b) = tokio::join!(first.init(&cache), second.init(&cache));
    if let Err(error) = a.and(b) {
        let diagnosis = error.diagnosis().map(|diagnosis| diagnosis.class);
        assert!(matches!(error, TerraformError::Failed { .. }), "{error}");
        eprintln!("skipped: no mirror and no registry has the provider ({diagnosis:?}): {error}");
        return;
    }
    // Terraform ran in the cache only, and only once.
    for workspace in [&first, &second] {
        assert_eq!(workspace.state().unwrap(), JobState::None);
        assert!(workspace.folder().join(".terraform.lock.hcl").is_file());
        let validated = tools.run(workspace.folder(), Command::Validate).await.unwrap();
        assert!(validated.status.success(), "{}", String::from_utf8_lossy(&validated.stdout));
    }
    let folders =
        fs_err::read_dir(cache.root()).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir());
    let folders: Vec<_> = folders.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 1);
    let job = fs_err::read_to_string(folders[0].join("logs/job.json")).unwrap();
    assert!(job.contains("\"number\":1"), "{job}");
    // A folder that lost its providers gets them back.
    fs_err::remove_dir_all(second.folder().join(".terraform")).unwrap();
    second.init(&cache).await.unwrap();
    assert!(second.folder().join(".terraform/providers").is_dir());
}
