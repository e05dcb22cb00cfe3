//! Whatever has happened to Terraform's state, the end is the same. With real Terraform and its built-in
//! resource, which needs no provider.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::toy::Toy;

/// A module that says by a file that it was destroyed.
fn module(run_id: &str, mark: &Path) -> String {
    format!(
        r#"resource "terraform_data" "host" {{
  input = "{mark}"
  provisioner "local-exec" {{
    when    = destroy
    command = "touch '${{self.input}}'"
  }}
}}
output "run_id" {{
  value = "{run_id}"
}}
"#,
        mark = mark.display()
    )
}

fn terraform(folder: &Path, arguments: &[&str]) {
    let output = Command::new("terraform").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A workspace as an apply left it, and the file that a destroy makes.
fn applied(toy: &Toy, run_id: &str) -> (PathBuf, PathBuf) {
    let folder = toy.home().join("runs").join(run_id).join("providers/toy");
    let mark = toy.sandbox.path().join(format!("destroyed-{run_id}"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("main.tf"), module(run_id, &mark)).unwrap();
    terraform(&folder, &["init", "-input=false"]);
    terraform(&folder, &["apply", "-auto-approve", "-input=false"]);
    toy.intend_in(run_id, "north", &folder);
    toy.make_run(run_id, "north");
    (folder, mark)
}

#[test]
fn terraform_destroys_what_it_knows_and_the_sweep_the_rest() {
    let toy = Toy::new();
    let (folder, mark) = applied(&toy, "r1");
    let answer = toy.nuke(&[]);
    assert_eq!((answer.code, mark.exists(), toy.living().len()), (0, true, 0), "{:#}", answer.report);
    assert_eq!(answer.report["terraform"][0]["outcome"], "destroyed");
    assert!(folder.join("terraform.tfstate").exists());
}

#[test]
fn a_state_that_is_missing_empty_cut_short_or_of_another_run_is_no_obstacle() {
    let toy = Toy::new();
    let (folder, mark) = applied(&toy, "r1");
    let state = folder.join("terraform.tfstate");
    let whole = std::fs::read(&state).unwrap();
    let other = String::from_utf8(whole.clone()).unwrap().replace("\"r1\"", "\"r9\"");
    let broken: [(&str, Option<&[u8]>, &str); 4] = [
        ("missing", None, "there is no state"),
        ("empty", Some(b""), "not readable"),
        ("cut short", Some(&whole[..whole.len() / 2]), "not readable"),
        ("of another run", Some(other.as_bytes()), "another run"),
    ];
    for (name, bytes, why) in broken {
        toy.make_run("r1", "north");
        let _ = std::fs::remove_file(folder.join("terraform.tfstate.backup"));
        match bytes {
            Some(bytes) => std::fs::write(&state, bytes).unwrap(),
            None => std::fs::remove_file(&state).unwrap(),
        }
        let answer = toy.nuke(&[]);
        assert_eq!((answer.code, toy.living().len()), (0, 0), "{name}: {:#}\n{}", answer.report, answer.told);
        let terraform = &answer.report["terraform"][0];
        assert_eq!(terraform["outcome"], "skipped", "{name}");
        assert!(terraform["why"].as_str().unwrap().contains(why), "{name}: {terraform}");
        assert!(!mark.exists(), "{name}: it destroyed by a state that was not its own");
    }
}
