//! What the master tells about the meta stack while it brings it up.

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaStep {
    /// Another master of this home makes or replaces it.
    WaitingForMaker,
    /// A Terraform that an earlier master left at work is waited for.
    Adopting,
    Applying {
        why: String,
    },
    /// The machine is there and boots.
    Booting {
        url: String,
    },
    Destroying,
}

impl std::fmt::Display for MetaStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MetaStep::WaitingForMaker => f.write_str("waiting for another bench that makes the orchestrator"),
            MetaStep::Adopting => {
                f.write_str("waiting for a terraform that an earlier bench left at work on the orchestrator")
            }
            MetaStep::Applying { why } => write!(f, "making the orchestrator: {why}"),
            MetaStep::Booting { url } => write!(f, "waiting for the orchestrator at {url}"),
            MetaStep::Destroying => f.write_str("removing what was made of the orchestrator"),
        }
    }
}
