//! Folders that are embedded in the binary: a file that is added to one must rebuild it.

fn main() {
    println!("cargo::rerun-if-changed=infrastructure");
    println!("cargo::rerun-if-changed=nuke");
    println!("cargo::rerun-if-changed=templates");
}
