//! [`SignalGuard`]: keeps SIGINT from ending the process while a server or client handles it.
//!
//! After a handler has been installed, the kernel no longer applies the default action, even when no code handles the
//! signal any more. Therefore each server or client that handles SIGINT holds a guard. Without guards SIGINT ends the
//! process again, if it did so before the first guard.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

use crate::worker::net;

/// While one exists, SIGINT does not end the process.
#[derive(Debug)]
pub(crate) struct SignalGuard(());

#[derive(Default)]
struct Guards {
    count: usize,
    /// Set while there is no guard; made by the first one.
    unhandled: Option<Arc<AtomicBool>>,
}

static GUARDS: Mutex<Guards> = Mutex::new(Guards { count: 0, unhandled: None });

impl SignalGuard {
    /// To be called before a handler is installed: afterwards the original disposition of SIGINT cannot be read.
    pub(crate) fn new() -> io::Result<Self> {
        let mut guards = GUARDS.lock().unwrap_or_else(PoisonError::into_inner);
        let unhandled = match &guards.unhandled {
            Some(unhandled) => unhandled,
            None => {
                let unhandled = Arc::new(AtomicBool::new(false));
                if net::is_default(SIGINT)? {
                    flag::register_conditional_default(SIGINT, unhandled.clone())?;
                }
                guards.unhandled.insert(unhandled)
            }
        };
        unhandled.store(false, Ordering::SeqCst);
        guards.count += 1;
        Ok(Self(()))
    }
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        let mut guards = GUARDS.lock().unwrap_or_else(PoisonError::into_inner);
        guards.count -= 1;
        if let (0, Some(unhandled)) = (guards.count, &guards.unhandled) {
            unhandled.store(true, Ordering::SeqCst);
        }
    }
}
