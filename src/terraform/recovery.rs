//! A folder's state after things went wrong, and its copy for when they do.

use std::io;
use std::path::Path;

use super::state::STATE_FILE;
use super::{Command, Recovered, State, StateSource, TerraformError, Workspace};
use crate::master::home::{create_private_dir, write_private};

impl Workspace {
    /// What is known of resources here: the best state that can be read, and what cannot be.
    pub fn recover(&self) -> Recovered {
        State::recover(&self.folder, self.copy.as_deref())
    }

    /// Puts the best readable state in place, for a destroy: `terraform destroy` without a state says that
    /// all is well. The file that it replaces is kept under a name that says so.
    pub fn restore_state(&self) -> Result<Option<State>, TerraformError> {
        let Recovered { found, .. } = self.recover();
        let Some((source, state)) = found else { return Ok(None) };
        let from = match source {
            StateSource::State => return Ok(Some(state)),
            StateSource::Errored => self.folder.join("errored.tfstate"),
            StateSource::Backup => self.folder.join("terraform.tfstate.backup"),
            StateSource::Copy => self.copy.clone().unwrap_or_default(),
        };
        self.replace_state(&from).map_err(|source| self.files_failed(source))?;
        Ok(Some(state))
    }

    fn replace_state(&self, from: &Path) -> io::Result<()> {
        let state = self.folder.join(STATE_FILE);
        let bytes = fs_err::read(from)?;
        if state.exists() {
            let now = jiff::Timestamp::now().as_millisecond();
            fs_err::rename(&state, self.folder.join(format!("replaced-{now}.tfstate")))?;
        }
        write_private(&state, &bytes)?;
        if from.file_name() == Some("errored.tfstate".as_ref()) {
            fs_err::remove_file(from)?;
        }
        Ok(())
    }

    /// Takes back the mark for replacement that an interrupt left on a healthy resource.
    pub async fn untaint(&self, address: &str) -> Result<(), TerraformError> {
        let command = Command::Untaint { address: address.to_owned() };
        let output = self.tools.run(&self.folder, command).await;
        let output = output.map_err(|source| self.files_failed(source))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(self.files_failed(io::Error::other(format!("could not untaint {address}: {said}"))))
    }

    /// Copies the state elsewhere. A failure costs a second chance only, so it is told and no more.
    pub(super) fn keep_state(&self) {
        let Some(copy) = &self.copy else { return };
        let state = self.folder.join(STATE_FILE);
        let kept = State::read(&state).map_err(io::Error::other).and_then(|state_read| match state_read {
            Some(_) => {
                create_private_dir(copy.parent().unwrap_or(Path::new(".")))?;
                write_private(copy, &fs_err::read(&state)?)
            }
            None => Ok(()),
        });
        if let Err(error) = kept {
            tracing::warn!(%error, "could not copy the state {}", state.display());
        }
    }
}
