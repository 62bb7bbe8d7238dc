//! Repeats attempts to connect, with the pauses of a [`Backoff`].

use std::rc::Rc;

use crate::client::backoff::{Backoff, Retry};
use crate::client::error::ConnectError;
use crate::worker::context::WorkerContext;
use crate::worker::task::sleep_on;

/// Whether the first attempt follows a pause.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstAttempt {
    AtOnce,
    AfterPause,
}

/// Calls `attempt` until it succeeds, or fails in a way that `backoff` does not repeat.
pub(crate) async fn retry<T>(
    worker: &Rc<WorkerContext>,
    backoff: &Backoff,
    first: FirstAttempt,
    mut attempt: impl AsyncFnMut() -> Result<T, ConnectError>,
) -> Result<T, ConnectError> {
    let mut pauses = 0;
    let mut made = 0;
    let mut failed = None;
    loop {
        if made > 0 || first == FirstAttempt::AfterPause {
            let pause = backoff.pause(pauses, failed.as_ref());
            backoff.notify(&Retry { attempt: made + 1, pause, fault: failed.as_ref() });
            pauses += 1;
            sleep_on(worker, pause).await;
        }
        made += 1;
        match attempt().await {
            Err(ConnectError::Failed(fault)) if backoff.allows(made, &fault) => {
                failed = Some(fault)
            }
            outcome => return outcome,
        }
    }
}
