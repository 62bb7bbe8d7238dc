//! Clients that open sessions without a pause, for tests of restarts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::connection::Connection;
use super::polling::sid_of;
use super::process::ServerProcess;
use super::request::{POLLING, Request};
use super::wait::{TIMEOUT, eventually};
use super::websocket::WebSocket;

/// Opens sessions by four clients while `restart` runs. A client that is refused or reset panics.
pub(crate) fn open_sessions_during(addr: SocketAddr, restart: impl FnOnce(&AtomicUsize)) {
    let (opened, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for client in 0..4 {
            let (opened, done) = (&opened, &done);
            scope.spawn(move || {
                for n in client.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    if n % 2 == 0 {
                        let response = Connection::open(addr).request(&Request::get(POLLING));
                        assert_eq!(response.status, 200, "{response:?}");
                        sid_of(response.text());
                    } else {
                        WebSocket::open(addr);
                    }
                    opened.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Also if `restart` panics: the clients end.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _done = Done(&done);
        restart(&opened);
    });
}

/// Waits until the clients have opened `more` sessions.
pub(crate) fn wait_for_sessions(opened: &AtomicUsize, more: usize) {
    let target = opened.load(Ordering::Relaxed) + more;
    eventually("sessions", || opened.load(Ordering::Relaxed) >= target);
}

/// Ends a server by SIGTERM, which is a success.
pub(crate) fn end(mut server: ServerProcess) {
    server.terminate();
    let status = server.wait(TIMEOUT).expect("SIGTERM ends the server");
    assert!(status.success(), "{status}: {}", server.log());
}
