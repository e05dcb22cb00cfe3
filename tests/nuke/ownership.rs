//! What is ours goes, and nothing else.

use serde_json::json;

use super::toy::{Toy, tags};

#[test]
fn what_carries_owner_and_run_goes_and_every_decoy_lives() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    let with = |key: &str, value: &str| {
        let mut tags = tags("r1");
        tags[key] = json!(value);
        json!({ "tags": tags, "state": "up" })
    };
    toy.make("north", "machine", "no-tags", json!({ "state": "up" }));
    toy.make(
        "north",
        "machine",
        "bench-r1-toy-a-0",
        json!({ "tags": { "Name": "bench-r1" }, "state": "up" }),
    );
    toy.make("north", "machine", "only-the-key", json!({ "tags": { "bench_owner": "" }, "state": "up" }));
    toy.make(
        "north",
        "machine",
        "only-managed",
        json!({ "tags": { "bench_managed": "true" }, "state": "up" }),
    );
    toy.make("north", "machine", "other-owner", with("bench_owner", "you"));
    toy.make("north", "disk", "part-of-others", json!({ "part_of": "other-owner" }));
    let decoys: Vec<String> =
        toy.living().into_iter().filter(|path| !path.ends_with("-r1") || path.contains("bench-")).collect();
    assert_eq!(decoys.len(), 6, "{decoys:?}");

    let dry = toy.nuke(&["--dry-run"]);
    assert_eq!((dry.code, toy.calls("delete")), (4, 0), "{:#}", dry.report);
    assert_eq!(dry.report["usd_per_h"], 0.25 + 0.01 + 0.0001);
    assert_eq!(dry.resource("m-r1")["class"], "tag_only");

    let answer = toy.nuke(&[]);
    assert_eq!(answer.code, 0, "{:#}\n{}", answer.report, answer.told);
    assert_eq!(toy.living(), decoys);
    assert_eq!(answer.report["gone"], true);
    for id in ["net-r1", "m-r1", "d-r1", "p-r1", "loose-r1"] {
        assert_eq!(answer.outcome(id), "deleted", "{id}");
    }
    assert!(answer.told.contains("run r1, toy, "), "a plan is told first: {}", answer.told);
    let ledger = std::fs::read_to_string(toy.home().join("ledger.jsonl")).unwrap();
    assert!(ledger.trim_end().ends_with(r#""fact":"gone"}"#), "{ledger}");
    let again = toy.nuke(&[]);
    assert_eq!((again.code, again.report["resources"].as_array().unwrap().len()), (0, 0));
}

#[test]
fn listings_and_the_wait_between_them_are_told_as_the_part_of_the_whole_that_they_are() {
    let toy = Toy::new();
    for region in ["north", "south"] {
        toy.intend("r1", region);
        toy.make_run("r1", region);
    }
    let begun = std::time::Instant::now();
    let answer = toy.nuke(&[]);
    let whole = begun.elapsed().as_secs_f64();
    assert_eq!(answer.code, 0, "{:#}", answer.report);
    let listing = answer.report["listing_seconds"].as_f64().unwrap();
    // Regions are listed side by side, and ten seconds lie between the last two listings.
    assert!((10.0..whole).contains(&listing), "{listing} of {whole}");
}

#[test]
fn something_foreign_inside_ours_lives_keeps_it_and_is_named() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    let foreign = json!({ "in": "net-r1", "tags": { "bench_managed": "true", "bench_owner": "you", "bench_run_id": "r7" } });
    toy.make("north", "port", "theirs", foreign);
    let answer = toy.nuke(&[]);
    assert_eq!(answer.code, 4, "{:#}", answer.report);
    // The rule without tags stays as well: it lies in what has to stay.
    assert_eq!(toy.living(), ["north/net/net-r1", "north/port/theirs", "north/rule/rule-r1"]);
    assert_eq!(answer.outcome("net-r1"), "kept");
    let blocker = &answer.resource("net-r1")["blockers"][0];
    assert_eq!((blocker["kind"].as_str(), blocker["id"].as_str()), (Some("port"), Some("theirs")));
    assert!(answer.told.contains("port theirs (of owner you, run r7)"), "{}", answer.told);
    std::fs::remove_file(toy.cloud().join("north/port/theirs.json")).unwrap();
    assert_eq!(toy.nuke(&[]).code, 0);
    assert_eq!(toy.living(), [""; 0]);
}

#[test]
fn a_run_that_nobody_named_is_told_of_and_stays() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    toy.make_run("r2", "north");
    let answer = toy.nuke(&[]);
    assert_eq!((answer.code, &answer.report["other_runs"]["r2"]), (4, &json!(5)), "{:#}", answer.report);
    assert!(toy.lives("north", "machine", "m-r2") && !toy.lives("north", "machine", "m-r1"));
    let named = toy.nuke(&["--run-id", "r2"]);
    assert_eq!((named.code, toy.living().len()), (0, 0), "{:#}", named.report);
}

#[test]
fn all_runs_of_the_owner_go_without_a_ledger_when_the_cloud_is_named() {
    let toy = Toy::new();
    toy.make_run("r2", "north");
    let silent = toy.nuke(&["--all-runs"]);
    assert_eq!(silent.code, 2);
    let text = silent.report.to_string();
    assert!(text.contains("nothing known here") && text.contains("--provider"), "{text}");
    assert!(!text.contains("nothing left"), "{text}");
    assert_eq!(toy.living().len(), 6);
}
