//! `bench nuke`: what carries our owner and run goes, everything else stays, and the exit code tells the truth.
//! In a cloud of files (`tests/fixtures/providers/toy`).

#[path = "../common/mod.rs"]
mod common;

mod accounts;
mod deaths;
mod doubts;
mod ownership;
mod states;
mod toy;
