//! [`DropReason`]: why a message was not queued.

use crate::error::SendError;

/// Why a session did not receive a message that the application sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// [`outbound_high_water`](crate::Config::outbound_high_water) bytes waited for the client.
    SlowClient,
    /// The session had ended, or was closing.
    SessionClosed,
    /// There is no session with this sid.
    UnknownSession,
    /// [`mailbox_high_water`](crate::Config::mailbox_high_water) bytes waited for the worker of the session, or it had
    /// ended.
    MailboxFull,
    /// The message had 4 GiB or more.
    TooLarge,
    /// Text with U+001E.
    Separator,
}

impl DropReason {
    pub(crate) const ALL: [Self; 6] = [
        Self::SlowClient,
        Self::SessionClosed,
        Self::UnknownSession,
        Self::MailboxFull,
        Self::TooLarge,
        Self::Separator,
    ];

    /// The reason for an error of a session; `None` for the error of a call that sends no message.
    pub(crate) fn of(error: SendError) -> Option<Self> {
        match error {
            SendError::Full => Some(Self::SlowClient),
            SendError::Closed => Some(Self::SessionClosed),
            SendError::TooLarge { .. } => Some(Self::TooLarge),
            SendError::Separator => Some(Self::Separator),
            SendError::Reserved | SendError::NotJson => None,
        }
    }

    /// The value of the label `reason`.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::SlowClient => "slow_client",
            Self::SessionClosed => "session_closed",
            Self::UnknownSession => "unknown_session",
            Self::MailboxFull => "mailbox_full",
            Self::TooLarge => "too_large",
            Self::Separator => "separator",
        }
    }
}
