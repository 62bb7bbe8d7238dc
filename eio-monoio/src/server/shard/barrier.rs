//! Requests of one session come in at any core, and the one that came first may be the last to reach the session.
//!
//! Where that order counts, the session's core takes what it has received by now, and asks every other one to pass on
//! what it has. No time is involved: however busy the machine is, what was in a core's sockets when it was asked
//! arrives before its answer.

use std::rc::Rc;

use crate::server::shard::ShardState;
use crate::server::shard::shared::ShardMessage;
use crate::worker::deadline::Deadline;
use crate::worker::yield_now;

/// How long a core that does not answer is waited for, in milliseconds: a handler may block it.
const TIMEOUT_MS: u32 = 100;

/// From the kernel to the mail: a connection is accepted in one turn and read from in the next. One more is to spare.
const TURNS: usize = 3;

async fn yield_turns() {
    for _ in 0..TURNS {
        yield_now::yield_now().await;
    }
}

impl<T> ShardState<T> {
    /// Ready when requests that any core received before this call have been passed on to this one, and
    /// their connections had their turn here.
    ///
    /// `fresh`: the connection of whoever asks has brought no other request. Connections of one core that are waited on
    /// already are read in the order in which something came.
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
            // What came in here first may also be read last: its connection waits for the kernel's word when that of
            // the other finds its request at once.
            if fresh {
                yield_turns().await;
            }
            for expected in expected {
                expected.reply().await;
            }
            yield_now::yield_now().await;
        };
        // A worker that does not answer in time is not waited for.
        let _ = deadline.limit(answers).await;
    }

    /// Another shard [settles](Self::barrier): answers it after what has come in here until now.
    pub(crate) fn reach_barrier(self: &Rc<Self>, asker: u16, number: u64)
    where
        T: 'static,
    {
        let state = self.clone();
        self.tasks.spawn(async move {
            yield_turns().await;
            state.shared.post(asker, ShardMessage::BarrierReached(number));
        });
    }
}
