//! [`End`]: how a session and its tasks end.

use std::cell::Cell;

/// The stage that a session has reached. It only advances.
#[derive(Debug, Default)]
pub(super) struct End(Cell<Stage>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The session is open, or its last requests have their usual timeout.
    #[default]
    Orderly,
    /// The application does not wait for the end: the last request has a short timeout.
    Aborted,
    /// No task waits for a connection or a response any more.
    Stopped,
    /// The worker has ended, and with it every task.
    WorkerEnded,
}

impl End {
    /// Reaches `stage`, unless a later one is reached already.
    pub(super) fn advance(&self, stage: Stage) {
        self.0.set(self.0.get().max(stage));
    }

    /// Whether `stage` or a later one is reached.
    pub(super) fn has_reached(&self, stage: Stage) -> bool {
        self.0.get() >= stage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_only_advance() {
        let end = End::default();
        assert!(end.has_reached(Stage::Orderly) && !end.has_reached(Stage::Aborted));
        end.advance(Stage::Stopped);
        end.advance(Stage::Aborted);
        assert!(end.has_reached(Stage::Aborted) && end.has_reached(Stage::Stopped));
        assert!(!end.has_reached(Stage::WorkerEnded));
    }
}
