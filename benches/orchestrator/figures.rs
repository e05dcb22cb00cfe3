//! The table of figures: what is measured against what.

use std::time::Duration;

use bench::api::RunId;

use crate::Effort;
use crate::crash::crash_loop;
use crate::disk::sync_p99;
use crate::load::{Pattern, Seen, create_run, quantile, round};
use crate::server::{Kind, Server};

const PACE: Duration = Duration::from_millis(200);
/// From the creation of a run to its first claim: until the disk has it all. Hosts need longer to boot.
const REST: Duration = Duration::from_secs(1);

/// Measures of one kind, round by round.
#[derive(Default)]
struct Series {
    rates: Vec<f64>,
    claim_p99: Vec<f64>,
    heartbeat_p99: Vec<f64>,
    claims_per_sync: Vec<f64>,
    duplicates: usize,
    errors: u64,
}

impl Series {
    fn add(&mut self, mut seen: Seen, syncs: f64) {
        self.rates.push(seen.rate());
        self.duplicates += seen.duplicates();
        self.errors += seen.errors;
        self.claims_per_sync.push(seen.claimed.len() as f64 / syncs);
        self.claim_p99.push(quantile(&mut seen.claim_us, 0.99));
        self.heartbeat_p99.push(quantile(&mut seen.heartbeat_us, 0.99));
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One round against a server that is started for it, so that rounds do not inherit from each other.
async fn measure(series: &mut Series, kind: Kind, clients: usize, pattern: Pattern, effort: Effort) {
    let home = tempfile::tempdir().expect("a folder");
    let server = Server::start(kind, home.path());
    let run: RunId = match kind {
        Kind::Bare => "bare".parse().expect("a run id"),
        _ => create_run(&server, effort.tasks).await,
    };
    tokio::time::sleep(REST).await;
    let has_syncs = kind == Kind::Sqlite;
    let before = if has_syncs { server.metric("bench_store_commits_total").await } else { 0.0 };
    let seen = round(&server, &run, clients, pattern, effort.round).await;
    let after = if has_syncs { server.metric("bench_store_commits_total").await } else { f64::NAN };
    series.add(seen, after - before);
}

fn line(figure: &str, value: f64, bar: &str, beside: &str) {
    println!("{figure:<72} {value:>8.2}   {bar:<8} {beside}");
}

fn safe(series: &Series) -> String {
    format!("handed out twice {}, errors {}", series.duplicates, series.errors)
}

/// Measures everything and prints a line for each figure.
pub async fn print_all(effort: Effort) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, {} rounds of {:?}; rates are requests a second", effort.rounds, effort.round);
    println!("{:<72} {:>8}   {:<8}", "figure", "found", "bar");
    rates(effort).await;
    latencies(effort).await;
    memory(effort).await;
    postgres(effort).await;
    let home = tempfile::tempdir().expect("a folder");
    let verdict = crash_loop(home.path(), effort).await;
    let found = (verdict.twice + verdict.lost_claims + verdict.lost_completions) as f64;
    let figure = format!("handed out twice or lost over {} kill -9", effort.kills);
    let beside = format!(
        "{} claims acknowledged; twice {}, lost claims {}, lost completions {}",
        verdict.claims, verdict.twice, verdict.lost_claims, verdict.lost_completions
    );
    line(&figure, found, "0", &beside);
}

async fn rates(effort: Effort) {
    let series = take_turns(
        [
            (Kind::Bare, 1000, Pattern::Bare),
            (Kind::Bare, 100, Pattern::Bare),
            (Kind::Null, 1000, Pattern::Cycles),
            (Kind::Null, 100, Pattern::Cycles),
            (Kind::Sqlite, 1000, Pattern::Cycles),
            (Kind::Sqlite, 100, Pattern::Cycles),
            (Kind::Null, 1000, Pattern::Claims),
            (Kind::Sqlite, 1000, Pattern::Claims),
            (Kind::Sqlite, 100, Pattern::Claims),
            (Kind::NullTls, 100, Pattern::Cycles),
        ],
        effort,
    )
    .await;
    let [bare, bare_100, null, null_100, sqlite, sqlite_100, null_claims, claims, claims_100, tls] = &series;
    ratio("durable cycles / over the empty store, 1,000 clients", sqlite, null, ">= 0.70");
    ratio("durable cycles / over the empty store, 100 clients", sqlite_100, null_100, ">= 0.50");
    ratio("durable cycles / bare axum, 1,000 clients", sqlite, bare, ">= 0.45");
    ratio("durable claims / over the empty store, 1,000 clients", claims, null_claims, ">= 0.60");
    handlers_to_bare([bare, bare_100, null, null_100]);
    line("claims per sync, 100 clients", median(&claims_100.claims_per_sync), ">= 30", &safe(claims_100));
    ratio("HTTPS / HTTP, 100 keep-alive connections", tls, null_100, ">= 0.7");
}

/// The handlers alone: the two figures that say what a request costs beside its store.
pub async fn print_handlers(effort: Effort) {
    let plan = [
        (Kind::Bare, 1000, Pattern::Bare),
        (Kind::Bare, 100, Pattern::Bare),
        (Kind::Null, 1000, Pattern::Cycles),
        (Kind::Null, 100, Pattern::Cycles),
    ];
    handlers_to_bare(take_turns(plan, effort).await.each_ref());
}

fn handlers_to_bare([bare, bare_100, null, null_100]: [&Series; 4]) {
    ratio("handlers over the empty store / bare axum, 1,000 clients", null, bare, ">= 0.60");
    ratio("handlers over the empty store / bare axum, 100 clients", null_100, bare_100, ">= 0.60");
}

/// Rounds of all kinds take turns: a machine that changes its mind changes it for all of them.
async fn take_turns<const N: usize>(plan: [(Kind, usize, Pattern); N], effort: Effort) -> [Series; N] {
    let mut series: [Series; N] = std::array::from_fn(|_| Series::default());
    for _ in 0..effort.rounds {
        for (series, (kind, clients, pattern)) in series.iter_mut().zip(plan) {
            measure(series, kind, clients, pattern, effort).await;
        }
    }
    series
}

fn ratio(figure: &str, a: &Series, b: &Series, bar: &str) {
    let rate = |series: &Series| median(&series.rates);
    line(figure, rate(a) / rate(b), bar, &format!("{:.0} / {:.0}; {}", rate(a), rate(b), safe(a)));
}

/// Claims and cycles over both stores at 1,000 clients.
pub async fn print_store(effort: Effort) {
    let plan = [
        (Kind::Null, 1000, Pattern::Cycles),
        (Kind::Sqlite, 1000, Pattern::Cycles),
        (Kind::Null, 1000, Pattern::Claims),
        (Kind::Sqlite, 1000, Pattern::Claims),
    ];
    let [null, sqlite, null_claims, claims] = &take_turns(plan, effort).await;
    ratio("durable cycles / over the empty store, 1,000 clients", sqlite, null, ">= 0.70");
    ratio("durable claims / over the empty store, 1,000 clients", claims, null_claims, ">= 0.60");
}

/// The slowest calls of runners with [`PACE`] between two of theirs, over both stores.
pub async fn latencies(effort: Effort) {
    // A round begins once, and what the disk does at that moment decides its slowest calls: more rounds than elsewhere.
    let effort = Effort { round: effort.round * 2, rounds: effort.rounds * 2 - 1, ..effort };
    let plan = [
        (Kind::Null, 1000, Pattern::Together(PACE)),
        (Kind::Sqlite, 1000, Pattern::Together(PACE)),
        (Kind::Null, 1000, Pattern::Apart(PACE)),
        (Kind::Sqlite, 1000, Pattern::Apart(PACE)),
    ];
    let [null, sqlite, null_apart, sqlite_apart] = &take_turns(plan, effort).await;
    let (claims, heartbeats) =
        (|series: &Series| median(&series.claim_p99), |series: &Series| median(&series.heartbeat_p99));
    let compare = |figure: &str, of: fn(&Series) -> f64, [found, base]: [&Series; 2], bar: &str| {
        let beside = format!("{:.0} us / {:.0} us; {}", of(found), of(base), safe(found));
        line(figure, of(found) / of(base), bar, &beside);
    };
    compare("1,000 runners that begin together: claim p99 / empty store's", claims, [sqlite, null], "<= 2.2");
    compare(
        "1,000 runners that begin together: heartbeat p99 / empty store's",
        heartbeats,
        [sqlite, null],
        "<= 1.2",
    );
    compare("  if they begin apart: claim p99", claims, [sqlite_apart, null_apart], "");
    compare("  if they begin apart: heartbeat p99", heartbeats, [sqlite_apart, null_apart], "");
    let (found, base) = (sync_p99(), claims(null_apart));
    let beside = format!("{found:.0} us / {base:.0} us; a claim waits for one or two of them");
    line("  of which one sync to this disk, p99", found / base, "", &beside);
}

async fn memory(effort: Effort) {
    let home = tempfile::tempdir().expect("a folder");
    let server = Server::start(Kind::Sqlite, home.path());
    server.admin().up().await.expect("it answers");
    let idle = server.anonymous_memory();
    create_run(&server, effort.tasks).await;
    let per_task = (server.anonymous_memory() - idle) / f64::from(effort.tasks);
    line("anonymous memory idle, MB", idle / 1e6, "<= 10", "");
    line(
        "anonymous memory per queued task, KB",
        per_task / 1e3,
        "<= 0.5",
        &format!("{} tasks", effort.tasks),
    );
}

/// How the claim rate holds while a queue drains.
async fn postgres(effort: Effort) {
    const FIGURE: &str = "PostgreSQL: claim rate in the last third of the queue / first";
    if std::env::var_os("BENCH_POSTGRES_URL").is_none() {
        return println!("{FIGURE:<72} skipped: BENCH_POSTGRES_URL names no database");
    }
    let home = tempfile::tempdir().expect("a folder");
    let server = Server::start(Kind::Postgres, home.path());
    let tasks = effort.tasks.min(100_000);
    let mut ratios = Vec::new();
    for _ in 0..effort.rounds {
        let run = create_run(&server, tasks).await;
        let thirds = crate::load::drain(&server, &run, 100).await;
        ratios.push(thirds[2] / thirds[0]);
    }
    line(FIGURE, median(&ratios), ">= 0.65", &format!("{tasks} tasks"));
}
