//! One round of load: many clients for some seconds, and what they saw.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::api::{CreateRun, ResultsPolicy, RunId, TaskGroup, Workload, WorkloadKind};

use crate::connection::Connection;
use crate::server::Server;

/// What each client does over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// GET of the bare answer.
    Bare,
    /// Claim, heartbeat, complete.
    Cycles,
    Claims,
    /// Cycles with a pause between calls, half as long to half as long again, by runners that all begin at once, as
    /// those of new hosts do, or of an orchestrator that is back. With a pause that is always the same, those that
    /// were answered by one commit would march in step from then on.
    Together(Duration),
    /// The same by runners that begin one after the other: they hardly ever meet.
    Apart(Duration),
}

/// What came out of a round.
#[derive(Debug, Default)]
pub struct Seen {
    pub requests: u64,
    pub seconds: f64,
    /// Ids of the tasks that were handed out.
    pub claimed: Vec<i64>,
    pub claim_us: Vec<u32>,
    pub heartbeat_us: Vec<u32>,
    pub errors: u64,
}

impl Seen {
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Tasks handed out more than once.
    pub fn duplicates(&self) -> usize {
        self.claimed.len() - self.claimed.iter().collect::<HashSet<_>>().len()
    }
}

/// A run whose results are optional, with this many tasks.
pub async fn create_run(server: &Server, tasks: u32) -> RunId {
    let run_id = RunId::make(jiff::Timestamp::now(), rand::random());
    let group = TaskGroup {
        provider: "load".into(),
        instance_type: "load".into(),
        alias: "load".parse().expect("an alias"),
        count: tasks,
        unsettled: false,
    };
    let run = CreateRun {
        run_id: run_id.clone(),
        workload: Workload { name: "load".into(), timeout_seconds: 60, kind: WorkloadKind::Mock },
        tasks: vec![group],
        lease_seconds: 3600,
        max_attempts: 4,
        max_failure_retries: 0,
        pending_timeout_seconds: 604_800,
        seed: 1,
        results: ResultsPolicy::Optional,
    };
    server.admin().create_run(&run).await.expect("a run");
    run_id
}

/// Runs `clients` connections for `time`. Connections are open before the clock starts.
pub async fn round(server: &Server, run: &RunId, clients: usize, pattern: Pattern, time: Duration) -> Seen {
    let key: Arc<str> = server.run_key(run).into();
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Connection::open(server, key.clone()).await.expect("a connection"));
    }
    let start = Instant::now();
    let end = start + time;
    let tasks: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(index, connection)| tokio::spawn(client(connection, index, run.clone(), pattern, end)))
        .collect();
    let mut seen = Seen::default();
    for task in tasks {
        let of_client = task.await.expect("a client ends");
        seen.requests += of_client.requests;
        seen.errors += of_client.errors;
        seen.claimed.extend(of_client.claimed);
        seen.claim_us.extend(of_client.claim_us);
        seen.heartbeat_us.extend(of_client.heartbeat_us);
    }
    seen.seconds = start.elapsed().as_secs_f64();
    seen
}

async fn client(
    mut connection: Connection,
    index: usize,
    run: RunId,
    pattern: Pattern,
    end: Instant,
) -> Seen {
    let mut seen = Seen::default();
    let runner = format!("runner-{index}");
    if let Pattern::Apart(pause) = pattern {
        tokio::time::sleep(pause.mul_f64(rand::random())).await;
    }
    while Instant::now() < end {
        match turn(&mut connection, &runner, &run, pattern, &mut seen).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => {
                seen.errors += 1;
                break;
            }
        }
    }
    seen
}

/// One repetition; `false` when the queue is empty.
async fn turn(
    connection: &mut Connection,
    runner: &str,
    run: &RunId,
    pattern: Pattern,
    seen: &mut Seen,
) -> std::io::Result<bool> {
    if pattern == Pattern::Bare {
        connection.get("/").await?;
        seen.requests += 1;
        return Ok(true);
    }
    let pause = || async move {
        if let Pattern::Together(pause) | Pattern::Apart(pause) = pattern {
            tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
        }
    };
    let asked = Instant::now();
    let claims_only = pattern == Pattern::Claims;
    // A runner that asks again gives up what it held, so a client that never completes is many runners.
    let fresh = if claims_only { format!("{runner}-{}", seen.requests) } else { String::new() };
    let runner = if claims_only { &fresh } else { runner };
    let Some(held) = connection.claim(run, runner).await? else { return Ok(false) };
    seen.claim_us.push(micros(asked));
    seen.claimed.push(held.task);
    seen.requests += 1;
    if claims_only {
        return Ok(true);
    }
    pause().await;
    let asked = Instant::now();
    connection.heartbeat(held).await?;
    seen.heartbeat_us.push(micros(asked));
    pause().await;
    connection.complete(held).await?;
    seen.requests += 2;
    pause().await;
    Ok(true)
}

fn micros(since: Instant) -> u32 {
    since.elapsed().as_micros().try_into().unwrap_or(u32::MAX)
}

/// The value below which `share` of the sorted values lie.
pub fn quantile(values: &mut [u32], share: f64) -> f64 {
    values.sort_unstable();
    let index = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().map_or(f64::NAN, f64::from)
}

/// Claims a queue to its end; the rates of its three thirds.
pub async fn drain(server: &Server, run: &RunId, clients: usize) -> [f64; 3] {
    let key: Arc<str> = server.run_key(run).into();
    let start = Instant::now();
    let mut tasks = Vec::new();
    for index in 0..clients {
        let mut connection = Connection::open(server, key.clone()).await.expect("a connection");
        let run = run.clone();
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while connection
                .claim(&run, &format!("runner-{index}-{}", times.len()))
                .await
                .expect("an answer")
                .is_some()
            {
                times.push(start.elapsed());
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a client ends"));
    }
    times.sort_unstable();
    let third = times.len() / 3;
    let rate = |from: usize| third as f64 / (times[from + third - 1] - times[from]).as_secs_f64();
    [rate(0), rate(third), rate(2 * third)]
}
