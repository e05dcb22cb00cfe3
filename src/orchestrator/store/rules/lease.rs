//! Calls about a lease by whoever holds it: each carries the fence, and a stale one is refused.
//!
//! A lease that ran out stays valid until the sweep takes it back: nobody else has the task yet, so a late
//! beat renews it and a late result counts.

use crate::api::{
    AttemptOutcome, CompleteRequest, ErrorCode, EventKind, FailRequest, HeartbeatRequest, HeartbeatResponse,
    ReleaseRequest, ResultsPolicy, RunStatus, TaskId, TaskState,
};
use crate::orchestrator::store::clock::{Millis, timestamp};
use crate::orchestrator::store::contract::{LeaseInfo, Upload};
use crate::orchestrator::store::words::Word;

use super::attempt::End;
use super::rows::{HeldLease, TaskRow};
use super::run_state::RunState;
use super::{Ruled, refuse};

/// Giving a task back costs no attempt, but each one leaves rows behind: whoever holds a run key must not
/// do it without end. Spot notices and stops of runners stay far below.
pub(super) const MAX_FREE_RELEASES: u32 = 100;

impl RunState {
    pub fn heartbeat(
        &mut self,
        id: TaskId,
        beat: &HeartbeatRequest,
        now: Millis,
    ) -> Ruled<HeartbeatResponse> {
        self.holder(id, beat.fence)?;
        let lease_ms = self.row.lease_ms;
        let task = self.tasks.row_mut(id);
        let first = task.state == TaskState::Claimed;
        let group = task.group;
        let lease = task.lease.as_mut().expect("a valid fence has a lease");
        lease.expires_at = now + lease_ms;
        lease.beat_at = Some(now);
        if lease.status.as_deref() != Some(&*beat.status) {
            lease.status = Some(beat.status.as_str().into());
        }
        lease.progress = beat.progress;
        lease.message.clone_from(&beat.message);
        let expires_at = timestamp(lease.expires_at);
        let (runner, host) = (lease.runner_id.clone(), lease.host.clone());
        self.groups[group].wanted_at = now;
        self.seen(&runner, &host, now);
        if first {
            self.set_state_by_beat(id, TaskState::Running);
            self.event(now, EventKind::TaskStarted, Some(id), None);
        } else {
            self.touch_by_beat(id);
        }
        Ok(HeartbeatResponse { expires_at })
    }

    pub fn lease_info(&self, id: TaskId, fence: i64) -> Ruled<LeaseInfo> {
        let (task, lease) = self.holder(id, fence)?;
        Ok(LeaseInfo {
            run_id: self.row.id.clone(),
            task_id: id,
            alias: self.groups[task.group].alias.to_string(),
            number: task.number,
            attempt: task.attempts,
            fence,
            upload: lease.upload.clone(),
        })
    }

    pub fn record_upload(&mut self, id: TaskId, fence: i64, upload: &Upload, now: Millis) -> Ruled<()> {
        self.holder(id, fence)?;
        let lease_ms = self.row.lease_ms;
        let task = self.tasks.row_mut(id);
        let lease = task.lease.as_mut().expect("a valid fence has a lease");
        let news = upload.verified && lease.upload.as_ref() != Some(upload);
        lease.upload = Some(upload.clone());
        // Whoever uploads is alive.
        lease.expires_at = lease.expires_at.max(now + lease_ms);
        self.touch(id);
        if news {
            self.event(now, EventKind::TaskUploaded, Some(id), None);
        }
        Ok(())
    }

    pub fn complete(&mut self, id: TaskId, request: &CompleteRequest, now: Millis) -> Ruled<()> {
        if let Some(outcome) = self.repeated(id, request.fence, AttemptOutcome::Completed) {
            return if outcome == request.sha256 {
                Ok(())
            } else {
                refuse(ErrorCode::DigestConflict, format!("task {id} was completed with another digest"))
            };
        }
        let (_, lease) = self.holder(id, request.fence)?;
        match &request.sha256 {
            Some(sha256) if !lease.has_verified(sha256) => return missing(id, lease, Some(sha256)),
            None if self.row.results == ResultsPolicy::Required => return missing(id, lease, None),
            _ => {}
        }
        self.end_attempt(id, now, End::completed(request.sha256.clone()));
        self.finish_task(id, TaskState::Completed, None);
        self.event(now, EventKind::TaskCompleted, Some(id), None);
        self.finish_run_if_over(now);
        Ok(())
    }

