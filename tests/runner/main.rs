//! Task runners and their launchers, as processes of the real binary.

mod agent;
mod fake;
mod launch;
mod orchestrated;
mod workloads;
