//! What concerns the SQLite file itself: locks, damage, backups, crashes.

use std::time::Duration;

use bench::api::{ErrorCode, FailKind, RunId};
use bench::orchestrator::store::{
    Claimed, Durability, OpenError, Options, StoreError, StoreTarget, backup_database, check_backup, open,
    restore_backup,
};

use crate::fixture::{Fixture, claim, refusal, run};

fn path(f: &Fixture) -> std::path::PathBuf {
    match &f.target {
        StoreTarget::Sqlite(path) => path.clone(),
        other => panic!("{other} is no file"),
    }
}

async fn open_error(target: &StoreTarget) -> OpenError {
    match open(target, Options { durability: Durability::OsBuffered, clock: None }).await {
        Ok(_) => panic!("{target} was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_second_orchestrator_on_one_file_is_refused() {
    let mut f = Fixture::sqlite().await;
    assert!(matches!(open_error(&f.target).await, OpenError::InUse { .. }));
    f.reopen().await;
}

#[tokio::test]
async fn a_damaged_file_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orchestrator.db");
    let bytes = b"this is not a database, but somebody's only copy of something".repeat(100);
    std::fs::write(&file, &bytes).unwrap();
    let error = open_error(&StoreTarget::Sqlite(file.clone())).await;
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn a_schema_from_the_future_is_refused() {
    let f = Fixture::sqlite().await;
    f.store.close().await;
    let file = path(&f);
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute(
            "INSERT INTO refinery_schema_history SELECT 999, name, applied_on, checksum \
             FROM refinery_schema_history WHERE version = 1",
            [],
        )
        .unwrap();
    assert!(matches!(open_error(&f.target).await, OpenError::NewerSchema { found: 999, .. }));
    assert!(matches!(check_backup(&file), Err(OpenError::NewerSchema { .. })));
}

#[tokio::test]
async fn a_backup_taken_while_serving_can_be_restored() {
    let mut f = Fixture::sqlite().await;
    let id = f.create(&run("r1", &[("a", 500)])).await;
    f.claim(&id, claim("r", "h", None)).await;
    let copy = path(&f).with_file_name("copy.db");
    f.store.backup(&copy).await.unwrap();
    let at_backup = f.store.run(&id).await.unwrap();
    assert!(f.store.backup(&copy).await.is_err(), "a backup replaces nothing");
    f.claim(&id, claim("r2", "h", None)).await;
    assert!(matches!(restore_backup(&copy, &path(&f)), Err(OpenError::InUse { .. })));
    f.store.close().await;
    let elsewhere = path(&f).with_file_name("new-home").join("orchestrator.db");
    assert!(restore_backup(&path(&f).with_file_name("none.db"), &elsewhere).is_err());
    assert!(!elsewhere.parent().unwrap().exists(), "nothing is made for what is no backup");
    restore_backup(&copy, &elsewhere).unwrap();
    check_backup(&elsewhere).unwrap();
    restore_backup(&copy, &path(&f)).unwrap();
    f.reopen().await;
    assert_eq!(f.store.run(&id).await.unwrap(), at_backup);
    assert!(path(&f).with_file_name("orchestrator.db.before-restore").exists());
}

/// The files beside the database in which commits stand first.
fn journals(f: &Fixture) -> [std::path::PathBuf; 2] {
    ["orchestrator.db.journal-1", "orchestrator.db.journal-2"].map(|name| path(f).with_file_name(name))
}

#[tokio::test]
async fn a_journal_without_room_is_told() {
    let mut f = Fixture::sqlite().await;
    let id = f.create(&run("r1", &[("a", 1)])).await;
    f.store.close().await;
    for journal in journals(&f) {
        // A disk without room for anything.
        std::os::unix::fs::symlink("/dev/full", journal).unwrap();
    }
    assert!(bench::orchestrator::store::is_full(&open_error(&f.target).await));
    // As for every journal whose commits the tables have, they are removed.
    while journals(&f).iter().any(|journal| journal.is_symlink()) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    f.reopen().await;
    f.claim(&id, claim("r2", "h", None)).await;
}

#[tokio::test]
async fn tables_that_cannot_be_written_lose_nothing() {
    let mut f = Fixture::sqlite().await;
    let id = f.create(&run("r1", &[("a", 2)])).await;
    let other = rusqlite::Connection::open(path(&f)).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    // A commit needs the journal alone.
    let (task, lease) = f.claim(&id, claim("r1", "h", None)).await;
    // The tables are waited for, then given up for now; and so is everything that stands on them.
    assert!(matches!(f.store.run(&id).await, Err(StoreError::Failed(_))));
    assert!(matches!(f.store.claim(&id, claim("r2", "h", None)).await, Err(StoreError::Failed(_))));
    other.execute_batch("ROLLBACK").unwrap();
    f.beat(task.id, lease.fence).await.unwrap();
    let (_, second) = f.claim(&id, claim("r2", "h", None)).await;
    assert_eq!(second.attempt, 1, "what was refused did not happen");
    let counts = f.store.run(&id).await.unwrap().tasks;
    assert_eq!((counts.claimed, counts.running), (1, 1));
    f.reopen().await;
    assert_eq!(f.store.run(&id).await.unwrap().tasks, counts);
    assert!(journals(&f).iter().all(|journal| journal.exists()));
    f.store.close().await;
    assert!(!journals(&f).iter().any(|journal| journal.exists()), "the tables have everything");
}

#[tokio::test]
async fn a_backup_has_what_only_the_journal_has() {
    let mut f = Fixture::sqlite().await;
    let id = f.create(&run("r1", &[("a", 50)])).await;
    for number in 0..20 {
        f.claim(&id, claim(&format!("r{number}"), "h", None)).await;
    }
    let copy = path(&f).with_file_name("copy.db");
    // As another process makes it, which the orchestrator knows nothing of.
    backup_database(&path(&f), &copy).unwrap();
    f.store.close().await;
    restore_backup(&copy, &path(&f)).unwrap();
    f.reopen().await;
    assert_eq!(f.store.run(&id).await.unwrap().tasks.claimed, 20);
}

/// Nobody lists anything, which would hurry the tables.
#[tokio::test]
async fn tables_take_in_what_was_committed_without_being_asked() {
    let f = Fixture::sqlite().await;
    let id = f.create(&run("r1", &[("a", 50)])).await;
    let tables = rusqlite::Connection::open(path(&f)).unwrap();
    let claimed = || {
        let count = "SELECT count(*) FROM tasks WHERE state = 'claimed'";
        tables.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    // Twice: the first commit after a rest begins to wait anew.
    for number in 1..=2 {
        f.claim(&id, claim(&format!("r{number}"), "h", None)).await;
        tokio::time::timeout(Duration::from_secs(30), async {
            while claimed() < number {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the tables have it within about a second");
    }
}

#[tokio::test]
async fn after_an_orderly_end_the_database_file_is_whole_by_itself() {
    let f = Fixture::sqlite().await;
    let id = f.create(&run("r1", &[("a", 50)])).await;
    f.claim(&id, claim("r", "h", None)).await;
    f.store.close().await;
    let copy = path(&f).with_file_name("copy.db");
    std::fs::copy(path(&f), &copy).unwrap();
    let tables = rusqlite::Connection::open(&copy).unwrap();
    let claimed = "SELECT count(*) FROM tasks WHERE state = 'claimed'";
    assert_eq!(tables.query_row(claimed, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

/// Ten megabytes, and a commit to the tables every few milliseconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_ends_while_others_write() {
    let f = Fixture::sqlite().await;
    let id = f.create(&run("r1", &[("a", 200_000)])).await;
    let copy = path(&f).with_file_name("copy.db");
    let busy = async {
        for number in 0.. {
            f.claim(&id, claim(&format!("r{number}"), "h", None)).await;
            f.store.run(&id).await.unwrap();
        }
    };
    // As another process makes it; one in this process would keep lists waiting.
    let (from, to) = (path(&f), copy.clone());
    let backup = tokio::task::spawn_blocking(move || backup_database(&from, &to));
    let backup = tokio::time::timeout(Duration::from_secs(30), backup);
    let backup = tokio::select! { backup = backup => backup, () = busy => unreachable!("it has no end") };
    backup.expect("it ends").unwrap().unwrap();
    check_backup(&copy).unwrap();
}

#[tokio::test]
async fn the_journal_of_another_database_is_not_taken_in() {
    let mut f = Fixture::sqlite().await;
    let id = f.create(&run("r1", &[("a", 5)])).await;
    f.claim(&id, claim("r1", "h", None)).await;
    let [first, _] = journals(&f);
    let kept = std::fs::read(&first).unwrap();
    f.store.close().await;
    let other = tempfile::tempdir().unwrap();
    let target = StoreTarget::Sqlite(other.path().join("orchestrator.db"));
    open(&target, Options::default()).await.unwrap().close().await;
    std::fs::write(other.path().join("orchestrator.db.journal-1"), &kept).unwrap();
    let error = open_error(&target).await;
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("orchestrator.db.journal-1") && cause.contains("another database"), "{cause}");
    f.reopen().await;
}

#[tokio::test]
async fn what_is_no_backup_replaces_nothing() {
    let mut f = Fixture::sqlite().await;
    let id = f.create(&run("r1", &[("a", 1)])).await;
    f.store.close().await;
    let copy = path(&f).with_file_name("copy.db");
    std::fs::write(&copy, b"not a backup").unwrap();
    assert!(matches!(restore_backup(&copy, &path(&f)), Err(OpenError::Unreadable { .. })));
    std::fs::remove_file(&copy).unwrap();
    rusqlite::Connection::open(&copy).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(restore_backup(&copy, &path(&f)).is_err(), "a database of something else");
    f.reopen().await;
    f.store.run(&id).await.unwrap();
}

#[tokio::test]
async fn events_of_an_earlier_version_are_kept() {
    let mut f = Fixture::sqlite().await;
    let id = f.create(&run("r1", &[("a", 2)])).await;
    let (task, lease) = f.claim(&id, claim("r", "h", None)).await;
    f.fail(task.id, lease.fence, FailKind::Timeout).await.unwrap();
    let events = f.store.events(Some(&id), 0, 100).await.unwrap();
    assert!(events.len() >= 3 && events.iter().any(|event| event.detail.is_some()), "{events:?}");
    f.store.close().await;

    // As versions before the sixth of the schema wrote them.
    let database = rusqlite::Connection::open(path(&f)).unwrap();
    let mut spans = database.prepare("SELECT first_seq, seq FROM events").unwrap();
    let rows: Vec<(i64, i64)> =
        spans.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    drop(spans);
    for (first, last) in rows {
        let of_row: Vec<_> = events.iter().filter(|event| (first..=last).contains(&event.seq)).collect();
        let text = serde_json::to_string(&of_row).unwrap();
        database.execute("UPDATE events SET events = ? WHERE seq = ?", (text, last)).unwrap();
    }
    database.execute("DELETE FROM refinery_schema_history WHERE version = 6", ()).unwrap();
    drop(database);

    f.reopen().await;
    let kept = f.store.events(Some(&id), 0, 100).await.unwrap();
    assert_eq!(kept[..events.len()], events);
}

/// Nothing but the callers moves the store here, so that one whose answer was forgotten would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_several_threads_all_get_their_answers() {
    const TASKS: u32 = 3000;
    let f = std::sync::Arc::new(Fixture::sqlite().await);
    let id = f.create(&run("r1", &[("a", TASKS)])).await;
    let work = async |f: &Fixture, id: &RunId, runner: String| {
        let mut done = 0;
        while let Claimed::Assigned(task, lease) =
            f.store.claim(id, claim(&runner, &runner, None)).await.unwrap()
        {
            f.beat(task.id, lease.fence).await.unwrap();
            f.complete(task.id, lease.fence).await.unwrap();
            done += 1;
        }
        done
    };
    let runners = (0..16).map(|runner| {
        let (f, id) = (f.clone(), id.clone());
        tokio::spawn(async move { work(&f, &id, format!("r{runner}")).await })
    });
    let all = futures::future::join_all(runners);
    let done =
        tokio::time::timeout(std::time::Duration::from_secs(120), all).await.expect("an answer to each");
    assert_eq!(done.into_iter().map(Result::unwrap).sum::<u32>(), TASKS);
    assert_eq!(f.store.run(&id).await.unwrap().tasks.completed, u64::from(TASKS));
}

/// Enough for the tables to be busy for a good part of a second.
const MANY_TASKS: u32 = 300_000;

#[tokio::test]
async fn nobody_waits_while_a_large_run_is_created() {
    let f = Fixture::sqlite().await;
    let small = f.create(&run("small", &[("a", 10)])).await;
    let (task, lease) = f.claim(&small, claim("r1", "h1", None)).await;
    let store = f.store.clone();
    let creating = tokio::spawn(async move { store.create_run(run("large", &[("a", MANY_TASKS)])).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    f.claim(&small, claim("r2", "h2", None)).await;
    f.complete(task.id, lease.fence).await.unwrap();
    assert!(!creating.is_finished(), "took no longer than a claim");
    let (view, new) = creating.await.unwrap().unwrap();
    assert_eq!((view.tasks.pending, new), (u64::from(MANY_TASKS), true));
    f.claim(&view.run_id, claim("r3", "h3", None)).await;
}

#[tokio::test]
async fn the_end_of_a_large_run_is_heard_while_the_tables_write_it() {
    let f = Fixture::sqlite().await;
    let id = f.create(&run("large", &[("a", MANY_TASKS)])).await;
    let (task, lease) = f.claim(&id, claim("r1", "h1", None)).await;
    f.store.stop_run(&id).await.unwrap();
    let (store, run) = (f.store.clone(), id.clone());
    let listing = tokio::spawn(async move { store.run(&run).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(refusal(f.beat(task.id, lease.fence).await), ErrorCode::RunEnded);
    assert_eq!(f.store.claim(&id, claim("r1", "h1", None)).await.unwrap(), Claimed::Done);
    assert!(!listing.is_finished(), "took no longer than a heartbeat");
    assert_eq!(listing.await.unwrap().unwrap().tasks.cancelled, u64::from(MANY_TASKS));
}
