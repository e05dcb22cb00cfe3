//! Speed of the store by itself, without HTTP: `cargo bench --bench store [-- FILTER]`.
//!
//! Clients are tasks that wait for each answer before they ask again. Rates depend on the disk, so the syncs
//! a second of the same disk are printed beside them; what carries over to other machines are the committing
//! thread's processor time for each cycle, the claims for each sync, and the ratios.

#[path = "../tests/store/server.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod server;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench::api::{ClaimRequest, CompleteRequest, CreateRun, HeartbeatRequest, RunId};
use bench::orchestrator::store::{Claimed, NullStore, Options, Scope, Store, StoreTarget, open};

type Out = std::io::StdoutLock<'static>;

fn main() -> std::io::Result<()> {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let wanted = |name: &str| name.contains(&filter);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut out = std::io::stdout().lock();
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        writeln!(out, "syncs a second of the disk: {:.0}", syncs_per_second(folder.path())?)?;
        if wanted("memory") {
            memory(&mut out, folder.path()).await?;
        }
        if wanted("cycles") {
            cycles(&mut out, folder.path()).await?;
        }
        if wanted("claims") {
            claims(&mut out, folder.path()).await?;
        }
        if wanted("postgres") {
            postgres(&mut out).await?;
        }
        Ok(())
    })
}

