//! Claims: a runner asks for a task, and may wait for one without asking again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;

use super::answer::{Json, Refusal};
use super::app::App;
use super::extract::{JsonBody, RunPath, check_name};
use super::upload::deliver_bytes;
use crate::api::{ClaimRequest, ClaimResponse, RunId};
use crate::orchestrator::store::Claimed;

const MAX_WAIT_SECONDS: u32 = 60;
/// For runners that do not wait here.
const RETRY_AFTER_SECONDS: f64 = 1.0;
/// For those that did: they may ask again at once, a little spread out.
const RETRY_AFTER_WAITING_SECONDS: f64 = 0.1;

/// Asks for a task of a provider instance and alias. With `wait_seconds` the answer is held back until
/// there is one, the run has none left for this runner, or the time is over.
#[utoipa::path(post, path = "/api/v1/runs/{id}/tasks/claim", tag = "runner",
    params(("id" = String, Path)), request_body = ClaimRequest, responses(
    (status = 200, description = "A task with its lease, `wait` or `done`", body = ClaimResponse),
))]
pub async fn claim_task(
    State(app): State<Arc<App>>,
    RunPath(run): RunPath,
    JsonBody(claim): JsonBody<ClaimRequest>,
) -> Result<Json<ClaimResponse>, Refusal> {
    if claim.wait_seconds > MAX_WAIT_SECONDS {
        return Err(Refusal::bad_request(format!("`wait_seconds` is 0 to {MAX_WAIT_SECONDS}")));
    }
    check_name(&claim.runner_id)?;
    claim.host.as_deref().map_or(Ok(()), check_name)?;
    if claim.wait_seconds > 0 {
        // In memory of its own: who does not wait needs less.
        return Box::pin(wait_for_task(&app, &run, claim)).await.map(Json);
    }
    let answer = ask(&app, &run, claim).await?;
    Ok(Json(answer.unwrap_or(ClaimResponse::Wait { retry_after_seconds: RETRY_AFTER_SECONDS })))
}

/// Asks again with each change of the queue until the time is over.
async fn wait_for_task(app: &App, run: &RunId, claim: ClaimRequest) -> Result<ClaimResponse, Refusal> {
    let deadline = Instant::now() + Duration::from_secs(claim.wait_seconds.into());
    let mut changes = app.store.queue_changes();
    loop {
        // Seen before asking, so that a change while asking is not missed.
        changes.mark_unchanged();
        if let Some(answer) = ask(app, run, claim.clone()).await? {
            return Ok(answer);
        }
        let changed = tokio::select! {
            changed = changes.changed() => changed.is_ok(),
            () = tokio::time::sleep_until(deadline.into()) => false,
            () = app.stop.cancelled() => false,
        };
        if !changed {
            return Ok(ClaimResponse::Wait { retry_after_seconds: RETRY_AFTER_WAITING_SECONDS });
        }
    }
}

/// `None` where there is nothing now.
async fn ask(app: &App, run: &RunId, claim: ClaimRequest) -> Result<Option<ClaimResponse>, Refusal> {
    let asked = Instant::now();
    match app.store.claim(run, claim).await? {
        Claimed::Assigned(task, lease) => {
            app.metrics.claimed(asked.elapsed());
            Ok(Some(ClaimResponse::Assigned { task, lease, deliver_bytes: deliver_bytes(app) }))
        }
        Claimed::Done => Ok(Some(ClaimResponse::Done)),
        Claimed::Nothing => Ok(None),
    }
}
