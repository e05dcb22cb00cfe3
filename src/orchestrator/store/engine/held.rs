//! Answers that wait until what they tell of is durable.

use std::sync::Arc;

use crate::orchestrator::store::contract::StoreError;

use super::backend::BackendError;
use super::command::{Command, Reply, send};

/// An answer that goes out once its batch is durable, or says that it is not.
pub trait Held: Send {
    fn settle(self: Box<Self>, failure: Option<&Arc<BatchFailed>>);
}

pub struct HeldAnswer<T> {
    pub reply: Reply<T>,
    pub answer: Result<T, StoreError>,
}

impl<T: Send> Held for HeldAnswer<T> {
    fn settle(self: Box<Self>, failure: Option<&Arc<BatchFailed>>) {
        let answer = match failure {
            Some(failure) => Err(StoreError::failed(failure.clone())),
            None => self.answer,
        };
        send(self.reply, answer);
    }
}

/// A command that was not reached before its batch failed.
pub struct Unreached(pub Command);

impl Held for Unreached {
    fn settle(self: Box<Self>, failure: Option<&Arc<BatchFailed>>) {
        self.0.refuse(match failure {
            Some(failure) => StoreError::failed(failure.clone()),
            None => StoreError::Closed,
        });
    }
}

/// One failure, told to everybody in the batch.
#[derive(Debug, thiserror::Error)]
#[error("nothing of this batch was saved")]
pub struct BatchFailed(#[source] pub BackendError);
