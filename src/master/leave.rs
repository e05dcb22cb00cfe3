//! How provider instances are told that their run is over.

use tokio::sync::watch;

/// Whether task runners and hosts should go, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    No,
    /// The run has ended: they were told, or are about to be.
    Told,
    /// The run was cancelled: what they are doing counts for nothing any more.
    AtOnce,
    /// As [`Leave::AtOnce`], but hosts are left running.
    Stay,
}

/// Returns once they should go; never, if nobody can say so any more.
pub async fn asked(leave: &mut watch::Receiver<Leave>) -> Leave {
    let asked = leave.wait_for(|leave| *leave != Leave::No).await.ok().map(|leave| *leave);
    match asked {
        Some(how) => how,
        None => std::future::pending().await,
    }
}

/// Returns once the run was cancelled, also after it was told to go in peace; never, if nobody can say so any
/// more.
pub async fn cancelled(leave: &mut watch::Receiver<Leave>) {
    let cancelled = leave.wait_for(|leave| matches!(leave, Leave::AtOnce | Leave::Stay)).await.is_ok();
    if !cancelled {
        std::future::pending::<()>().await;
    }
}
