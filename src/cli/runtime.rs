//! The asynchronous runtime of commands that talk to orchestrators.

use std::future::Future;

use super::Failure;

/// Runs a future to its end on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::infrastructure(anyhow::Error::new(error).context("could not start threads"))
    })?;
    let result = runtime.block_on(future);
    // Whatever still blocks (a file being written) does not hold the end of the program up.
    runtime.shutdown_background();
    result
}
