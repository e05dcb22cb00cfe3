//! Load on the orchestrator: `cargo bench --bench orchestrator` prints every figure as a ratio of medians, with
//! server and clients on this machine. `-- --quick` takes one short round of each, to see that it works;
//! `-- --handlers`, `-- --store` and `-- --latencies` measure one part alone.
//!
//! ```text
//!  this process: clients (raw keep-alive connections) ──HTTP──▶ child process: bare | null | sqlite | postgres
//! ```

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod connection;
mod crash;
mod disk;
mod figures;
mod load;
mod server;

use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Measurements of each kind; medians are of these.
    pub rounds: usize,
    pub round: Duration,
    pub kills: usize,
    /// Tasks in the queue of a round.
    pub tasks: u32,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    raise_file_limit();
    if let Some(kind) = server::Kind::of_arguments(&arguments) {
        return server::serve(kind, &arguments[2]);
    }
    let effort = match arguments.iter().any(|argument| argument == "--quick") {
        true => Effort { rounds: 1, round: Duration::from_millis(500), kills: 3, tasks: 20_000 },
        false => Effort { rounds: 5, round: Duration::from_secs(2), kills: 20, tasks: 150_000 },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let only = |name: &str| arguments.iter().any(|argument| argument == name);
    match () {
        () if only("--handlers") => runtime.block_on(figures::print_handlers(effort)),
        () if only("--latencies") => runtime.block_on(figures::latencies(effort)),
        () if only("--store") => runtime.block_on(figures::print_store(effort)),
        () => runtime.block_on(figures::print_all(effort)),
    }
}

/// Every connection is a file, on both sides; child processes inherit the limit.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the hard limit is allowed");
}
