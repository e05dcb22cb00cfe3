//! The tests that a backend's folder brings, read before Terraform is: whether they could fail, and whether they
//! leave the cloud alone.

use std::io;
use std::path::Path;

use hcl::{Block, BlockLabel, Body};

use crate::master::home::write_private;
use crate::provider::Folder;
use crate::render::Module;

const EXTENSION: &str = ".tftest.hcl";
/// Comes with Terraform and makes nothing outside its state.
const BUILT_IN: &str = "terraform";

/// Files by name.
pub(super) struct Tests(Vec<(String, Vec<u8>)>);

impl Tests {
    pub(super) fn read(folder: &Folder) -> io::Result<Tests> {
        let names = folder.files()?.into_iter().filter(|name| name.ends_with(EXTENSION));
        names.map(|name| Ok((name.clone(), folder.read(&name)?))).collect::<io::Result<_>>().map(Tests)
    }

    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        self.0.iter().try_for_each(|(name, bytes)| write_private(&folder.join(name), bytes))
    }

    /// Why they do not count, whatever Terraform would say of them.
    pub(super) fn flaws(&self, module: &Module) -> Vec<String> {
        if self.0.is_empty() {
            return vec![format!(
                "the folder holds no *{EXTENSION}: add one with {}and a `run` block that asserts what the module \
                 makes (`bench provider new` writes one to start from)",
                wanted_mocks(module)
            )];
        }
        let mut flaws = Vec::new();
        let mut asserts = false;
        for (name, bytes) in &self.0 {
            match hcl::parse(&String::from_utf8_lossy(bytes)) {
                Ok(body) => {
                    asserts |= runs(&body).any(can_fail);
                    flaws.extend(unmocked(name, &body, module));
                }
                Err(error) => flaws.push(format!("`{name}` is not valid: {error}")),
            }
        }
        if flaws.is_empty() && !asserts {
            flaws.push(format!(
                "no `run` block of the folder's *{EXTENSION} has an `assert` or `expect_failures`: they cannot fail"
            ));
        }
        flaws
    }
}

fn wanted_mocks(module: &Module) -> String {
    let mocks = mocked_providers(module).map(|provider| format!("`mock_provider \"{provider}\" {{}}`, "));
    mocks.collect()
}

fn mocked_providers(module: &Module) -> impl Iterator<Item = String> {
    module.required_providers().into_keys().filter(|provider| provider != BUILT_IN)
}

fn unmocked(file: &str, body: &Body, module: &Module) -> Vec<String> {
    let is_mocked = |provider: &String| blocks(body, "mock_provider").any(|block| label(block) == provider);
    let missing =
        mocked_providers(module).filter(|provider| runs(body).next().is_some() && !is_mocked(provider));
    missing
        .map(|provider| {
            format!("`{file}` has no `mock_provider \"{provider}\"`: it would make what is billed")
        })
        .collect()
}

fn runs(body: &Body) -> impl Iterator<Item = &Block> {
    blocks(body, "run")
}

fn blocks<'b>(body: &'b Body, kind: &'static str) -> impl Iterator<Item = &'b Block> {
    body.blocks().filter(move |block| block.identifier.as_str() == kind)
}

fn label(block: &Block) -> &str {
    block.labels.first().map(BlockLabel::as_str).unwrap_or_default()
}

fn can_fail(run: &Block) -> bool {
    run.body.blocks().any(|block| block.identifier.as_str() == "assert")
        || run.body.attributes().any(|attribute| attribute.key.as_str() == "expect_failures")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = "terraform {\n required_providers {\n cloud = { source = \"a/cloud\" }\n }\n}";

    fn flaws(files: &[(&str, &str)]) -> String {
        let module = Module::parse([("main.tf".to_owned(), MODULE.to_owned())]).unwrap();
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        Tests(files.collect()).flaws(&module).join("\n")
    }

    #[test]
    fn a_folder_without_tests_is_told_what_to_add() {
        let told = flaws(&[]);
        assert!(
            told.contains("no *.tftest.hcl: add one with `mock_provider \"cloud\" {}`, and a `run`"),
            "{told}"
        );
    }

    #[test]
    fn tests_that_cannot_fail_or_would_reach_the_cloud_do_not_count() {
        let mock = r#"mock_provider "cloud" {}"#;
        let run = "run \"r\" {\n assert {\n condition = true\n }\n}";
        assert_eq!(flaws(&[("a.tftest.hcl", &format!("{mock}\n{run}"))]), "");
        let refused = r#"run "r" { expect_failures = [var.x] }"#;
        assert_eq!(flaws(&[("a.tftest.hcl", &format!("{mock}\n{refused}"))]), "");
        assert!(flaws(&[("a.tftest.hcl", mock)]).contains("cannot fail"));
        assert!(flaws(&[("a.tftest.hcl", &format!("{mock}\nrun \"r\" {{}}"))]).contains("cannot fail"));
        let told = flaws(&[("a.tftest.hcl", run), ("b.tftest.hcl", &format!("{mock}\n{run}"))]);
        assert_eq!(told, "`a.tftest.hcl` has no `mock_provider \"cloud\"`: it would make what is billed");
        assert!(flaws(&[("a.tftest.hcl", "run {")]).contains("`a.tftest.hcl` is not valid"));
    }
}
