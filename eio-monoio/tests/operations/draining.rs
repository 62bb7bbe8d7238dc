//! A drain of many sessions: evenly, not ready before the first close, and healthy to the end.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::crowd;
use crate::support::configs::drivers;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::Request;
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

const SESSIONS: usize = 10_000;
const SECONDS: usize = 5;

/// When each session was closed. A closed one is dropped.
fn times_of_closes(mut sockets: Vec<WebSocket>) -> Vec<Instant> {
    let mut times = Vec::new();
    let deadline = Instant::now() + TIMEOUT;
    while !sockets.is_empty() {
        assert!(Instant::now() < deadline, "{} sessions are still open", sockets.len());
        let descriptor = |socket: &WebSocket| libc::pollfd {
            fd: socket.conn.stream().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut polled: Vec<_> = sockets.iter().map(descriptor).collect();
        // SAFETY: the vector lives, and has as many entries as the call is told.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 1000) };
        let now = Instant::now();
        times.extend((0..ready.max(0)).map(|_| now));
        let mut polled = polled.iter();
        sockets.retain_mut(|socket| {
            let is_open = polled.next().is_some_and(|polled| polled.revents == 0);
            if !is_open {
                assert_eq!((socket.text().as_str(), socket.expect_close()), ("1", Some(1001)));
            }
            is_open
        });
        thread::sleep(Duration::from_millis(10));
    }
    times
}

/// Asks both routes until `ended`; returns when the server was not ready for the first time.
fn watch(admin: SocketAddr, ended: &AtomicBool) -> Option<Instant> {
    let mut not_ready = None;
    while !ended.load(Ordering::Relaxed) {
        let mut conn = Connection::open(admin);
        let ready = conn.request(&Request::get("/readyz")).status;
        let at = Instant::now();
        conn.request(&Request::get("/healthz")).assert(200, "ok\n");
        match ready {
            200 => assert!(not_ready.is_none(), "ready again"),
            status => {
                assert_eq!(status, 503);
                not_ready.get_or_insert(at);
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    not_ready
}

#[test]
fn ten_thousand_sessions_close_evenly() {
    let _turn = crowd::turn();
    for driver in drivers() {
        let time = format!("{SECONDS}s");
        let mut arguments = vec!["--drain-time", &time, "--drain-wait", "500ms"];
        arguments.extend(["--admin", "127.0.0.1:0", "--shutdown-grace", "1m"]);
        let mut server = crowd::start(&driver.to_string(), &arguments);
        let admin = crowd::admin(&server);
        // Between two polls: the server waits for it until the other sessions are counted.
        let mut absent = Polling::open(server.addr());
        let sockets = crowd::open(server.addr(), SESSIONS);
        let ended = AtomicBool::new(false);
        let (times, not_ready) = thread::scope(|scope| {
            let watching = scope.spawn(|| watch(admin, &ended));
            eventually("the first answer", || !watching.is_finished());
            thread::sleep(Duration::from_millis(100));
            server.terminate();
            let times = times_of_closes(sockets);
            ended.store(true, Ordering::Relaxed);
            (times, watching.join().expect("healthy to the end"))
        });
        assert_eq!(absent.poll(), "1");
        drop(absent);
        let status = server.wait(TIMEOUT).expect("it ends");
        assert!(status.success(), "{status}");

        assert_eq!(times.len(), SESSIONS);
        let first = *times.iter().min().expect("a close");
        assert!(not_ready.expect("it was not ready") < first, "closes before it was not ready");
        let mut seconds = [0; SECONDS];
        for time in times {
            let second = time.duration_since(first).as_secs() as usize;
            seconds[second.min(SECONDS - 1)] += 1;
        }
        println!("{driver}: closes in each second: {seconds:?}");
        let most = SESSIONS / SECONDS * 12 / 10;
        assert!(seconds.iter().all(|count| *count <= most), "{seconds:?}, at most {most}");
    }
}
