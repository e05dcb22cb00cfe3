//! The runner's loop: claim a task, work on it under its lease, report, until there is nothing left.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::execute::Halt;
use super::guard::Ending;
use super::retry::Backoff;
use super::settings::Settings;
use super::task::{self, Progress, TaskEnd, chain};
use super::upload::{Report, Reported};
use super::{beat, beat::Lost};
use crate::api::{AssignedTask, ClaimRequest, ClaimResponse, ErrorCode, Lease, ReleaseRequest};
use crate::client::{Client, ClientError};

/// How long the orchestrator may hold a claim back while there is nothing to do, seconds.
const CLAIM_WAIT_SECONDS: u32 = 30;
/// The last words of a runner may take this long.
const GOODBYE_LIMIT: Duration = Duration::from_secs(5);

/// What a runner did, told when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct RunnerEnd {
    pub completed: u32,
    pub failed: u32,
    /// Leases that ended before the task did.
    pub lost: u32,
    /// Tasks given back unspent.
    pub released: u32,
    pub reason: EndReason,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// No task of this provider and alias can come back.
    #[default]
    Done,
    /// By SIGTERM or SIGINT.
    Stopped,
    /// The master is gone.
    Orphaned,
}

pub(super) struct Agent<'a> {
    pub settings: &'a Settings,
    pub client: &'a Client,
    pub ending: watch::Receiver<Ending>,
}

/// How one task went, as far as the loop is concerned.
enum Worked {
    Reported(Reported),
    Released,
    Orphaned,
}

impl Agent<'_> {
    /// Works until there is nothing left or the runner is told to end.
    ///
    /// # Errors
    /// What no repetition would mend: a refused key, the wrong orchestrator.
    pub(super) async fn run(mut self) -> Result<RunnerEnd, ClientError> {
        let mut end = RunnerEnd::default();
        end.reason = loop {
            let Some((answer, asked)) = self.claim().await? else { break self.reason() };
            match answer {
                ClaimResponse::Assigned { task, lease, deliver_bytes } => {
                    match self.work(&task, &lease, asked, deliver_bytes).await {
                        Worked::Reported(Reported::Completed) => end.completed += 1,
                        Worked::Reported(Reported::Failed) => end.failed += 1,
                        Worked::Reported(Reported::Lost) => end.lost += 1,
                        Worked::Released => end.released += 1,
                        Worked::Orphaned => break EndReason::Orphaned,
                    }
                }
                ClaimResponse::Wait { retry_after_seconds } => {
                    self.rest(Duration::from_secs_f64(retry_after_seconds.clamp(0.05, 60.0))).await;
                }
                ClaimResponse::Done => break EndReason::Done,
            }
        };
        if end.reason != EndReason::Orphaned {
            self.goodbye().await;
        }
        if end.reason == EndReason::Done && self.settings.args.no_exit {
            tracing::info!("no task is left; staying until stopped");
            // The sender lives as long as the runtime.
            let _ = self.ending.wait_for(|ending| *ending != Ending::No).await;
        }
        Ok(end)
    }

    /// Asks for a task until there is an answer; `None` when the runner has to end. With the answer comes the
    /// moment at which the first of the equal requests was sent: a lease may be as old as that.
    async fn claim(&mut self) -> Result<Option<(ClaimResponse, Instant)>, ClientError> {
        let args = &self.settings.args;
        let claim = ClaimRequest {
            provider: args.provider.clone(),
            instance_type: args.instance_type.clone(),
            alias: args.alias.clone(),
            runner_id: args.runner_id.clone(),
            host: Some(args.host.clone()),
            request_id: Some(format!("{:032x}", rand::random::<u128>())),
            wait_seconds: CLAIM_WAIT_SECONDS,
        };
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let asked = Instant::now();
        loop {
            if *self.ending.borrow() != Ending::No {
                return Ok(None);
            }
            let answer = tokio::select! {
                answer = self.client.claim(&args.run_id, &claim) => answer,
                _ = self.ending.changed() => {
                    self.return_unseen(claim).await;
                    return Ok(None);
                }
            };
            let pause = match answer {
                Ok(answer) => return Ok(Some((answer, asked))),
                Err(error) if error.code() == Some(ErrorCode::RunEnded) => {
                    return Ok(Some((ClaimResponse::Done, asked)));
                }
                Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                    tracing::info!(run = %args.run_id, "the run does not exist yet; waiting for it");
                    backoff.pause(None)
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = chain(&error), "could not claim a task; trying again");
                    backoff.pause(error.retry_after())
                }
                Err(error) => return Err(error),
            };
            self.rest(pause).await;
        }
    }

    /// Gives back the task that a claim may have been given just when it was dropped. Asked again, the
    /// orchestrator answers the same.
    async fn return_unseen(&self, claim: ClaimRequest) {
        if *self.ending.borrow() == Ending::Orphaned {
            return;
        }
        let claim = ClaimRequest { wait_seconds: 0, ..claim };
        let again = self.client.claim(&self.settings.args.run_id, &claim);
        if let Ok(Ok(ClaimResponse::Assigned { task, lease, .. })) = timeout(GOODBYE_LIMIT, again).await {
            self.release(&task, &lease).await;
        }
    }

    /// Works on a task until it is reported, lost or given back. No process of it is left afterwards.
    async fn work(
        &mut self,
        task: &AssignedTask,
        lease: &Lease,
        asked: Instant,
        deliver_bytes: Option<u64>,
    ) -> Worked {
        tracing::info!(task = task.id, alias = %task.alias, number = task.number, "task claimed");
        let (progress, told) = watch::channel(Progress { status: "claimed", ..Progress::default() });
        let (halt, mut halted) = watch::channel(Halt::No);
        let mut beats = pin!(beat::until_lost(self.client, task.id, lease, asked, told));
        let mut lost = false;
        let mut patience = Patience::new(self.settings.args.stop_grace);

        let end = {
            let mut work = pin!(task::run(self.settings, task, lease, &progress, &mut halted));
            loop {
                tokio::select! {
                    end = &mut work => break end,
                    why = &mut beats, if !lost => {
                        lost = true;
                        log_loss(task, &why);
                        halt.send_replace(Halt::AtOnce);
                    }
                    urgency = patience.next(&mut self.ending) => { halt.send_replace(urgency); }
                }
            }
        };
        // Signals that came together with the workload's end are heard now.
        tokio::task::yield_now().await;
        let worked = match end {
            _ if lost => Worked::Reported(Reported::Lost),
            _ if *self.ending.borrow() == Ending::Orphaned => Worked::Orphaned,
            TaskEnd::Halted => self.release(task, lease).await,
            // Whoever stops this runner may have signalled the workload too: no verdict on the benchmark.
            TaskEnd::Failed { .. } if *self.ending.borrow() != Ending::No => self.release(task, lease).await,
            end => {
                let undelivered = self.settings.args.undelivered.as_deref();
                let (client, fence) = (self.client, lease.fence);
                let report = Report { client, task: task.id, fence, deliver_bytes, undelivered };
                tokio::select! {
                    reported = report.send(&end) => Worked::Reported(reported),
                    why = &mut beats => {
                        log_loss(task, &why);
                        Worked::Reported(Reported::Lost)
                    }
                    _ = patience.next(&mut self.ending) => self.release(task, lease).await,
                }
            }
        };
        self.tidy(task, lease);
        worked
    }

    /// Gives the task back unspent; when that does not get through, its lease runs out.
    async fn release(&self, task: &AssignedTask, lease: &Lease) -> Worked {
        let request = ReleaseRequest { fence: lease.fence, reason: "sigterm".into() };
        match timeout(GOODBYE_LIMIT, self.client.release(task.id, &request)).await {
            Ok(Ok(_)) => tracing::info!(task = task.id, "task given back"),
            Ok(Err(error)) => {
                tracing::warn!(task = task.id, error = chain(&error), "could not give the task back")
            }
            Err(_) => tracing::warn!(task = task.id, "could not give the task back in time"),
        }
        if *self.ending.borrow() == Ending::Orphaned { Worked::Orphaned } else { Worked::Released }
    }

    async fn goodbye(&self) {
        let args = &self.settings.args;
        let words = self.client.runner_gone(&args.run_id, &args.runner_id);
        if !matches!(timeout(GOODBYE_LIMIT, words).await, Ok(Ok(()))) {
            tracing::info!("the goodbye did not get through");
        }
    }

    fn tidy(&self, task: &AssignedTask, lease: &Lease) {
        let folder = self.settings.scratch.join(format!("task-{}-{}", task.id, lease.attempt));
        if let Err(error) = fs_err::remove_dir_all(folder) {
            tracing::warn!(%error, "could not remove a task's files");
        }
    }

    /// Sleeps, unless the runner has to end.
    async fn rest(&mut self, pause: Duration) {
        let _ = timeout(pause, self.ending.wait_for(|ending| *ending != Ending::No)).await;
    }

    fn reason(&self) -> EndReason {
        if *self.ending.borrow() == Ending::Orphaned { EndReason::Orphaned } else { EndReason::Stopped }
    }
}