    pub fn deliver(
        &mut self,
        id: TaskId,
        upload: &Upload,
        request: &CompleteRequest,
        now: Millis,
    ) -> Ruled<()> {
        // Refused where the call is a repetition, or the fence stale: `complete` tells these apart.
        self.record_upload(id, request.fence, upload, now).ok();
        self.complete(id, request, now)
    }

    pub fn fail(&mut self, id: TaskId, request: &FailRequest, now: Millis) -> Ruled<()> {
        if self.repeated(id, request.fence, AttemptOutcome::Failed).is_some() {
            return Ok(());
        }
        let (_, lease) = self.holder(id, request.fence)?;
        if let Some(sha256) = request.sha256.as_deref().filter(|sha256| !lease.has_verified(sha256)) {
            return missing(id, lease, Some(sha256));
        }
        let claimed_at = lease.claimed_at;
        let kind = request.error_type.word();
        self.end_attempt(id, now, End::failed(kind, &request.error_message, request.sha256.clone()));
        let task = self.tasks.row_mut(id);
        task.failures += 1;
        let retry = task.failures <= self.row.max_failure_retries && task.spent() < self.row.max_attempts;
        if retry {
            self.put_back(id, now, EventKind::TaskRetried, kind);
        } else {
            self.fail_task(id, now, kind, Some(request.error_message.clone()));
        }
        self.judge_host_after_failure(id, request.error_type, now - claimed_at, now);
        self.finish_run_if_over(now);
        Ok(())
    }

    pub fn release(&mut self, id: TaskId, request: &ReleaseRequest, now: Millis) -> Ruled<()> {
        if self.repeated(id, request.fence, AttemptOutcome::Released).is_some() {
            return Ok(());
        }
        self.holder(id, request.fence)?;
        self.end_attempt(id, now, End::released(&request.reason));
        let task = self.tasks.row_mut(id);
        if task.free < MAX_FREE_RELEASES {
            task.free += 1;
        }
        if task.spent() < self.row.max_attempts {
            self.put_back(id, now, EventKind::TaskReleased, &request.reason);
        } else {
            let message =
                format!("it was given back {} times, last because of {}", task.attempts, request.reason);
            self.fail_task(id, now, "released", Some(message));
            self.finish_run_if_over(now);
        }
        Ok(())
    }

    /// The task and its lease, if `fence` is the newest and the task is handed out.
    fn holder(&self, id: TaskId, fence: i64) -> Ruled<(&TaskRow, &HeldLease)> {
        let Some(task) = self.tasks.get(&id) else {
            return refuse(ErrorCode::NotFound, format!("there is no task {id}"));
        };
        match &task.lease {
            Some(lease) if task.fence == fence => Ok((task, lease)),
            _ if self.row.status == RunStatus::Cancelled => {
                let why = format!("the run `{}` was stopped: stop working on task {id}", self.row.id);
                refuse(ErrorCode::RunEnded, why)
            }
            _ => {
                let state = task.state.word();
                let why = format!(
                    "fence {fence} of task {id} is stale: the task is {state} and was taken from this runner; \
                     stop working on it"
                );
                refuse(ErrorCode::StaleFence, why)
            }
        }
    }

    /// The digest of the attempt that held `fence`, if the task's newest ended attempt is that one and it
    /// ended this way: the call is a repetition.
    fn repeated(&self, id: TaskId, fence: i64, outcome: AttemptOutcome) -> Option<Option<String>> {
        let ended = self.tasks.get(&id)?.ended.as_ref()?;
        (ended.fence == fence && ended.outcome == outcome).then(|| ended.sha256.clone())
    }
}

impl HeldLease {
    fn has_verified(&self, sha256: &str) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.verified && upload.sha256 == sha256)
    }
}

/// Refuses a report about a result that is not there; `named` is the digest that it names.
fn missing<T>(id: TaskId, lease: &HeldLease, named: Option<&str>) -> Ruled<T> {
    let why = match (&lease.upload, named) {
        (Some(upload), Some(named)) if upload.sha256 != named => format!(
            "the archive that was {} for task {id} has the digest {}, this call names {named}: name that of the \
             archive, or upload the other one",
            if upload.verified { "uploaded" } else { "announced" },
            upload.sha256
        ),
        (Some(upload), None) if upload.verified => {
            format!("this call names no result of task {id}: name the uploaded archive, {}", upload.sha256)
        }
        _ => format!("the result of task {id} was not uploaded yet: upload it first"),
    };
    refuse(ErrorCode::ResultMissing, why)
}
