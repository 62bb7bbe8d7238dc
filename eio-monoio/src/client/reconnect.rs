//! Opening another session after the end of the previous one.

use std::rc::Rc;

use crate::client::connect::open;
use crate::client::retry::{FirstAttempt, retry};
use crate::client::{Backoff, Client, ConnectError};

/// # Reconnecting
impl Client {
    /// Opens another session with the same options, after the previous one has ended.
    ///
    /// The state of the old session is discarded: messages that were not sent ([`undelivered`](Self::undelivered) takes
    /// them before), events that were not taken, and the server's cookies.
    /// If several tasks call this at the same time, the session that opens last replaces the others.
    ///
    /// # Errors
    /// [`ConnectError::Connected`] if the session has not ended, and the errors of the first connection.
    pub async fn reconnect(&self) -> Result<(), ConnectError> {
        self.check_worker()?;
        let old = self.session();
        if old.closed().is_none() {
            return Err(ConnectError::Connected);
        }
        // Its last request is not waited for.
        old.terminate();
        let new = open(&self.worker, &self.settings).await?;
        let replaced = self.session.replace(new);
        if !Rc::ptr_eq(&old, &replaced) {
            // Another task has reconnected in the same time.
            replaced.terminate();
        }
        Ok(())
    }

    /// [Reconnects](Self::reconnect) with pauses between the attempts, until one succeeds.
    ///
    /// ```no_run
    /// # use eio_monoio::client::{Backoff, Client, ConnectError};
    /// # async fn f(client: Client) -> Result<(), ConnectError> {
    /// client.ended().await;
    /// client.reconnect_with(&Backoff::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Only faults that another attempt may cure are retried: [`Backoff::retry_if`].
    ///
    /// # Errors
    /// [`ConnectError::Failed`] with the fault of the last attempt that `backoff` allows, and the other errors of
    /// [`reconnect`](Self::reconnect) at once.
    pub async fn reconnect_with(&self, backoff: &Backoff) -> Result<(), ConnectError> {
        self.check_worker()?;
        retry(&self.worker, backoff, FirstAttempt::AfterPause, async || self.reconnect().await)
            .await
    }
}
