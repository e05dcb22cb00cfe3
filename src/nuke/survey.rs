//! EFFECT. Lists one scope: everything that carries our tags, and what could not be listed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::command::{AskError, Voice, json};
use super::target::{Scope, Wanted, Whose};
use crate::api::RunId;
use crate::owner::OwnerId;
use crate::sweep::{AnswerClass, Item, Listing, Step, Tags, TagsQuery, Values, items, query};

/// Pages of one listing: more than this is a listing that does not end.
const MAX_PAGES: usize = 1_000;

/// One scope with the voice that it is asked by.
#[derive(Debug, Clone)]
pub struct Site {
    pub scope: Scope,
    pub voice: Voice,
}

/// A resource that is ours to delete.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Which step of the manifest deletes it.
    pub step: usize,
    pub kind: String,
    pub item: Item,
    pub owner: OwnerId,
    pub run_id: RunId,
    pub provider: Option<String>,
    /// It goes by itself.
    pub ending: bool,
}

/// Something that could not be seen: what is there may be anything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Gap {
    /// Service or kind, and where.
    pub what: String,
    pub why: String,
}

/// What a scope holds.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    pub ours: Vec<Found>,
    /// Ids of ours that are listed though they are gone.
    pub gone: BTreeSet<String>,
    /// Resources of our owner's other runs.
    pub others: BTreeMap<RunId, u64>,
    pub gaps: BTreeSet<Gap>,
}

/// Answers of one survey: what several scopes ask alike is asked once.
#[derive(Debug, Clone, Default)]
pub struct Answers(Arc<Mutex<HashMap<Vec<String>, Answer>>>);

type Answer = Arc<OnceCell<Result<Value, AskError>>>;

impl Answers {
    async fn of(&self, voice: &Voice, arguments: Vec<String>) -> Result<Value, AskError> {
        let cell = {
            let mut answers = self.0.lock().expect("nothing panics while it holds the answers");
            answers.entry(arguments.clone()).or_default().clone()
        };
        let ask = || async {
            let printed = voice.run(&arguments).await?;
            json(&arguments[0], &printed)
        };
        cell.get_or_init(ask).await.clone()
    }
}

impl Site {
    /// What fills the commands of this scope.
    pub fn values(&self) -> Values {
        Values::of(&self.scope.settings)
    }

    /// Which account the credentials lead to; `None` where the backend knows none.
    pub async fn account(&self) -> Result<Option<String>, AskError> {
        let Some(ask) = &self.voice.manifest.account else { return Ok(None) };
        let found = self.voice.ask(&ask.command, ask.query.as_deref(), &self.values()).await?;
        match found {
            Value::String(account) => Ok(Some(account)),
            Value::Number(account) => Ok(Some(account.to_string())),
            other => Err(AskError::NotUnderstood(format!("the account is no text: {other}"))),
        }
    }

    /// Lists every kind. `only` leaves steps out that it does not take.
    pub async fn survey(&self, wanted: &Wanted, answers: &Answers, only: impl Fn(&Step) -> bool) -> Survey {
        let steps = self.voice.manifest.steps.iter().enumerate().filter(|(_, step)| only(step));
        let asked = steps.flat_map(|(index, step)| {
            self.scope.owners.iter().map(move |owner| self.step(index, step, owner, wanted, answers))
        });
        let mut survey = Survey::default();
        for part in join_all(asked).await {
            survey.ours.extend(part.ours);
            survey.gone.extend(part.gone);
            survey.gaps.extend(part.gaps);
            for (run_id, count) in part.others {
                *survey.others.entry(run_id).or_default() += count;
            }
        }
        survey.ours.sort_by(|a, b| (a.step, &a.item.id).cmp(&(b.step, &b.item.id)));
        survey.ours.dedup_by(|a, b| (a.step, &a.item.id) == (b.step, &b.item.id));
        survey
    }

    /// The same scope in every region.
    pub async fn regions(&self) -> Result<Vec<Scope>, String> {
        let Some(regions) = &self.voice.manifest.regions else { return Ok(Vec::new()) };
        let found = self.voice.ask(&regions.command, regions.query.as_deref(), &self.values()).await;
        let Value::Array(found) = found.map_err(|error| error.to_string())? else {
            return Err("its query gave no list".to_owned());
        };
        let there = |region: Value| {
            let mut scope = self.scope.clone();
            scope.settings.insert(regions.setting.clone(), region);
            scope.known = false;
            scope
        };
        Ok(found.into_iter().map(there).collect())
    }

