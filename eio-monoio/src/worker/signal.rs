//! [`SignalGuard`]: who answers SIGINT.
//!
//! Once a handler was installed for it, the kernel does nothing with a signal that no one answers any more. Whoever
//! answers SIGINT here therefore holds a claim; when there is none, SIGINT ends the process again, if that is what
//! it did before the first one.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

use crate::worker::net;

/// As long as one lives, SIGINT does not end the process by itself.
#[derive(Debug)]
pub(crate) struct SignalGuard(());

#[derive(Default)]
struct Claims {
    held: usize,
    /// Raised when nobody answers; exists once the first claim was made.
    unanswered: Option<Arc<AtomicBool>>,
}

static CLAIMS: Mutex<Claims> = Mutex::new(Claims { held: 0, unanswered: None });

impl SignalGuard {
    /// To be made before a handler is installed: that would hide what SIGINT does without one.
    pub(crate) fn new() -> io::Result<Self> {
        let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
        let unanswered = match &claims.unanswered {
            Some(unanswered) => unanswered,
            None => {
                let unanswered = Arc::new(AtomicBool::new(false));
                if net::is_default(SIGINT)? {
                    flag::register_conditional_default(SIGINT, unanswered.clone())?;
                }
                claims.unanswered.insert(unanswered)
            }
        };
        unanswered.store(false, Ordering::SeqCst);
        claims.held += 1;
        Ok(Self(()))
    }
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
        claims.held -= 1;
        if let (0, Some(unanswered)) = (claims.held, &claims.unanswered) {
            unanswered.store(true, Ordering::SeqCst);
        }
    }
}
