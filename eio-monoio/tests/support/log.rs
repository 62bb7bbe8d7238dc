//! A log of the callbacks that an application receives, on all workers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eio_monoio::{CloseReason, OwnedMessage, Socket};

use super::wait::eventually;

/// A callback of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Opened,
    Message(OwnedMessage),
    Closed(CloseReason),
}

/// The entries of all workers, in order; each with its sid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<(String, Entry)>>>);

impl Log {
    pub(crate) fn push<T>(&self, socket: &Socket<T>, entry: Entry) {
        self.lock().push((socket.sid().to_string(), entry));
    }

    /// Adds a note that belongs to no session.
    pub(crate) fn note(&self, note: &str) {
        let text = OwnedMessage::Text(note.to_owned());
        self.lock().push((String::new(), Entry::Message(text)));
    }

    /// The texts passed to [`note`](Self::note).
    pub(crate) fn notes(&self) -> Vec<String> {
        let texts = self.messages("").into_iter().filter_map(|message| match message {
            OwnedMessage::Text(text) => Some(text),
            OwnedMessage::Binary(_) => None,
        });
        texts.collect()
    }

    /// Every entry.
    pub(crate) fn all(&self) -> Vec<(String, Entry)> {
        self.lock().clone()
    }

    /// The entries of one session.
    pub(crate) fn of(&self, sid: &str) -> Vec<Entry> {
        let log = self.lock();
        log.iter().filter(|(of, _)| of == sid).map(|(_, entry)| entry.clone()).collect()
    }

    /// The messages of one session.
    pub(crate) fn messages(&self, sid: &str) -> Vec<OwnedMessage> {
        let messages = self.of(sid).into_iter().filter_map(|entry| match entry {
            Entry::Message(message) => Some(message),
            _ => None,
        });
        messages.collect()
    }

    /// Waits for the end of a session and returns its reason; fails if the session has ended more than once.
    #[track_caller]
    pub(crate) fn close_reason(&self, sid: &str) -> CloseReason {
        let reasons = || -> Vec<_> {
            let reasons = self.of(sid).into_iter().filter_map(|entry| match entry {
                Entry::Closed(reason) => Some(reason),
                _ => None,
            });
            reasons.collect()
        };
        eventually("the session's disconnect", || !reasons().is_empty());
        let reasons = reasons();
        assert_eq!(reasons.len(), 1, "{sid} ended more than once: {reasons:?}");
        reasons[0]
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Entry)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
