//! The orchestrator over HTTP: started in this process on a free port with a home of its own, or as the real
//! binary where a process has to die.

mod api;
mod browser;
mod dashboard;
mod deliver;
mod events;
mod harness;
mod hostile;
mod keys;
mod limits;
mod openapi;
mod operations;
mod process;
mod s3;
mod signed;
mod tls;
mod waiting;
