//! EFFECT. Deletes what a survey found, kind by kind, and says what became of each resource.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use tokio::time::Instant;

use super::command::AskError;
use super::survey::{Answers, Found, Site, Survey};
use super::target::{Wanted, Whose};
use crate::sweep::{AnswerClass, Children, Delete, Item, Step, Values};

/// Between two looks at what is going, growing to the second.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// What keeps a resource, or needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Blocker {
    pub kind: String,
    pub id: String,
    /// Whose it is, as far as its tags tell.
    pub owner: String,
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({})", self.kind, self.id, self.owner)
    }
}

/// What became of one resource in one round.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// Its deletion was taken.
    Asked,
    /// It goes with something else, or by itself.
    Going,
    /// Something that is not ours lies in it: it stays.
    Blocked(Vec<Blocker>),
    /// Something still needs it, or it failed in passing.
    Later(String),
    Failed(String),
}

pub type Fates = BTreeMap<(usize, String), Fate>;

impl Site {
    /// Goes through the steps in their order.
    pub async fn erase(&self, survey: &Survey, wanted: &Wanted, deadline: Instant) -> Fates {
        let mut fates = Fates::new();
        let alive: BTreeSet<&str> = survey.ours.iter().map(|found| found.item.id.as_str()).collect();
        // Parts of what goes, or is gone, are not deleted by themselves.
        let whole = |item: &Item| {
            let of = item.part_of.as_deref();
            of.is_some_and(|of| alive.contains(of) || survey.gone.contains(of))
        };
        for (index, step) in self.voice.manifest.steps.iter().enumerate() {
            let (going, todo): (Vec<&Found>, Vec<&Found>) = survey
                .ours
                .iter()
                .filter(|found| found.step == index)
                .partition(|found| found.ending || whole(&found.item));
            let key = |found: &Found| (index, found.item.id.clone());
            fates.extend(going.iter().map(|found| (key(found), Fate::Going)));
            if todo.is_empty() && going.is_empty() {
                continue;
            }
            let opened = join_all(todo.iter().map(|found| self.open(step, found, survey, wanted))).await;
            let mut ready = Vec::new();
            for (found, opened) in todo.into_iter().zip(opened) {
                match opened {
                    None => ready.push(found),
                    Some(fate) => drop(fates.insert(key(found), fate)),
                }
            }
            let items: Vec<&Item> = ready.iter().map(|found| &found.item).collect();
            let deleted = self.delete(&step.delete, &items, &self.values()).await;
            fates.extend(ready.iter().zip(deleted).map(|(found, fate)| (key(found), fate)));
            if step.wait {
                let leaves = |(of, id): &(usize, String)| (*of == index).then(|| id.clone());
                let asked = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Asked | Fate::Going));
                let asked: BTreeSet<String> = asked.filter_map(|(key, _)| leaves(key)).collect();
                self.until_gone(index, step, &asked, wanted, deadline).await;
            }
        }
        fates
    }

    /// Deletes what lies in a resource without tags of its own. `None`: nothing is in the way.
    async fn open(&self, step: &Step, found: &Found, survey: &Survey, wanted: &Wanted) -> Option<Fate> {
        let values = self.values().with_item(&found.item).with("parent", &found.item.id);
        let looked = step.children.iter().map(|children| self.look_into(children, &values, survey, wanted));
        let mut blockers = Vec::new();
        for (children, looked) in step.children.iter().zip(join_all(looked).await) {
            match looked {
                Ok((inside, foreign)) => {
                    blockers.extend(foreign);
                    let Some(delete) = children.delete.as_ref().filter(|_| blockers.is_empty()) else {
                        continue;
                    };
                    let inside: Vec<&Item> = inside.iter().collect();
                    let fates = self.delete(delete, &inside, &values).await;
                    let failed = fates.into_iter().find(|fate| !matches!(fate, Fate::Asked));
                    if let Some(fate) = failed {
                        return Some(fate);
                    }
                }
                Err(error) if error.class() == Some(AnswerClass::Gone) => {}
                Err(error) => {
                    return Some(Fate::Failed(format!(
                        "could not look for a {} in it: {error}",
                        children.kind
                    )));
                }
            }
        }
        (!blockers.is_empty()).then_some(Fate::Blocked(blockers))
    }

    /// Whether anything that is not ours lies in what is ours.
    pub async fn holds_foreign(&self, survey: &Survey, wanted: &Wanted) -> bool {
        let looked = survey.ours.iter().flat_map(|found| {
            let children = self.voice.manifest.steps[found.step].children.iter();
            children.filter(|children| children.delete.is_none()).map(move |children| async move {
                let values = self.values().with_item(&found.item).with("parent", &found.item.id);
                self.look_into(children, &values, survey, wanted).await
            })
        });
        join_all(looked).await.into_iter().any(|looked| looked.is_ok_and(|(_, foreign)| !foreign.is_empty()))
    }

    /// What lies in a resource: what may go with it, and what is not ours.
    async fn look_into(
        &self,
        children: &Children,
        values: &Values,
        survey: &Survey,
        wanted: &Wanted,
    ) -> Result<(Vec<Item>, Vec<Blocker>), AskError> {
        let inside = self.list(&children.list, values, &Answers::default()).await?;
        if children.delete.is_some() {
            return Ok((inside, Vec::new()));
        }
        let ours: BTreeSet<&str> = survey.ours.iter().map(|found| found.item.id.as_str()).collect();
        let with_ours = |item: &Item| {
            item.part_of.as_deref().is_some_and(|of| ours.contains(of) || survey.gone.contains(of))
        };
        let foreign = inside.iter().filter(|item| {
            !with_ours(item) && !matches!(wanted.whose(item, &self.scope.backend), Whose::Ours { .. })
        });
        let blockers = foreign.map(|item| Blocker {
            kind: children.kind.clone(),
            id: item.id.clone(),
            owner: whose(item),
        });
        let blockers = blockers.collect();
        Ok((inside, blockers))
    }

    /// Deletes items, several at once where that is possible; each has its fate, in their order.
    async fn delete(&self, delete: &Delete, items: &[&Item], values: &Values) -> Vec<Fate> {
        let batches = items.chunks(delete.at_once.max(1)).map(|batch| async move {
            let fate = self.delete_batch(delete, batch, values).await;
            if batch.len() == 1 || matches!(fate, Fate::Asked) {
                return vec![fate; batch.len()];
            }
            // One that is gone or held spoils the batch for all.
            let alone =
                batch.iter().map(|item| self.delete_batch(delete, std::slice::from_ref(item), values));
            join_all(alone).await
        });
        join_all(batches).await.into_iter().flatten().collect()
    }

    async fn delete_batch(&self, delete: &Delete, batch: &[&Item], values: &Values) -> Fate {
        let arguments = values.render_for(&delete.command, batch);
        let arguments = arguments.and_then(|arguments| self.voice.arguments(arguments, values));
        let ended = match arguments {
            Ok(arguments) => self.voice.run(&arguments).await.map(drop),
            Err(error) => Err(error.into()),
        };
        match ended {
            Ok(()) => Fate::Asked,
            Err(error) => match error.class() {
                Some(AnswerClass::Gone) => Fate::Asked,
                Some(AnswerClass::InUse | AnswerClass::Transient) => Fate::Later(error.to_string()),
                None => Fate::Failed(error.to_string()),
            },
        }
    }

    /// Waits until a kind is gone, because what comes next lies around it.
    async fn until_gone(
        &self,
        index: usize,
        step: &Step,
        asked: &BTreeSet<String>,
        wanted: &Wanted,
        deadline: Instant,
    ) {
        if asked.is_empty() {
            return;
        }
        let mut pause = LOOKS.0;
        loop {
            let answers = Answers::default();
            let owners = self.scope.owners.iter();
            let looks = owners.map(|owner| self.step(index, step, owner, wanted, &answers));
            let still = |survey: Survey| survey.ours.iter().any(|found| asked.contains(&found.item.id));
            let left = join_all(looks).await.into_iter().any(still);
            if !left || Instant::now() + pause > deadline {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOKS.1);
        }
    }
}

/// Whose a foreign resource is, in words.
fn whose(item: &Item) -> String {
    let run = item.tag("bench_run_id").map(|run| format!(", run {run}")).unwrap_or_default();
    match (item.tag("bench_owner"), item.facts.get("account").and_then(serde_json::Value::as_str)) {
        (Some(owner), _) => format!("of owner {owner}{run}"),
        (None, Some(account)) => format!("of account {account}, without a tag of bench"),
        (None, None) => "without a tag of bench".to_owned(),
    }
}
