//! `kill -9` in a loop: nothing that was acknowledged may be lost, nothing may be handed out twice.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bench::api::{RunId, TaskState};

use crate::Effort;
use crate::connection::Connection;
use crate::load::create_run;
use crate::server::{Kind, Server};

const CLIENTS: usize = 50;
const LIFE: Duration = Duration::from_millis(250);

/// What clients were told.
#[derive(Default, Debug)]
struct Told {
    /// Every answer to a claim.
    claimed: Vec<i64>,
    completed: HashSet<i64>,
}

pub struct Verdict {
    pub claims: usize,
    pub twice: usize,
    pub lost_claims: usize,
    pub lost_completions: usize,
}

pub async fn crash_loop(home: &Path, effort: Effort) -> Verdict {
    let told = Arc::new(Mutex::new(Told::default()));
    let server = Server::start(Kind::Sqlite, home);
    let run = create_run(&server, effort.tasks).await;
    let mut server = Some(server);
    for _ in 0..effort.kills {
        let alive = server.take().unwrap_or_else(|| Server::start(Kind::Sqlite, home));
        let key: Arc<str> = alive.run_key(&run).into();
        let mut clients = Vec::new();
        for index in 0..CLIENTS {
            let connection = Connection::open(&alive, key.clone()).await.expect("a connection");
            clients.push(tokio::spawn(work(connection, index, run.clone(), told.clone())));
        }
        tokio::time::sleep(LIFE).await;
        alive.kill();
        for client in clients {
            client.await.expect("a client ends");
        }
    }
    let told =
        Arc::into_inner(told).expect("all clients have ended").into_inner().expect("no client panicked");
    verdict(&Server::start(Kind::Sqlite, home), &run, &told).await
}

/// Claims and completes until the server is gone. Every third task is only claimed.
async fn work(mut connection: Connection, index: usize, run: RunId, told: Arc<Mutex<Told>>) {
    // A runner that asks again gives up what it held: a new one for each claim.
    let runner = || format!("runner-{index}-{:x}", rand::random::<u64>());
    while let Ok(Some(held)) = connection.claim(&run, &runner()).await {
        told.lock().expect("no holder panics").claimed.push(held.task);
        if held.task % 3 == 0 {
            continue;
        }
        if connection.complete(held).await.is_err() {
            return;
        }
        told.lock().expect("no holder panics").completed.insert(held.task);
    }
}

async fn verdict(server: &Server, run: &RunId, told: &Told) -> Verdict {
    let tasks = server.admin().tasks(run).await.expect("the tasks");
    let known: HashMap<i64, (TaskState, u32)> =
        tasks.iter().map(|task| (task.id, (task.state, task.attempts))).collect();
    let claimed: HashSet<i64> = told.claimed.iter().copied().collect();
    let lost = |id: &&i64| known.get(id).is_none_or(|(_, attempts)| *attempts == 0);
    let undone = |id: &&i64| known.get(id).is_none_or(|(state, _)| *state != TaskState::Completed);
    Verdict {
        claims: told.claimed.len(),
        twice: told.claimed.len() - claimed.len(),
        lost_claims: claimed.iter().filter(lost).count(),
        lost_completions: told.completed.iter().filter(undone).count(),
    }
}
