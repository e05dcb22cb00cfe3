//! The meta stack's life with the real Terraform, on a fixture whose machine is a folder of this one: made
//! once, shared, made anew when it died, replaced when nobody uses it.
//!
//! Skipped, with a reason, where there is no Terraform; with `BENCH_REQUIRE_TERRAFORM` set that is a failure.

mod life;
mod setup;
mod trouble;
