//! Whatever cannot be seen keeps the exit code from saying that nothing is left.

use serde_json::json;

use super::toy::{Toy, tags};

#[test]
fn a_listing_that_is_refused_leaves_that_kind_and_says_so() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    toy.fault("list-disk", 1_000, "AccessDenied: disks");
    let answer = toy.nuke(&[]);
    assert_eq!((answer.code, &answer.report["gone"]), (4, &json!(false)), "{:#}", answer.report);
    let gap = &answer.report["incomplete"][0];
    let what = gap["what"].as_str().unwrap();
    assert!(what.contains("TOY disk") && what.contains("north"), "{gap}");
    assert_eq!(gap["why"], "AccessDenied: disks");
    assert_eq!(toy.living(), ["north/disk/loose-r1"], "the rest is gone, a disk with its machine");
    let ledger = std::fs::read_to_string(toy.home().join("ledger.jsonl")).unwrap();
    assert!(!ledger.contains("gone"), "{ledger}");
    std::fs::remove_file(toy.cloud().join("faults/list-disk")).unwrap();
    assert_eq!((toy.nuke(&[]).code, toy.living().len()), (0, 0));
}

#[test]
fn a_page_that_is_not_the_last_is_no_listing() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    toy.fault("list-port", 1_000, "partial");
    let answer = toy.nuke(&["--patience", "1"]);
    assert_eq!(answer.code, 4, "{:#}", answer.report);
    assert!(
        answer.report["incomplete"].to_string().contains("a part of what there is"),
        "{:#}",
        answer.report
    );
    assert!(toy.lives("north", "port", "p-r1"));
    assert!(!toy.lives("north", "machine", "m-r1"));
}

#[test]
fn tags_that_cannot_be_read_keep_their_resource() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make("north", "disk", "garbled", json!({ "tags": "bench_owner=me" }));
    let mut without_run = tags("r1");
    without_run.as_object_mut().unwrap().remove("bench_run_id");
    toy.make("north", "disk", "no-run", json!({ "tags": without_run }));
    let answer = toy.nuke(&[]);
    assert_eq!((answer.code, toy.living().len()), (4, 2), "{:#}", answer.report);
    let incomplete = answer.report["incomplete"].to_string();
    assert!(incomplete.contains("garbled") && incomplete.contains("no-run"), "{incomplete}");
}

#[test]
fn what_fails_in_passing_or_is_in_use_for_a_while_is_tried_again() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    toy.fault("list-machine", 1, "SlowDown: too many calls");
    toy.fault("delete-net", 3, "InUse: something forgotten");
    let answer = toy.nuke(&[]);
    assert_eq!((answer.code, toy.living().len()), (0, 0), "{:#}\n{}", answer.report, answer.told);
    assert!(
        answer.told.contains("net net-r1 in toy, ") && answer.told.contains("something forgotten"),
        "{}",
        answer.told
    );
}

#[test]
fn what_may_not_be_deleted_is_left_with_the_reason() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    toy.fault("delete-port", 1_000, "Forbidden: ask somebody else");
    let answer = toy.nuke(&["--patience", "1"]);
    assert_eq!((answer.code, answer.outcome("p-r1")), (4, "failed"), "{:#}", answer.report);
    assert!(answer.resource("p-r1")["why"].as_str().unwrap().contains("Forbidden"), "{:#}", answer.report);
    assert_eq!(answer.outcome("net-r1"), "failed", "it still holds the port");
    assert_eq!(answer.outcome("m-r1"), "deleted");
}
