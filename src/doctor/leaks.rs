//! What earlier runs left in clouds, as far as a few seconds tell.

use std::time::Duration;

use super::Check;
use crate::ledger::LedgerError;
use crate::master::home::Home;
use crate::nuke::{Look, Urgency, look};
use crate::provider::Registry;

const NAME: &str = "earlier runs";
/// Who waits for a look at a machine waits this long for a cloud.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks every part of every cloud in which something may be left. Deletes nothing.
pub async fn earlier_runs(home: &Home, registry: &Registry) -> Check {
    check(look(home, registry, PATIENCE, Urgency::Waited).await)
}

fn check(look: Result<Look, LedgerError>) -> Check {
    let look = match look {
        Ok(look) => look,
        Err(error) => {
            return Check::warning(NAME, crate::cause_chain(&error), "correct the home folder's rights");
        }
    };
    let unseen = look.unseen.iter().map(|gap| format!("{} could not be looked at: {}", gap.what, gap.why));
    let found: Vec<String> = look.leaks.iter().map(ToString::to_string).chain(unseen).collect();
    if found.is_empty() {
        let found = match look.scopes {
            0 => "the ledger knows of nothing that may be left".to_owned(),
            n => format!("nothing that is billed is left in {n} places"),
        };
        return Check::ok(NAME, found);
    }
    let fixes: Vec<String> =
        look.leaks.iter().map(|leak| format!("bench nuke --run-id {}", leak.run_id)).collect();
    let fix = if fixes.is_empty() { "bench nuke --dry-run".to_owned() } else { fixes.join("; ") };
    Check::warning(NAME, found.join("; "), fix)
}
