//! EFFECT. Terraform's part of a nuke: destroys what the state of one provider instance knows. Its word proves
//! nothing, and whatever is wrong with the state, the sweep goes on by tags.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::report::TerraformReport;
use crate::ledger::Intent;
use crate::provider::Manifest;
use crate::terraform::{
    Adopted, EventKind, InitCache, JobState, Operation, Recovered, State, TerraformError, TfEvent, Tools,
    Workspace,
};

/// Nothing has ended for this long: time to look whether it ever will.
const STILL: Duration = Duration::from_secs(45);

/// One provider instance's Terraform.
#[derive(Debug)]
pub struct Ground {
    pub intent: Intent,
    pub workspace: Workspace,
    cache: InitCache,
}

/// What a state is worth to a destroy.
#[derive(Debug, PartialEq)]
pub enum Standing {
    Usable(Box<State>),
    /// Why Terraform can do nothing here.
    Useless(String),
}

impl Ground {
    pub fn new(intent: &Intent, tools: &Tools, manifest: &Manifest, cache: &Path) -> Ground {
        let mut workspace = Workspace::new(&intent.workspace, tools, manifest);
        if let Some(copy) = &intent.state_copy {
            workspace = workspace.with_state_copy(copy);
        }
        Ground { intent: intent.clone(), workspace, cache: InitCache::new(cache) }
    }

    /// The best state, if it is one of this run.
    pub fn standing(&self) -> Standing {
        judge(self.intent.run_id.as_str(), self.workspace.recover())
    }

    /// Whether Terraform works here now.
    pub fn is_busy(&self) -> bool {
        matches!(self.workspace.state(), Ok(JobState::Running { .. }))
    }

    /// Asks a Terraform that still makes things to stop, and waits for its end, however long that takes. One
    /// that destroys is only waited for.
    pub async fn quiet(&self) -> Result<(), TerraformError> {
        let JobState::Running { operation, .. } = self.workspace.state()? else { return Ok(()) };
        if operation != Operation::Destroy {
            self.workspace.interrupt().await?;
        }
        let mut silent = |_: TfEvent| {};
        match self.workspace.adopt(&mut silent).await {
            Ok(Adopted::Nothing | Adopted::Applied(_) | Adopted::Destroyed(_)) => Ok(()),
            // How it ended does not matter: the listing says what is there.
            Err(error) if error.needs_sweep() => Ok(()),
            Err(TerraformError::Failed { .. } | TerraformError::Interrupted { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Destroys what the state knows. `is_held` tells whether something that is not ours lies in what is ours:
    /// it is asked when nothing moves for a while, because Terraform would wait for that in vain.
    pub async fn destroy(&self, is_held: impl AsyncFn() -> bool) -> TerraformReport {
        let begun = Instant::now();
        let (outcome, why) = match self.standing() {
            Standing::Useless(why) => ("skipped", Some(why)),
            Standing::Usable(_) => match self.try_destroy(is_held).await {
                Ok(()) => ("destroyed", None),
                Err(error) => ("failed", Some(crate::cause_chain(&error))),
            },
        };
        TerraformReport {
            run_id: self.intent.run_id.clone(),
            provider: self.intent.provider.clone(),
            outcome,
            why,
            seconds: begun.elapsed().as_secs_f64(),
        }
    }

    async fn try_destroy(&self, is_held: impl AsyncFn() -> bool) -> Result<(), TerraformError> {
        self.workspace.restore_state()?;
        if !self.workspace.folder().join(".terraform").is_dir() {
            self.workspace.init(&self.cache).await?;
        }
        let moved = Arc::new(Mutex::new(Instant::now()));
        let seen = moved.clone();
        let mut watch = move |event: TfEvent| {
            if !matches!(event.kind, EventKind::ApplyProgress { .. }) {
                *seen.lock().expect("nothing panics while it holds a time") = Instant::now();
            }
        };
        let destroy = self.workspace.destroy(&mut watch);
        tokio::pin!(destroy);
        loop {
            let last = *moved.lock().expect("nothing panics while it holds a time");
            let quiet = (last + STILL).max(Instant::now() + Duration::from_secs(1));
            tokio::select! {
                ended = &mut destroy => return ended.map(drop),
                () = tokio::time::sleep_until(quiet) => {}
            }
            let last = *moved.lock().expect("nothing panics while it holds a time");
            if last.elapsed() >= STILL {
                let held = tokio::select! {
                    ended = &mut destroy => return ended.map(drop),
                    held = is_held() => held,
                };
                if held {
                    self.workspace.interrupt().await?;
                }
                *moved.lock().expect("nothing panics while it holds a time") = Instant::now();
            }
        }
    }
}

/// PURE. A state of another run would destroy that one's machines.
fn judge(run_id: &str, recovered: Recovered) -> Standing {
    let Recovered { found, unreadable } = recovered;
    let Some((_, state)) = found else {
        let names: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
        let why = if names.is_empty() { "there is no state".to_owned() } else { names.join("; ") };
        return Standing::Useless(why);
    };
    if state.resources.is_empty() {
        return Standing::Useless("its state knows of nothing".to_owned());
    }
    match state.belongs_to(run_id) {
        Some(false) => Standing::Useless("the state that is there belongs to another run".to_owned()),
        None => Standing::Useless("its state does not say which run it belongs to".to_owned()),
        Some(true) => Standing::Usable(Box::new(state)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recovered(text: &str) -> Recovered {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("terraform.tfstate"), text).unwrap();
        State::recover(folder.path(), None)
    }

    fn state(run: &str) -> String {
        format!(
            r#"{{ "version": 4, "outputs": {{ "run_id": {{ "value": "{run}" }} }}, "resources": [
                {{ "mode": "managed", "type": "m", "name": "n", "instances": [{{ "attributes": {{ "id": "i-1" }} }}] }}] }}"#
        )
    }

    #[test]
    fn a_state_is_used_only_when_it_is_of_the_run_and_knows_something() {
        assert!(matches!(judge("r1", recovered(&state("r1"))), Standing::Usable(_)));
        for (text, why) in [
            (state("r2"), "another run"),
            (String::new(), "not readable"),
            ("{".to_owned(), "not readable"),
            (r#"{ "version": 4, "resources": [] }"#.to_owned(), "knows of nothing"),
        ] {
            match judge("r1", recovered(&text)) {
                Standing::Useless(said) => assert!(said.contains(why), "{said}"),
                Standing::Usable(_) => panic!("{text} was taken"),
            }
        }
        let nothing = State::recover(Path::new("/nonexistent"), None);
        assert_eq!(judge("r1", nothing), Standing::Useless("there is no state".to_owned()));
    }
}