fn log_loss(task: &AssignedTask, why: &Lost) {
    match why {
        Lost::Refused(reason) => tracing::warn!(task = task.id, reason, "the task was taken away; ending it"),
        Lost::Expired => {
            tracing::warn!(task = task.id, "no heartbeat got through for a whole lease; ending it")
        }
    }
}

/// Turns the runner's ending into the task's: a grace to finish, then a stop, then a kill.
struct Patience {
    grace: Duration,
    /// When the grace that a first signal started is over.
    until: Option<Instant>,
    told: Halt,
}

impl Patience {
    fn new(grace: Duration) -> Patience {
        Patience { grace, until: None, told: Halt::No }
    }

    /// Returns when the task has to be ended (more urgently than before).
    async fn next(&mut self, ending: &mut watch::Receiver<Ending>) -> Halt {
        loop {
            let urgency = match *ending.borrow_and_update() {
                Ending::No => Halt::No,
                Ending::Soon => {
                    let until = *self.until.get_or_insert(Instant::now() + self.grace);
                    if Instant::now() >= until { Halt::Gracefully } else { Halt::No }
                }
                Ending::Now | Ending::Orphaned => Halt::AtOnce,
            };
            if urgency > self.told {
                self.told = urgency;
                return urgency;
            }
            let grace_over = async {
                match self.until {
                    Some(until) if self.told == Halt::No => tokio::time::sleep_until(until).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = ending.changed() => {
                    if changed.is_err() {
                        // Nobody is left to tell anything.
                        sleep(Duration::from_secs(3600)).await;
                    }
                }
                () = grace_over => {}
            }
        }
    }
}
