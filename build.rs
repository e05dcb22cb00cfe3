//! Folders that are embedded in the binary: a file that is added to one must rebuild it.

#[expect(clippy::print_stdout, reason = "how a build script talks to cargo")]
fn main() {
    println!("cargo::rerun-if-changed=infrastructure");
}
