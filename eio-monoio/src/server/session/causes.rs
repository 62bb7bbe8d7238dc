//! The log lines of a session about its end.

use std::fmt::Display;

use eio_core::session::Violation;

use crate::server::cause::{Cause, Subject};
use crate::server::session::Session;

impl<T> Session<T> {
    pub(crate) fn log(&self, cause: Cause, detail: impl Display) {
        let client = Subject::Session(&self.sid, self.peer());
        self.env.shared.causes.write(cause, client, detail);
    }

    /// Logs a request or packet that a session did not accept, unless its refusal is logged elsewhere.
    pub(crate) fn log_violation(&self, violation: Violation) {
        let cause = match violation {
            Violation::OverlappingGet | Violation::OverlappingPost => Cause::OverlappingRequests,
            Violation::WrongDirection => Cause::UnexpectedPacket,
            // Of a request: logged with it. Of an upgrade: its failure is logged.
            _ => return,
        };
        self.log(cause, violation);
    }
}
