//! Barriers: a session waits until requests received earlier by any worker have reached its own worker.
//!
//! Requests of one session may arrive at any worker, so the first of two may be the last to reach the session. Where
//! their order matters, the session's worker processes all requests that it has received, and asks each other worker to
//! move the ones it has. This does not depend on time: however busy the machine is, requests that were in a worker's
//! sockets when it was asked arrive before its answer.

use std::rc::Rc;

use crate::server::shard::ShardState;
use crate::server::shard::shared::ShardMessage;
use crate::worker::deadline::Deadline;
use crate::worker::yield_now;

/// The longest wait for the answer of a worker, in milliseconds: a handler may block it.
const TIMEOUT_MS: u32 = 100;

/// The number of yields from a socket's readiness to the mailbox message that moves its connection: one to accept it, one
/// to read from it, and one as a margin.
const YIELDS: usize = 3;

async fn yield_until_read() {
    for _ in 0..YIELDS {
        yield_now::yield_now().await;
    }
}

impl<T> ShardState<T> {
    /// Completes when requests that any worker received before this call have been moved to this one, and their
    /// connections have been read from.
    ///
    /// `fresh`: this is the first request of its connection. Connections of one worker that were waiting for readiness
    /// already are read in the order in which bytes arrived.
    pub(crate) async fn barrier(&self, fresh: bool) {
        let others = (0..self.shared.mailboxes.len() as u16).filter(|shard| *shard != self.id);
        let expected: Vec<_> = others
            .map(|shard| {
                let expected = self.barriers.expect();
                self.shared.post(shard, ShardMessage::Barrier(self.id, expected.number));
                expected
            })
            .collect();
        if expected.is_empty() && !fresh {
            return;
        }
        let deadline = Deadline::new(self.worker.clone());
        deadline.set_millis(TIMEOUT_MS);
        let answers = async {
            // Of two connections of this worker, the first to receive may be read last too: it waits for a readiness
            // event, while a new connection finds its request at once.
            if fresh {
                yield_until_read().await;
            }
            for expected in expected {
                expected.reply().await;
            }
            yield_now::yield_now().await;
        };
        // A worker that does not answer in time is not waited for.
        let _ = deadline.limit(answers).await;
    }

    /// Answers a [`barrier`](Self::barrier) of another shard, after requests received here until now have been moved.
    pub(crate) fn reach_barrier(self: &Rc<Self>, asker: u16, number: u64)
    where
        T: 'static,
    {
        let state = self.clone();
        self.tasks.spawn(async move {
            yield_until_read().await;
            state.shared.post(asker, ShardMessage::BarrierReached(number));
        });
    }
}
