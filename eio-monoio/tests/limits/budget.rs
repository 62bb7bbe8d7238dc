//! The budget of bytes of the process. Each test has a process of its own, because the budget is that of all its servers.

use std::time::Duration;

use eio_monoio::{Config, Driver, DropReason};

use crate::support::configs::{brief_shutdown, default_config};
use crate::support::connection::Connection;
use crate::support::own_process;
use crate::support::polling::Polling;
use crate::support::request::target;
use crate::support::test_server::TestServer;
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

const BUDGET: usize = 8 << 20;

fn config(driver: Driver) -> Config {
    brief_shutdown(default_config()).driver(driver).memory_budget(BUDGET)
}

fn held(server: &TestServer) -> usize {
    server.remote().metrics().held_bytes as usize
}

/// The memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}

/// Sends half of a large body or message; returns the connection with its session.
fn begin_large(server: &TestServer, number: usize) -> (Option<Polling>, Connection) {
    const LEN: usize = 999_000;
    let half = vec![b'4'; LEN / 2];
    let head = |target: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {LEN}\r\n\r\n")
    };
    let (session, mut conn, head) = match number % 3 {
        0 => {
            let polling = Polling::open(server.addr());
            let head = head(&target(&polling.sid)).into_bytes();
            (Some(polling), Connection::open(server.addr()), head)
        }
        1 => (None, Connection::open(server.addr()), head("/other").into_bytes()),
        _ => {
            let (ws, _) = WebSocket::open(server.addr());
            // A masked frame with a length of eight bytes.
            let mut head = vec![0x81, 0xff];
            head.extend((LEN as u64).to_be_bytes());
            head.extend([0; 4]);
            (None, ws.conn, head)
        }
    };
    // The server may have refused and closed.
    _ = conn.try_write(head).and_then(|()| conn.try_write(&half));
    (session, conn)
}

#[test]
fn unfinished_messages_stay_within_the_budget_and_small_ones_are_served() {
    let test = "unfinished_messages_stay_within_the_budget_and_small_ones_are_served";
    own_process::for_each_driver(module_path!(), test, |driver| {
        const CLIENTS: usize = 150;
        let server = TestServer::start(config(driver));
        let (mut ws, _) = WebSocket::open(server.addr());
        let mut polling = Polling::open(server.addr());
        let before = resident();
        let clients: Vec<_> = (0..CLIENTS).map(|n| begin_large(&server, n)).collect();
        // Each would take 1 MB: one allocation of each worker may exceed the budget.
        assert!(held(&server) < BUDGET + (4 << 20), "{}", held(&server));
        assert!(resident() - before < 80 << 20, "{} bytes", resident() - before);
        let refused = server.remote().metrics().total().over_budget() as usize;
        assert!(refused >= CLIENTS * 3 / 4, "{refused}");

        ws.send("4small");
        assert_eq!(ws.text(), "4small");
        ws.send(&format!("4{}", "x".repeat(4_000)));
        assert_eq!(ws.text().len(), 4_001);
        polling.post_ok("4small");
        assert_eq!(polling.poll(), "4small");

        let (mut unavailable, mut try_again_later) = (0, 0);
        for (number, (session, mut conn)) in clients.into_iter().enumerate().rev() {
            if number < 15 {
                continue;
            }
            if number % 3 == 2 {
                let mut ws = WebSocket { conn };
                try_again_later += usize::from(ws.expect_close() == Some(1013));
                continue;
            }
            let response = conn.try_response(TIMEOUT).expect("a response");
            assert_eq!((response.status, response.header("Retry-After")), (503, Some("1")));
            unavailable += 1;
            if let Some(session) = session {
                session.assert_unknown();
            }
        }
        assert!(unavailable >= 80 && try_again_later >= 40, "{unavailable} {try_again_later}");
        // All others have left.
        eventually("the release", || held(&server) < 1 << 20);
        ws.send(&format!("4{}", "x".repeat(900_000)));
        assert_eq!(ws.text().len(), 900_001);
    });
}

#[test]
fn queues_of_slow_clients_stay_within_the_budget() {
    let test = "queues_of_slow_clients_stay_within_the_budget";
    own_process::for_each_driver(module_path!(), test, |driver| {
        const CLIENTS: usize = 100;
        const MESSAGE: usize = 50_000;
        let server = TestServer::start(config(driver).close_timeout(Duration::from_millis(200)));
        let clients: Vec<_> = (0..CLIENTS).map(|_| Polling::open(server.addr())).collect();
        let message = "x".repeat(MESSAGE);
        for _ in 0..20 {
            server.remote().broadcast(message.as_str()).expect("the mailbox has room");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Without a budget each would have 1 MB.
        let dropped =
            || server.remote().metrics().total().messages_dropped(DropReason::SlowClient) as usize;
        eventually("dropped messages", || dropped() > CLIENTS * 10);
        let most = BUDGET + CLIENTS * (64 * 1024 + MESSAGE);
        assert!(held(&server) < most && held(&server) > BUDGET / 2, "{}", held(&server));
        // A client without a queue is served.
        let mut other = Polling::open(server.addr());
        server.remote().broadcast("small").expect("the mailbox has room");
        assert_eq!(other.poll(), "4small");
        drop(clients);
        server.remote().disconnect_all();
        // Sessions that close keep their queue until their client polls, or for `close_timeout`.
        eventually("the release", || server.remote().sessions() == 0 && held(&server) < 1 << 20);
    });
}
