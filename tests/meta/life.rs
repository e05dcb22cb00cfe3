//! What a stack's days are made of.

use bench::api::{CreateRun, ResultsPolicy, TaskGroup, Workload, WorkloadKind};
use bench::client::Client;
use bench::master::meta::{MetaError, MetaStep};
use serde_json::json;

use crate::setup::{Place, terraform_is_there, until};

fn run(id: &str) -> CreateRun {
    CreateRun {
        run_id: id.parse().unwrap(),
        workload: Workload { name: "mock".into(), timeout_seconds: 60, kind: WorkloadKind::Mock },
        tasks: vec![TaskGroup {
            provider: "p".into(),
            instance_type: "t".into(),
            alias: "a".parse().unwrap(),
            count: 1,
            unsettled: false,
        }],
        lease_seconds: 60,
        max_attempts: 4,
        max_failure_retries: 0,
        pending_timeout_seconds: 600,
        seed: 1,
        results: ResultsPolicy::Optional,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_made_once_and_then_used_without_terraform() {
    if !terraform_is_there() {
        return;
    }
    let place = Place::new();
    let first = place.master(json!({}), |_| {});
    let opened = first.stack.open().await.unwrap();
    opened.ready().await.unwrap();
    assert!(first.told.applied());
    let client = Client::new(opened.endpoint.clone()).unwrap();
    client.create_run(&run("r1")).await.unwrap();
    assert_eq!(opened.record.price_usd_per_h, Some(0.5));
    assert_eq!(opened.record.idle_minutes, Some(240));
    let jobs = place.jobs();

    // While the first still uses it, and after it.
    for _ in 0..2 {
        let next = place.master(json!({ "idle_minutes": 30 }), |_| {});
        let again = next.stack.open().await.unwrap();
        again.ready().await.unwrap();
        assert_eq!(next.told.steps(), [], "nothing is to be told of what is there");
        assert_eq!((&again.endpoint.url, again.endpoint.pin), (&opened.endpoint.url, opened.endpoint.pin));
        assert_eq!(Client::new(again.endpoint.clone()).unwrap().runs().await.unwrap().len(), 1);
    }
    assert_eq!((place.jobs(), place.boots()), (jobs, 1));
    let intents = fs_err::read_to_string(place.home().root().join("ledger.jsonl")).unwrap();
    assert!(intents.lines().next().unwrap().contains("meta-tester"), "{intents}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ended_itself_is_made_anew_behind_the_same_address_with_the_same_keys() {
    if !terraform_is_there() {
        return;
    }
    let place = Place::new();
    let opened = place.master(json!({}), |_| {}).stack.open().await.unwrap();
    opened.ready().await.unwrap();
    let before = opened.endpoint.clone();
    drop(opened);
    place.end_machine();
    let master = place.master(json!({}), |_| {});
    let opened = master.stack.open().await.unwrap();
    opened.ready().await.unwrap();
    assert!(master.told.applied());
    assert_eq!(place.boots(), 1, "it is another machine");
    // Whoever knew the old one reaches the new one.
    assert!(Client::new(before).unwrap().runs().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_masters_one_makes_it_and_the_other_waits() {
    if !terraform_is_there() {
        return;
    }
    let place = Place::new();
    let gated = json!({ "gate": place.gate() });
    let (one, two) = (place.master(gated.clone(), |_| {}), place.master(gated, |_| {}));
    let (told_one, told_two) = (one.told.clone(), two.told.clone());
    let open = |stack: bench::master::meta::Stack| async move {
        let opened = stack.open().await?;
        opened.ready().await?;
        Ok::<_, MetaError>(opened)
    };
    let (one, two) = (tokio::spawn(open(one.stack)), tokio::spawn(open(two.stack)));
    let waits = || {
        let told = [&told_one, &told_two];
        told.iter().any(|told| told.applied())
            && told.iter().any(|told| told.steps().contains(&MetaStep::WaitingForMaker))
    };
    until("one makes it, the other waits", waits).await;
    fs_err::write(place.gate(), "").unwrap();
    let (one, two) = (one.await.unwrap().unwrap(), two.await.unwrap().unwrap());
    assert_eq!(one.endpoint.url, two.endpoint.url);
    assert_eq!(place.boots(), 1);
    assert!(!(told_one.applied() && told_two.applied()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_replaced_but_not_under_the_feet_of_others() {
    if !terraform_is_there() {
        return;
    }
    let place = Place::new();
    let opened = place.master(json!({}), |_| {}).stack.open().await.unwrap();
    opened.ready().await.unwrap();
    let newer = || place.master(json!({}), |setup| setup.plan.version = "99.0.0".to_owned());

    let error = newer().stack.open().await.err().unwrap().to_string();
    assert!(error.contains("another bench of this home folder"), "{error}");
    let client = Client::new(opened.endpoint.clone()).unwrap();
    client.create_run(&run("busy-run")).await.unwrap();
    drop(opened);
    let error = newer().stack.open().await.err().unwrap().to_string();
    assert!(error.contains("`busy-run`") && error.contains("99.0.0"), "{error}");
    assert_eq!(place.boots(), 1);

    client.stop_run(&"busy-run".parse().unwrap()).await.unwrap();
    let master = newer();
    let opened = master.stack.open().await.unwrap();
    assert!(master.told.applied());
    assert_eq!(place.record().unwrap().version, "99.0.0");
    // The program that it was made with is none of that version, which must not go on unseen.
    let error = opened.ready().await.unwrap_err();
    assert!(matches!(error, MetaError::WrongProgram { .. }), "{error}");
}