fn syncs_per_second(folder: &std::path::Path) -> std::io::Result<f64> {
    let mut file = fs_err::File::create(folder.join("sync"))?;
    file.write_all(&[0; 4096 * 256])?;
    file.sync_all()?;
    let start = Instant::now();
    let mut syncs = 0;
    while start.elapsed() < Duration::from_millis(500) {
        std::os::unix::fs::FileExt::write_all_at(file.file(), &[1; 4096], (syncs % 256) * 4096)?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(syncs as f64 / start.elapsed().as_secs_f64())
}

fn run(id: &str, count: u32) -> CreateRun {
    serde_json::from_value(serde_json::json!({
        "run_id": id,
        "workload": {"name": "w", "timeout_seconds": 60, "kind": "mock"},
        "tasks": [
            {"provider": "p", "instance_type": "t", "alias": "a", "count": count / 2},
            {"provider": "p", "instance_type": "t", "alias": "b", "count": count / 2},
        ],
        "results": "optional",
    }))
    .expect("is a run")
}

fn claim(runner: &str, request: u64) -> ClaimRequest {
    ClaimRequest {
        provider: "p".into(),
        instance_type: "t".into(),
        alias: Some("a".parse().expect("is an alias")).filter(|_| request.is_multiple_of(2)),
        runner_id: runner.into(),
        host: Some(runner.into()),
        request_id: Some(format!("{runner}-{request}")),
        wait_seconds: 0,
    }
}

async fn sqlite(folder: &std::path::Path, name: &str) -> Arc<dyn Store> {
    let target = StoreTarget::Sqlite(folder.join(name));
    open(&target, Options::default()).await.expect("a new file opens")
}

/// Keeps `clients` busy for `time`; each round is what `client` does once. Gives the rounds.
async fn load<F, Fut>(clients: usize, time: Duration, client: F) -> u64
where
    F: Fn(Arc<String>, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = bool> + Send,
{
    let rounds = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + time;
    let running: Vec<_> = (0..clients)
        .map(|index| {
            let (client, rounds) = (client.clone(), rounds.clone());
            tokio::spawn(async move {
                let name = Arc::new(format!("runner-{index:05}"));
                let mut round = 0;
                while Instant::now() < end && client(name.clone(), round).await {
                    round += 1;
                }
                rounds.fetch_add(round, Ordering::Relaxed);
            })
        })
        .collect();
    for client in running {
        client.await.expect("clients do not panic");
    }
    rounds.load(Ordering::Relaxed)
}

async fn cycle(store: &Arc<dyn Store>, run: &RunId, runner: &str, round: u64) -> bool {
    let Ok(Claimed::Assigned(task, lease)) = store.claim(run, claim(runner, round)).await else {
        return false;
    };
    let fence = lease.fence;
    let beat = HeartbeatRequest { fence, status: "measure".into(), progress: Some(0.5), message: None };
    let beaten = store.heartbeat(Scope::Admin, task.id, beat).await;
    let done = store.complete(Scope::Admin, task.id, CompleteRequest { fence, sha256: None }).await;
    beaten.is_ok() && done.is_ok()
}

async fn cycles(out: &mut Out, folder: &std::path::Path) -> std::io::Result<()> {
    writeln!(out, "\nclaim + heartbeat + complete, synced")?;
    for clients in [1, 100, 1000] {
        let null: Arc<dyn Store> = Arc::new(NullStore::new());
        let name = format!("cycles{clients}");
        let store = sqlite(folder, &name).await;
        for (label, store) in [("null", null), ("sqlite", store)] {
            let id = store.create_run(run(&name, 600_000)).await.expect("is created").0.run_id;
            let (cpu, commits) = (committing_cpu(), store.stats().commits.load(Ordering::Relaxed));
            let start = Instant::now();
            let (used, of) = (store.clone(), id.clone());
            let rounds = load(clients, Duration::from_secs(3), move |runner, round| {
                let (store, id) = (used.clone(), of.clone());
                async move { cycle(&store, &id, &runner, round).await }
            })
            .await;
            let seconds = start.elapsed().as_secs_f64();
            let commits = store.stats().commits.load(Ordering::Relaxed) - commits;
            writeln!(
                out,
                "  {label:<7} {clients:>5} clients: {:>8.0} cycles/s, {:>5.1} us of the commits a cycle, \
                 {:>6.1} commands a sync, {:.0} syncs/s",
                rounds as f64 / seconds,
                (committing_cpu() - cpu) * 1e6 / rounds as f64,
                rounds as f64 * 3.0 / commits.max(1) as f64,
                commits as f64 / seconds
            )?;
            store.close().await;
        }
    }
    Ok(())
}

async fn claims(out: &mut Out, folder: &std::path::Path) -> std::io::Result<()> {
    writeln!(out, "\nclaims only, synced")?;
    for clients in [100, 1000] {
        let name = format!("claims{clients}");
        let store = sqlite(folder, &name).await;
        let id = store.create_run(run(&name, 600_000)).await.expect("is created").0.run_id;
        let commits = store.stats().commits.load(Ordering::Relaxed);
        let cpu = committing_cpu();
        let start = Instant::now();
        let used = store.clone();
        let rounds = load(clients, Duration::from_secs(3), move |runner, round| {
            let (store, id) = (used.clone(), id.clone());
            // Each claim by a runner of its own: a runner holds one lease at a time.
            async move { store.claim(&id, claim(&format!("{runner}-{}", round % 200), round)).await.is_ok() }
        })
        .await;
        let commits = store.stats().commits.load(Ordering::Relaxed) - commits;
        writeln!(
            out,
            "  {clients:>5} clients: {:>8.0} claims/s, {:>5.1} claims a sync, {:.1} us of the commits a claim",
            rounds as f64 / start.elapsed().as_secs_f64(),
            rounds as f64 / commits as f64,
            (committing_cpu() - cpu) * 1e6 / rounds as f64,
        )?;
        store.close().await;
    }
    Ok(())
}

async fn memory(out: &mut Out, folder: &std::path::Path) -> std::io::Result<()> {
    writeln!(out, "\nanonymous memory")?;
    let store = sqlite(folder, "memory").await;
    let idle = anonymous_kib()?;
    writeln!(out, "  idle, with the benchmark itself: {idle} KiB")?;
    for (id, count) in [("m1", 100_000), ("m2", 1_000_000)] {
        let (start, before) = (Instant::now(), anonymous_kib()?);
        store.create_run(run(id, count)).await.expect("is created");
        let took = start.elapsed().as_secs_f64();
        let bytes = (anonymous_kib()?.saturating_sub(before)) as f64 * 1024.0 / f64::from(count);
        writeln!(out, "  {count} queued tasks: {bytes:.1} bytes a task, made in {took:.2} s")?;
    }
    store.close().await;
    Ok(())
}

async fn postgres(out: &mut Out) -> std::io::Result<()> {
    const TASKS: u32 = 100_000;
    let Some(server) = server::shared() else { return Ok(()) };
    let target = StoreTarget::Postgres(server.new_database());
    let store = open(&target, Options::default()).await.expect("opens");
    let id = store.create_run(run("queue", TASKS)).await.expect("is created").0.run_id;
    let claimed = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let (used, counted) = (store.clone(), claimed.clone());
    let draining = tokio::spawn(load(200, Duration::from_secs(600), move |runner, round| {
        let (store, id, claimed) = (used.clone(), id.clone(), counted.clone());
        async move {
            let claim = ClaimRequest { alias: None, ..claim(&format!("{runner}-{round}"), round) };
            let got = matches!(store.claim(&id, claim).await, Ok(Claimed::Assigned(..)));
            claimed.fetch_add(u64::from(got), Ordering::Relaxed);
            got
        }
    }));
    let mut marks = Vec::new();
    for third in 1..=3u64 {
        while claimed.load(Ordering::Relaxed) < u64::from(TASKS) * third / 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        marks.push(start.elapsed().as_secs_f64());
    }
    draining.await.expect("clients do not panic");
    let rate = |from: f64, to: f64| f64::from(TASKS) / 3.0 / (to - from);
    let (first, last) = (rate(0.0, marks[0]), rate(marks[1], marks[2]));
    let ratio = last / first;
    writeln!(out, "\nPostgreSQL, a queue of {TASKS} tasks, 200 clients")?;
    writeln!(out, "  claims/s: {first:.0} in the first third, {last:.0} in the last ({ratio:.2} of it)")?;
    store.close().await;
    Ok(())
}

/// `RssAnon` of this process.
fn anonymous_kib() -> std::io::Result<u64> {
    let status = fs_err::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    Ok(line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0))
}

/// Processor time of the thread that commits so far, seconds (`man 5 proc_pid_schedstat`).
fn committing_cpu() -> f64 {
    let Ok(threads) = fs_err::read_dir("/proc/self/task") else { return 0.0 };
    threads
        .flatten()
        .filter(|thread| {
            fs_err::read_to_string(thread.path().join("comm"))
                .is_ok_and(|name| ["store\n", "tables\n"].contains(&name.as_str()))
        })
        .filter_map(|thread| fs_err::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<f64>().ok())
        .sum::<f64>()
        / 1e9
}
