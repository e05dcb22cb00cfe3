//! Whole files of a small backend, as snapshots.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::json;

use super::*;
use crate::client::Secret;
use crate::plan::{PlannedProvider, PlannedType, Totals};
use crate::provider::{Arch, Driver, Manifest, OrchestratorKind, Phase};

const MODULE: &str = r#"
variable "run_id" {}
variable "owner" {}
variable "provider_name" {}
variable "instance_types" {}
variable "vcpu_count" {}
variable "instance_count" {}
variable "tags" {}
variable "run_key" {}
variable "runner" {}
variable "region" {}
"#;
const TEMPLATE: &str = "#!/bin/sh\n{{#if mode_image}}docker run '${image}'{{else}}fetch '${binary_url}'{{/if}}\n\
                        {{#if spot_watch}}watch{{else}}steady{{/if}} {{package_manager}} ${runners} '${orchestrator_url}'\n";

fn manifest(limit: u32) -> Manifest {
    let json = json!({
        "name": "toy", "description": "d", "phase": "pre_orchestrator", "driver": "terraform",
        "orchestrator": "public",
        "user_data": { "template": "boot.sh.hbs", "limit_bytes": limit, "encoding": "plain" },
    });
    serde_json::from_value(json).unwrap()
}

fn planned() -> PlannedProvider {
    let row = PlannedType {
        alias: "small".parse().unwrap(),
        instance_type: "s-1".into(),
        vcpu: 2,
        arch: Arch::Arm64,
        effective_vcpu: 2,
        instances: 3,
        tasks: 6,
        memory_gib: None,
        threads_per_core: None,
        burstable: false,
        spot: true,
        max_price_usd_per_h: Some(0.5),
        price_usd_per_h: None,
        hourly_cost_usd: None,
    };
    let settings = json!({ "region": "north", "zone": "undeclared" });
    PlannedProvider {
        name: "toy-north".into(),
        backend: "toy".into(),
        phase: Phase::PreOrchestrator,
        driver: Driver::Terraform,
        orchestrator: OrchestratorKind::Public,
        settings: settings.as_object().unwrap().clone(),
        vcpu_count: IndexMap::from([(row.alias.clone(), 2)]),
        instance_count: IndexMap::from([(row.alias.clone(), 3)]),
        totals: Totals::default(),
        instance_types: vec![row],
    }
}

fn rendered(runner: &Runner, limit: u32, template: &str) -> Result<Rendered, RenderError> {
    let run = RunFacts {
        run_id: "20261120-101500-k3v9".parse().unwrap(),
        owner: "me".into(),
        ruby_version: None,
        mock: false,
        debug: false,
        ttl_minutes: 240,
        expires_at: 1_800_000_000,
        run_key: Secret::new("rk.secret"),
        meta_state_path: "/home/me/.bench/meta/terraform.tfstate".into(),
        tags: BTreeMap::from([("team".into(), "a".into()), ("bench_owner".into(), "forged".into())]),
    };
    render(&Inputs {
        run: &run,
        provider: &planned(),
        manifest: &manifest(limit),
        runner,
        module: &Module::parse([("main.tf".to_owned(), MODULE.to_owned())]).unwrap(),
        extra: &[("notes.txt".to_owned(), b"as it is".to_vec())],
        templates: &Templates::new([("boot.sh.hbs".to_owned(), template.to_owned())]),
    })
}

fn binary() -> Runner {
    let file = BinaryFile { url: "/api/v1/binaries/x".into(), sha256: "0".repeat(64) };
    Runner::Binary { binaries: IndexMap::from([(Arch::Arm64, file)]) }
}

#[test]
fn a_folder_with_an_image() {
    let runner = Runner::Image { image: "registry.example.com/bench:1".into() };
    let rendered = rendered(&runner, 1_000, TEMPLATE).unwrap();
    assert_eq!(rendered.files.get("main.tf").unwrap(), MODULE.as_bytes());
    assert_eq!(rendered.files.get("notes.txt").unwrap(), b"as it is");
    let text = |name: &str| String::from_utf8(rendered.files.get(name).unwrap().to_vec()).unwrap();
    insta::assert_snapshot!("image_tfvars", text(TFVARS));
    insta::assert_snapshot!("image_user_data", text(USER_DATA));
    assert!(!format!("{rendered:?}").contains("rk.secret"));
}

#[test]
fn a_folder_with_a_binary() {
    let rendered = rendered(&binary(), 1_000, TEMPLATE).unwrap();
    let text = |name: &str| String::from_utf8(rendered.files.get(name).unwrap().to_vec()).unwrap();
    insta::assert_snapshot!("binary_user_data", text(USER_DATA));
    let values: serde_json::Value = serde_json::from_str(&text(TFVARS)).unwrap();
    let arm64 = json!({ "url": "/api/v1/binaries/x", "sha256": "0".repeat(64) });
    assert_eq!(values["runner"]["binaries"], json!({ "arm64": arm64 }));
}

#[test]
fn user_data_that_could_become_too_large_is_refused_before_anything_is_made() {
    let size = rendered(&binary(), 1_000, TEMPLATE).unwrap().user_data.unwrap();
    // The longest address of an orchestrator is in it.
    assert!(size.raw > 270 && size.raw == size.encoded, "{size:?}");
    assert!(rendered(&binary(), size.encoded as u32, TEMPLATE).is_ok());
    let error = rendered(&binary(), size.encoded as u32 - 1, TEMPLATE).unwrap_err();
    let RenderError::TooLarge { provider, .. } = &error else { panic!("{error}") };
    assert_eq!(provider, "toy-north");
}

#[test]
fn mistakes_in_a_template_are_found() {
    assert!(matches!(rendered(&binary(), 1_000, "{{nothing}}"), Err(RenderError::Template(_))));
    assert!(matches!(rendered(&binary(), 1_000, "${unclosed"), Err(RenderError::UserData { .. })));
    assert!(matches!(rendered(&binary(), 1_000, "${no_function(1)}"), Err(RenderError::UserData { .. })));
}
