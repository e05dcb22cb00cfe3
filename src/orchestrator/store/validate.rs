//! Limits on what comes in. The store checks them itself: what it keeps is within them, whoever called.

use std::collections::HashSet;

use crate::api::{
    ClaimRequest, CreateRun, Deadline, ErrorCode, FailRequest, HeartbeatRequest, HostEvent, ReleaseRequest,
    Settled, WorkloadKind,
};

use super::contract::StoreError;

/// Tasks of one run.
const MAX_TASKS: u64 = 1_000_000;
const MAX_GROUPS: usize = 10_000;
const WEEK_SECONDS: u32 = 604_800;

type Checked = Result<(), StoreError>;

fn check(fits: bool, message: impl FnOnce() -> String) -> Checked {
    if fits { Ok(()) } else { Err(StoreError::refused(ErrorCode::BadRequest, message())) }
}

fn length(name: &str, text: &str, least: usize, most: usize) -> Checked {
    let found = text.chars().count();
    check((least..=most).contains(&found), || {
        format!("`{name}` must have {least} to {most} characters, it has {found}")
    })?;
    // PostgreSQL's text cannot hold it, and no name or message needs it.
    check(!text.contains('\0'), || format!("`{name}` must not contain a NUL character"))
}

fn range<T: PartialOrd + std::fmt::Display>(name: &str, value: T, least: T, most: T) -> Checked {
    check(value >= least && value <= most, || format!("`{name}` must be {least} to {most}, it is {value}"))
}

pub(super) fn create_run(run: &CreateRun) -> Checked {
    range("tasks (groups)", run.tasks.len(), 1, MAX_GROUPS)?;
    let mut aliases = HashSet::new();
    let mut total = 0;
    for group in &run.tasks {
        length("provider", &group.provider, 1, 64)?;
        length("instance_type", &group.instance_type, 1, 128)?;
        range("count", u64::from(group.count), 1, MAX_TASKS)?;
        total += u64::from(group.count);
        check(aliases.insert(&group.alias), || format!("the alias `{}` stands for two groups", group.alias))?;
    }
    range("tasks (all counts together)", total, 1, MAX_TASKS)?;
    range("lease_seconds", run.lease_seconds, 1, 3600)?;
    range("max_attempts", run.max_attempts, 1, 100)?;
    range("max_failure_retries", run.max_failure_retries, 0, 99)?;
    range("pending_timeout_seconds", run.pending_timeout_seconds, 1, WEEK_SECONDS)?;
    length("workload.name", &run.workload.name, 1, 64)?;
    range("workload.timeout_seconds", run.workload.timeout_seconds, 1, WEEK_SECONDS.into())?;
    if let WorkloadKind::Command(command) = &run.workload.kind {
        check(!command.command.is_empty(), || "`workload.command` must name a program".to_owned())?;
        check(command.repetitions > 0, || "`workload.repetitions` must be at least 1".to_owned())?;
    }
    Ok(())
}

pub(super) fn claim(claim: &ClaimRequest) -> Checked {
    length("provider", &claim.provider, 1, 64)?;
    length("instance_type", &claim.instance_type, 1, 128)?;
    length("runner_id", &claim.runner_id, 1, 128)?;
    if let Some(host) = &claim.host {
        length("host", host, 1, 128)?;
    }
    if let Some(request_id) = &claim.request_id {
        length("request_id", request_id, 1, 64)?;
    }
    Ok(())
}

pub(super) fn heartbeat(beat: &HeartbeatRequest) -> Checked {
    length("status", &beat.status, 0, 32)?;
    if let Some(message) = &beat.message {
        length("message", message, 0, 1000)?;
    }
    match beat.progress {
        Some(progress) => range("progress", progress, 0.0, 1.0),
        None => Ok(()),
    }
}

pub(super) fn fail(request: &FailRequest) -> Checked {
    length("error_message", &request.error_message, 0, 10_000)
}

pub(super) fn release(request: &ReleaseRequest) -> Checked {
    length("reason", &request.reason, 0, 64)
}

pub(super) fn settled(provider: &str, settled: &Settled) -> Checked {
    length("provider", provider, 1, 64)?;
    range("hopeless", settled.hopeless.len(), 0, MAX_GROUPS)?;
    length("message", &settled.message, 0, 10_000)
}

pub(super) fn host_event(host: &str, event: &HostEvent) -> Checked {
    length("host", host, 1, 128)?;
    length("provider", &event.provider, 1, 64)?;
    match &event.message {
        Some(message) => length("message", message, 0, 20_000),
        None => Ok(()),
    }
}

pub(super) fn deadline(deadline: Deadline) -> Checked {
    match deadline.expires_at {
        // The last second of the year 9999.
        Some(expires_at) => range("expires_at", expires_at, 0, 253_402_300_799),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(progress: f64) -> HeartbeatRequest {
        HeartbeatRequest { fence: 1, status: "measure".into(), progress: Some(progress), message: None }
    }

    #[test]
    fn progress_is_a_share() {
        assert!(heartbeat(&beat(1.0)).is_ok());
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(heartbeat(&beat(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn text_is_counted_in_characters_and_holds_no_nul() {
        let release_with = |reason: &str| release(&ReleaseRequest { fence: 1, reason: reason.to_owned() });
        assert!(release_with(&"ä".repeat(64)).is_ok());
        assert!(release_with(&"ä".repeat(65)).is_err());
        assert!(release_with("a\0b").is_err());
    }
}
