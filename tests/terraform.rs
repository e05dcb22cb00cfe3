//! Drives the real Terraform on the fixture `loopback`, whose hosts are folders of this machine.
//!
//! Skipped, with a reason, where there is no Terraform; with `BENCH_REQUIRE_TERRAFORM` set that is a failure.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

#[path = "terraform/adoption.rs"]
mod adoption;
#[path = "terraform/failures.rs"]
mod failures;
#[path = "terraform/init.rs"]
mod init;
#[path = "terraform/interrupts.rs"]
mod interrupts;
#[path = "terraform/lifecycle.rs"]
mod lifecycle;
#[path = "terraform/setup.rs"]
mod setup;
#[path = "terraform/whole.rs"]
mod whole;
