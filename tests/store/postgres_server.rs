//! What concerns PostgreSQL alone: several orchestrators on one database, and a server that goes away.

use std::collections::HashSet;
use std::sync::Arc;

use bench::api::{CompleteRequest, ErrorCode, ResultsPolicy, RunId, RunStatus, TaskId};
use bench::orchestrator::store::{Claimed, OpenError, Scope, Store, StoreError, StoreTarget, open};

use crate::fixture::{Fixture, claim, refusal, run};
use crate::server::Server;

/// Claims and completes until there is nothing left; gives the tasks that it got.
async fn work(store: Arc<dyn Store>, run: RunId, name: String) -> Vec<TaskId> {
    let mut mine = Vec::new();
    loop {
        match store.claim(&run, claim(&name, &name, None)).await.unwrap() {
            Claimed::Assigned(task, lease) => {
                mine.push(task.id);
                let complete = CompleteRequest { fence: lease.fence, sha256: None };
                store.complete(Scope::Admin, task.id, complete).await.unwrap();
            }
            Claimed::Nothing => tokio::task::yield_now().await,
            Claimed::Done => return mine,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_orchestrators_hand_out_no_task_twice() {
    const TASKS: u32 = 1200;
    let Some(f) = Fixture::postgres().await else { return };
    let second = f.another().await;
    let mut spec = run("r1", &[("a", TASKS / 2), ("b", TASKS / 2)]);
    spec.results = ResultsPolicy::Optional;
    let id = f.create(&spec).await;
    let workers: Vec<_> = (0..24)
        .map(|worker| {
            let store = if worker % 2 == 0 { f.store.clone() } else { second.clone() };
            tokio::spawn(work(store, id.clone(), format!("r{worker}")))
        })
        .collect();
    let mut by_store = [0, 0];
    let mut all = Vec::new();
    for (worker, handle) in workers.into_iter().enumerate() {
        let mine = handle.await.unwrap();
        by_store[worker % 2] += mine.len();
        all.extend(mine);
    }
    assert_eq!(all.len(), TASKS as usize);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), TASKS as usize);
    assert!(by_store.iter().all(|count| *count > 0), "both worked: {by_store:?}");
    for store in [&f.store, &second] {
        let view = store.run(&id).await.unwrap();
        assert_eq!((view.status, view.tasks.completed), (RunStatus::Completed, u64::from(TASKS)));
    }
    let events = f.store.events(None, 0, 10_000).await.unwrap();
    assert!(events.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq), "no gaps, in order");
}

#[tokio::test]
async fn what_one_orchestrator_does_the_other_knows() {
    let Some(f) = Fixture::postgres().await else { return };
    let second = f.another().await;
    let id = f.create(&run("r1", &[("a", 3)])).await;
    let asked = claim("r", "h", None);
    let (task, lease) = f.claim(&id, asked.clone()).await;
    // A beat, the same claim and a stop, all at the other one.
    let beat = |fence| bench::api::HeartbeatRequest {
        fence,
        status: "measure".into(),
        progress: None,
        message: None,
    };
    second.heartbeat(Scope::Admin, task.id, beat(lease.fence)).await.unwrap();
    match second.claim(&id, asked).await.unwrap() {
        Claimed::Assigned(same, again) => assert_eq!((same.id, again.fence), (task.id, lease.fence)),
        other => panic!("{other:?}"),
    }
    f.wait(59);
    assert_eq!(f.store.sweep().await.unwrap().leases_lost, 0);
    f.wait(2);
    assert_eq!(second.sweep().await.unwrap().leases_lost, 1);
    assert_eq!(refusal(f.beat(task.id, lease.fence).await), ErrorCode::StaleFence);
    let (again, new) = f.claim(&id, claim("r2", "h2", None)).await;
    assert_eq!((again.id, new.attempt), (task.id, 2));
    f.store.sweep().await.unwrap();
    let hosts = second.hosts(&id).await.unwrap();
    assert_eq!(hosts.iter().map(|host| host.host.as_str()).collect::<Vec<_>>(), ["h", "h2"]);
    second.stop_run(&id).await.unwrap();
    assert_eq!(refusal(f.beat(task.id, new.fence).await), ErrorCode::RunEnded);
    assert_eq!(f.store.claim(&id, claim("r3", "h2", None)).await.unwrap(), Claimed::Done);
}

#[tokio::test]
async fn the_other_orchestrators_commits_wake_waiters_here() {
    let Some(f) = Fixture::postgres().await else { return };
    let second = f.another().await;
    let (mut queue, mut events) = (second.queue_changes(), second.newest_event());
    // The listener's own look at the start may come first: wait for the run to be seen, not for a change.
    f.create(&run("r1", &[("a", 1)])).await;
    events.wait_for(|newest| *newest >= 1).await.unwrap();
    queue.wait_for(|version| *version >= 1).await.unwrap();
    assert_eq!(second.events(None, 0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_was_restarted_is_found_again() {
    let Some(mut server) = Server::start() else { return };
    let f = Fixture::over(StoreTarget::Postgres(server.new_database()), None).await;
    let id = f.create(&run("r1", &[("a", 2)])).await;
    let (task, lease) = f.claim(&id, claim("r", "h", None)).await;
    f.store.sweep().await.unwrap();
    server.stop();
    assert!(matches!(f.beat(task.id, lease.fence).await, Err(StoreError::Failed(_))));
    assert!(f.store.ping().await.is_err());
    f.wait(500);
    server.run();
    assert_eq!(
        f.store.sweep().await.unwrap().leases_lost,
        0,
        "nobody could beat while the database was away"
    );
    f.beat(task.id, lease.fence).await.unwrap();
    f.store.ping().await.unwrap();
    assert_eq!(f.store.run(&id).await.unwrap().tasks.running, 1);
    f.store.close().await;
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_or_is_too_new_is_named_without_its_password() {
    let target = StoreTarget::Postgres("postgres://u:hunter2@127.0.0.1:1/d".into());
    let Err(error) = open(&target, Default::default()).await else { panic!("opened") };
    let text = format!("{error} {error:?}");
    assert!(text.contains("127.0.0.1:1/d") && !text.contains("hunter2"), "{text}");

    let Some(f) = Fixture::postgres().await else { return };
    f.store.close().await;
    let StoreTarget::Postgres(url) = &f.target else { panic!("is PostgreSQL") };
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let newer = "INSERT INTO refinery_schema_history SELECT 999, name, applied_on, checksum \
                 FROM refinery_schema_history WHERE version = 1";
    client.batch_execute(newer).await.unwrap();
    assert!(matches!(open(&f.target, f.options()).await, Err(OpenError::NewerSchema { found: 999, .. })));
}
