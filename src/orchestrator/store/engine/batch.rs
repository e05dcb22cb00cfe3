//! Answers that wait until what they tell of is durable.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::SetOnce;

use crate::orchestrator::store::contract::StoreError;

use super::backend::BackendError;

/// Changes that are committed together.
#[derive(Debug, Default)]
pub struct Batch {
    outcome: SetOnce<Result<(), Arc<BatchFailed>>>,
}

/// One failure, told to everybody in the batch.
#[derive(Debug, thiserror::Error)]
#[error("nothing of this batch was saved")]
pub struct BatchFailed(#[source] pub BackendError);

/// An answer, and the batch with which it becomes durable, if it is not yet.
#[derive(Debug)]
pub struct Answer<T> {
    pub answer: Result<T, StoreError>,
    pub stands_on: Option<Arc<Batch>>,
}

/// What can be said to any caller.
pub type Refusal = Answer<Infallible>;

impl Batch {
    /// Tells everybody who waits for it. The first outcome counts.
    pub fn land(&self, outcome: Result<(), Arc<BatchFailed>>) {
        self.outcome.set(outcome).ok();
    }
}

impl<T> Answer<T> {
    /// One that stands on nothing unsaved.
    pub fn at_once(answer: Result<T, StoreError>) -> Answer<T> {
        Answer { answer, stands_on: None }
    }

    /// The answer when it is durable; an error if it cannot be.
    pub fn when_durable(self) -> impl Future<Output = Result<T, StoreError>> {
        let Answer { answer, stands_on } = self;
        async move {
            if let Some(batch) = stands_on {
                batch.outcome.wait().await.clone().map_err(StoreError::failed)?;
            }
            answer
        }
    }
}

impl Refusal {
    pub fn to<T>(self) -> Answer<T> {
        Answer { answer: self.answer.map(|never| match never {}), stands_on: self.stands_on }
    }
}
