//! Killed anywhere and started again it comes to the same end; two at once are safe.

use std::process::Stdio;
use std::time::Duration;

use super::toy::{Answer, Toy};

#[test]
fn killed_at_ten_points_and_started_again_it_comes_to_the_same_end() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    toy.make("north", "machine", "theirs", serde_json::json!({ "state": "up" }));
    for point in 1..=10_u64 {
        let mut child =
            toy.command(&["nuke", "--yes"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Later each time, through the whole of its work; some come after the end of the deleting.
        std::thread::sleep(Duration::from_millis(150 * point));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let answer = toy.nuke(&[]);
    assert_eq!(answer.code, 0, "{:#}", answer.report);
    assert_eq!(toy.living(), ["north/machine/theirs"]);
}

#[test]
fn two_at_once_both_end_well() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    let start = || {
        let mut command = toy.command(&["nuke", "--yes", "--output", "json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (one, two) = (start(), start());
    let ends: Vec<Answer> =
        [one, two].into_iter().map(|child| Answer::of(&child.wait_with_output().unwrap())).collect();
    assert!(ends.iter().all(|end| end.code == 0), "{:#}\n{:#}", ends[0].report, ends[1].report);
    assert!(
        ends.iter().any(|end| end.told.contains("another `bench nuke`")),
        "{}{}",
        ends[0].told,
        ends[1].told
    );
    assert_eq!(toy.living().len(), 0);
}

#[test]
fn two_homes_of_one_owner_do_not_trip_over_each_other() {
    let toy = Toy::new();
    toy.intend("r1", "north");
    toy.make_run("r1", "north");
    let other = toy.sandbox.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::copy(toy.home().join("ledger.jsonl"), other.join("ledger.jsonl")).unwrap();
    let start = |home: &std::path::Path| {
        let home = home.display().to_string();
        let mut command = toy.command(&["nuke", "--yes", "--output", "json", "--home", &home]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children = [start(&toy.home()), start(&other)];
    for child in children {
        let answer = Answer::of(&child.wait_with_output().unwrap());
        assert_eq!(answer.code, 0, "{:#}\n{}", answer.report, answer.told);
    }
    assert_eq!(toy.living().len(), 0);
}
