//! Claims: a runner asks for a task, and may wait for one without asking again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;

use super::answer::{Json, Refusal};
use super::app::App;
use super::extract::{JsonBody, RunPath, check_name};
use super::upload::deliver_bytes;
use crate::api::{ClaimRequest, ClaimResponse};
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
    let waits = claim.wait_seconds > 0;
    let mut asked = Instant::now();
    let deadline = asked + Duration::from_secs(claim.wait_seconds.into());
    let mut changes = app.store.queue_changes();
    let mut claim = Some(claim);
    loop {
        let asking = if waits { claim.clone() } else { claim.take() };
        let asking = asking.expect("without a wait it is asked once");
        // Seen before asking, so that a change while asking is not missed.
        changes.mark_unchanged();
        match app.store.claim(&run, asking).await? {
            Claimed::Assigned(task, lease) => {
                app.metrics.claimed(asked.elapsed());
                let deliver_bytes = deliver_bytes(&app);
                return Ok(Json(ClaimResponse::Assigned { task, lease, deliver_bytes }));
            }
            Claimed::Done => return Ok(Json(ClaimResponse::Done)),
            Claimed::Nothing => {}
        }
        let changed = waits
            && tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                () = tokio::time::sleep_until(deadline.into()) => false,
                () = app.stop.cancelled() => false,
            };
        if !changed {
            let retry_after_seconds = if waits { RETRY_AFTER_WAITING_SECONDS } else { RETRY_AFTER_SECONDS };
            return Ok(Json(ClaimResponse::Wait { retry_after_seconds }));
        }
        asked = Instant::now();
    }
}
