//! [`End`]: how far a session is from its end.

use std::cell::Cell;

/// The stage that a session has reached. It only advances.
#[derive(Debug, Default)]
pub(super) struct End(Cell<Stage>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// The session is open, or its last requests run within their usual time.
    #[default]
    Orderly,
    /// The application does not wait for the end: last requests run within a short time.
    Aborted,
    /// No task of the session waits for anything any more.
    Cut,
    /// The worker has ended, and with it every task.
    WorkerEnded,
}

impl End {
    /// Reaches `stage`, unless the session is further already.
    pub(super) fn advance(&self, stage: Stage) {
        self.0.set(self.0.get().max(stage));
    }

    /// Whether `stage` was reached.
    pub(super) fn is_at(&self, stage: Stage) -> bool {
        self.0.get() >= stage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_never_left_for_an_earlier_one() {
        let end = End::default();
        assert!(end.is_at(Stage::Orderly) && !end.is_at(Stage::Aborted));
        end.advance(Stage::Cut);
        end.advance(Stage::Aborted);
        assert!(end.is_at(Stage::Aborted) && end.is_at(Stage::Cut));
        assert!(!end.is_at(Stage::WorkerEnded));
    }
}
