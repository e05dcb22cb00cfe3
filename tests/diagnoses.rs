//! What clouds say through Terraform is put into the right class by each backend's own data.

use bench::provider::Registry;
use bench::terraform::{Diagnostic, Diagnostician, FailureClass, Severity};
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    diagnostics: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    class: FailureClass,
    code: Option<String>,
    summary: String,
}

#[test]
fn failures_of_every_cloud_are_put_into_their_class() {
    let registry = Registry::embedded().unwrap();
    for file in fs_err::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/diagnostics")).unwrap()
    {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let diagnostician = Diagnostician::new(&registry.get(name).unwrap().manifest);
        let recorded: Recorded = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        for case in recorded.diagnostics {
            let said = Diagnostic {
                severity: Severity::Error,
                summary: case.summary.clone(),
                detail: String::new(),
                address: None,
            };
            let found = diagnostician.diagnose(&[said]);
            assert_eq!((found.class, found.code), (case.class, case.code), "{name}: {}", case.summary);
        }
    }
}

#[test]
fn every_backend_that_terraform_drives_has_recorded_failures() {
    let registry = Registry::embedded().unwrap();
    for backend in registry.iter().filter(|backend| !backend.manifest.error_classes.is_empty()) {
        let file = format!("tests/fixtures/diagnostics/{}.json", backend.name());
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
        assert!(path.is_file(), "{file} is missing: what does the cloud say when a call fails?");
    }
}
