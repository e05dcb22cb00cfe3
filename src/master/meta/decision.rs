//! PURE. What is to be done about the meta stack, from what is known of it.

use serde_json::Value;

use super::plan::MetaPlan;
use super::record::MetaRecord;
use crate::api::RunId;
use crate::owner::OwnerId;

/// What came from the address of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It can carry out requests. `active` are the runs that have not ended.
    Ready {
        version: Option<String>,
        active: Vec<RunId>,
    },
    Silent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is there, and of the right version.
    Use,
    Make {
        why: String,
        /// As this master would have it; otherwise exactly as it was made, because others use it.
        fresh: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the orchestrator in this home folder belongs to the owner `{found}`, this run to `{wanted}`: use another \
         home folder (--home) for this owner"
    )]
    OtherOwner { found: OwnerId, wanted: OwnerId },
    #[error(
        "the orchestrator of this owner was made with `{name}` {found}, and `providers.meta` now asks for {wanted}: \
         leave the setting out to use what is there, or remove it first with `bench nuke --run-id meta-{owner}`"
    )]
    Fixed { name: String, found: String, wanted: String, owner: OwnerId },
    #[error(
        "the orchestrator at {url} is of bench {found}, this is {wanted}, and it cannot be replaced while it serves \
         {}: wait for their end or stop them, take bench {found}, or use another owner (BENCH_OWNER)",
        users(.runs)
    )]
    InUse { url: String, found: String, wanted: String, runs: Vec<RunId> },
}

/// `unused`: no other master of this home uses the stack.
pub fn decide(
    plan: &MetaPlan,
    record: Option<&MetaRecord>,
    answer: &Answer,
    unused: bool,
) -> Result<Decision, Refusal> {
    let Some(record) = record else {
        return Ok(Decision::Make { why: "there is none yet".to_owned(), fresh: true });
    };
    check_same(plan, record)?;
    match answer {
        Answer::Silent => {
            let url = record.url.as_deref();
            let why = url.map_or_else(
                || "the last attempt did not come to its end".to_owned(),
                |url| format!("nothing answers at {url}"),
            );
            Ok(Decision::Make { why, fresh: unused })
        }
        Answer::Ready { version, active } => {
            let found = version.as_ref().unwrap_or(&record.version);
            if *found == plan.version {
                return Ok(Decision::Use);
            }
            let (found, wanted) = (found.clone(), plan.version.clone());
            if unused && active.is_empty() {
                return Ok(Decision::Make {
                    why: format!("it is of bench {found}, this is {wanted}"),
                    fresh: true,
                });
            }
            let url = record.url.clone().unwrap_or_default();
            Err(Refusal::InUse { url, found, wanted, runs: active.clone() })
        }
    }
}

fn check_same(plan: &MetaPlan, record: &MetaRecord) -> Result<(), Refusal> {
    if record.owner != plan.owner {
        return Err(Refusal::OtherOwner { found: record.owner.clone(), wanted: plan.owner.clone() });
    }
    let backend = ("backend".to_owned(), Value::from(plan.backend.as_str()));
    for (name, wanted) in plan.fixed.clone().into_iter().chain([backend]) {
        let found = match name.as_str() {
            "backend" => Value::from(record.backend.as_str()),
            _ => record.settings.get(&name).cloned().unwrap_or(Value::Null),
        };
        if found != wanted {
            let (found, wanted) = (found.to_string(), wanted.to_string());
            return Err(Refusal::Fixed { name, found, wanted, owner: plan.owner.clone() });
        }
    }
    Ok(())
}

fn users(runs: &[RunId]) -> String {
    match runs {
        [] => "another bench of this home folder".to_owned(),
        runs => {
            let names: Vec<String> = runs.iter().map(|run| format!("`{run}`")).collect();
            format!("unfinished runs ({})", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::plan::Programs;
    use super::*;
    use crate::config::MetaSettings;
    use crate::provider::{Arch, META, Registry};

    fn plan(given: Value) -> MetaPlan {
        let Value::Object(given) = given else { unreachable!("tests give objects") };
        let settings = MetaSettings { backend: META.to_owned(), given };
        let programs =
            Programs { own: "/bin/bench".into(), own_arch: Arch::X86_64, others: &BTreeMap::new() };
        MetaPlan::new(&settings, &Registry::embedded().unwrap(), &programs, "me".parse().unwrap()).unwrap()
    }

    fn record(plan: &MetaPlan) -> MetaRecord {
        MetaRecord {
            url: Some("https://203.0.113.7".to_owned()),
            pin: String::new(),
            key_file: "meta/admin.key".into(),
            owner: plan.owner.clone(),
            backend: plan.backend.clone(),
            version: plan.version.clone(),
            arch: plan.arch,
            settings: plan.settings.clone(),
            generation: 0,
            instance_id: None,
            instance_type: None,
            region: None,
            boot_log: None,
            price_usd_per_h: None,
            idle_minutes: None,
        }
    }

    fn ready(version: Option<&str>, active: &[&str]) -> Answer {
        let active = active.iter().map(|run| run.parse().unwrap()).collect();
        Answer::Ready { version: version.map(str::to_owned), active }
    }

    fn is_made(decision: Result<Decision, Refusal>, wanted: bool) -> bool {
        matches!(decision, Ok(Decision::Make { fresh, .. }) if fresh == wanted)
    }

    #[test]
    fn what_answers_and_has_the_version_is_used() {
        let plan = plan(json!({}));
        let record = record(&plan);
        for unused in [true, false] {
            let own = ready(Some(&plan.version), &["r1"]);
            assert_eq!(decide(&plan, Some(&record), &own, unused), Ok(Decision::Use));
            assert_eq!(decide(&plan, Some(&record), &ready(None, &[]), unused), Ok(Decision::Use));
        }
    }

    #[test]
    fn what_is_not_there_is_made_and_never_changed_beside_other_users() {
        let plan = plan(json!({}));
        let record = record(&plan);
        assert!(is_made(decide(&plan, None, &Answer::Silent, true), true));
        assert!(is_made(decide(&plan, Some(&record), &Answer::Silent, true), true));
        assert!(is_made(decide(&plan, Some(&record), &Answer::Silent, false), false));
    }

    #[test]
    fn another_version_is_replaced_when_nobody_uses_it() {
        let plan = plan(json!({}));
        let record = record(&plan);
        assert!(is_made(decide(&plan, Some(&record), &ready(Some("0.0.1"), &[]), true), true));
        for (active, unused, named) in
            [(vec!["r1", "r2"], true, "`r1`, `r2`"), (vec![], false, "another bench of this home")]
        {
            let refusal = decide(&plan, Some(&record), &ready(Some("0.0.1"), &active), unused).unwrap_err();
            let text = refusal.to_string();
            assert!(text.contains(named) && text.contains("bench 0.0.1"), "{text}");
        }
    }

    #[test]
    fn a_stack_of_another_owner_or_place_is_not_touched() {
        let plan = plan(json!({ "region": "eu-west-1" }));
        let mut other = record(&plan);
        other.settings["region"] = json!("us-east-1");
        let text = decide(&plan, Some(&other), &Answer::Silent, true).unwrap_err().to_string();
        assert!(text.contains("`region` \"us-east-1\"") && text.contains("meta-me"), "{text}");
        let other = MetaRecord { owner: "you".parse().unwrap(), ..record(&plan) };
        let refusal = decide(&plan, Some(&other), &Answer::Silent, true).unwrap_err();
        assert!(matches!(refusal, Refusal::OtherOwner { .. }));
    }
}
