//! EFFECT. The meta stack in use: waited for until it answers, held until the run has ended.

use std::sync::Mutex;

use super::error::MetaError;
use super::folder::{Making, Using};
use super::record::MetaRecord;
use super::stack::{POLL, Stack};
use super::step::MetaStep;
use crate::client::{Client, ClientError, Endpoint};

/// The stack as it is used. Others see its user until this is dropped.
pub struct Opened {
    pub endpoint: Endpoint,
    pub record: MetaRecord,
    /// Present while its orchestrator has to be waited for.
    pub(super) booting: Mutex<Option<Booting>>,
    pub(super) _using: Using,
}

pub(super) struct Booting {
    pub stack: Stack,
    pub making: Making,
    /// The machine may be replaced if it stays silent: it was there before, and nobody else uses it.
    pub may_replace: bool,
}

impl Opened {
    /// Waits until the orchestrator can carry out requests. One that was there before and stays silent is
    /// replaced, once. Only the first call waits.
    pub async fn ready(&self) -> Result<(), MetaError> {
        let booting = self.booting.lock().expect("no holder panics").take();
        let Some(mut booting) = booting else { return Ok(()) };
        booting.stack.tell(MetaStep::Booting { url: self.endpoint.url.clone() });
        let version = match booting.wait(&self.endpoint).await? {
            Ok(version) => version,
            Err(_) if booting.may_replace => {
                self.replace(&booting).await?;
                booting.wait(&self.endpoint).await?.map_err(|last| self.silent(&booting, last))?
            }
            Err(last) => return Err(self.silent(&booting, last)),
        };
        let wanted = &self.record.version;
        match version {
            Some(found) if found != *wanted => Err(MetaError::WrongProgram { found, wanted: wanted.clone() }),
            _ => Ok(()),
        }
    }

    async fn replace(&self, booting: &Booting) -> Result<(), MetaError> {
        let why = "its machine is there, and does not answer";
        booting.stack.tell(MetaStep::Applying { why: why.to_owned() });
        let mut record = self.record.clone();
        record.generation += 1;
        let record = booting.stack.make(record, true, &booting.making).await?;
        match record.url {
            Some(found) if found != self.endpoint.url => {
                Err(MetaError::Moved { url: self.endpoint.url.clone(), found })
            }
            _ => Ok(()),
        }
    }

    fn silent(&self, booting: &Booting, last: Option<ClientError>) -> MetaError {
        MetaError::Silent {
            url: self.endpoint.url.clone(),
            instance: self.record.instance_id.clone(),
            boot_log: self.record.boot_log.clone(),
            owner: self.record.owner.clone(),
            minutes: booting.stack.setup.patience.boot.as_secs().div_ceil(60),
            last: last.map(Box::new),
        }
    }
}

impl Booting {
    /// The version of what answers, or the last error of what does not.
    async fn wait(
        &mut self,
        endpoint: &Endpoint,
    ) -> Result<Result<Option<String>, Option<ClientError>>, MetaError> {
        let client = Client::new(endpoint.clone())?;
        let deadline = tokio::time::Instant::now() + self.stack.setup.patience.boot;
        let mut last = None;
        loop {
            tokio::select! {
                answer = client.ready() => match answer {
                    Ok(version) => return Ok(Ok(version)),
                    Err(error) => last = Some(error),
                },
                () = tokio::time::sleep_until(deadline) => return Ok(Err(last)),
                () = self.stack.interrupts.reached(1) => return Err(MetaError::Interrupted),
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