    /// Whether the scope holds anything of its owners, by one question; yes where it cannot be asked.
    pub async fn is_empty_by_probe(&self) -> bool {
        let Some(probe) = &self.voice.manifest.probe else { return false };
        for owner in &self.scope.owners {
            let values = self.values().with("owner", owner.as_str());
            let found = self.voice.ask(&probe.command, probe.query.as_deref(), &values).await;
            if !matches!(found, Ok(Value::Array(list)) if list.is_empty()) {
                return false;
            }
        }
        true
    }

    /// Lists one kind for one owner.
    pub async fn step(
        &self,
        index: usize,
        step: &Step,
        owner: &OwnerId,
        wanted: &Wanted,
        answers: &Answers,
    ) -> Survey {
        let mut survey = Survey::default();
        let values = self.values().with("owner", owner.as_str());
        let listed = match self.list(&step.list, &values, answers).await {
            Ok(listed) => listed,
            Err(error) => {
                survey.gaps.insert(self.gap(step, &error.to_string()));
                return survey;
            }
        };
        for item in listed {
            match wanted.whose(&item, &self.scope.backend) {
                Whose::Ours { owner, run_id, provider } => {
                    let is =
                        |states: &[String]| item.state.as_ref().is_some_and(|state| states.contains(state));
                    if is(&step.gone_states) {
                        survey.gone.insert(item.id);
                        continue;
                    }
                    let ending = is(&step.ending_states);
                    let kind = step.kind.clone();
                    survey.ours.push(Found { step: index, kind, item, owner, run_id, provider, ending });
                }
                Whose::OtherRun(run_id) => *survey.others.entry(run_id).or_default() += 1,
                Whose::Unclear(why) => {
                    let why = format!("{} {} is kept: its tags cannot be read: {why}", step.kind, item.id);
                    survey.gaps.insert(self.gap(step, &why));
                }
                Whose::Kept | Whose::Foreign => {}
            }
        }
        survey
    }

    fn gap(&self, step: &Step, why: &str) -> Gap {
        let service = step.service.as_ref().map(|service| format!("{service} ")).unwrap_or_default();
        Gap { what: format!("{service}{}, {}", step.kind, self.scope.label()), why: why.to_owned() }
    }

    /// All pages of a listing, each item with its tags.
    pub async fn list(
        &self,
        listing: &Listing,
        values: &Values,
        answers: &Answers,
    ) -> Result<Vec<Item>, AskError> {
        let first = self.voice.arguments(values.render(&listing.command)?, values)?;
        let mut arguments = first.clone();
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = answers.of(&self.voice, arguments).await?;
            let next = match &listing.next {
                Some(next) => query(Some(next), page.clone())?,
                None => Value::Null,
            };
            let listed = items(query(listing.query.as_deref(), page)?);
            found.extend(listed.map_err(|why| AskError::NotUnderstood(format!("its query: {why}")))?);
            let next = match next {
                Value::Null | Value::Bool(false) => None,
                Value::String(text) if text.is_empty() => None,
                Value::String(text) => Some(text),
                other => Some(other.to_string()),
            };
            let Some(next) = next else {
                return self.with_tags(found, listing.tags.as_ref(), values).await;
            };
            if listing.next_arguments.is_empty() {
                return Err(AskError::NotUnderstood("it gave a part of what there is".to_owned()));
            }
            arguments = first.clone();
            arguments.extend(values.clone().with("next", next).render(&listing.next_arguments)?);
        }
        Err(AskError::NotUnderstood(format!("it has more than {MAX_PAGES} pages")))
    }

    async fn with_tags(
        &self,
        mut found: Vec<Item>,
        tags: Option<&TagsQuery>,
        values: &Values,
    ) -> Result<Vec<Item>, AskError> {
        let Some(tags) = tags else { return Ok(found) };
        let told = join_all(found.iter().map(|item| self.tags_of(item, tags, values))).await;
        for (item, told) in found.iter_mut().zip(told) {
            item.tags = told;
        }
        Ok(found)
    }

    async fn tags_of(&self, item: &Item, tags: &TagsQuery, values: &Values) -> Tags {
        let values = values.clone().with_item(item);
        match self.voice.ask(&tags.command, tags.query.as_deref(), &values).await {
            Ok(value) => Tags::parse(&value),
            Err(AskError::Failed { said, .. }) if is_none(tags, &said) => Tags::parse(&Value::Null),
            Err(error) if error.class() == Some(AnswerClass::Gone) => Tags::parse(&Value::Null),
            Err(error) => Tags::Unreadable(error.to_string()),
        }
    }
}

fn is_none(tags: &TagsQuery, said: &str) -> bool {
    let pattern = tags.none_pattern.as_deref().map(regex::Regex::new);
    pattern.is_some_and(|pattern| pattern.expect("the manifest's patterns were checked").is_match(said))
}
