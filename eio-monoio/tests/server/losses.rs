//! Messages that sessions do not receive are counted with the reason, and the kernel holds only as much for a slow client
//! as an option allows.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use eio_monoio::{CloseReason, Config, DropReason, Sid, Socket, Transport, WorkerMetrics};

use crate::support::configs::{default_config, for_each_config};
use crate::support::polling::Polling;
use crate::support::request::{Request, WEBSOCKET};
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

const HIGH_WATER: usize = 64 * 1024;
const SEND_BUFFER: usize = 16 * 1024;
/// The size of a message.
const SIZE: usize = 14_000;

fn slow(config: Config) -> Config {
    config.outbound_high_water(HIGH_WATER).send_buffer_size(SEND_BUFFER)
}

/// A session over WebSocket whose client reads nothing, and has a small receive buffer.
fn deaf_client(addr: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(4096).expect("SO_RCVBUF");
    socket.connect(&addr.into()).expect("the server accepts");
    let mut stream = TcpStream::from(socket);
    stream.write_all(&Request::upgrade(WEBSOCKET).bytes()).expect("the server reads");
    stream
}

fn total(server: &TestServer) -> WorkerMetrics {
    server.remote().metrics().total()
}

/// All reasons but a slow client.
fn other_drops(total: &WorkerMetrics) -> u64 {
    let reasons = [
        DropReason::SessionClosed,
        DropReason::UnknownSession,
        DropReason::MailboxFull,
        DropReason::TooLarge,
        DropReason::Separator,
    ];
    reasons.map(|reason| total.messages_dropped(reason)).iter().sum()
}

#[test]
fn accepted_and_dropped_messages_are_all_that_were_sent() {
    const CLIENTS: usize = 50;
    const BROADCASTS: usize = 60;
    for_each_config(|config| {
        let server = TestServer::start(slow(config).mailbox_high_water(1 << 30));
        let deaf: Vec<_> = (0..CLIENTS).map(|_| deaf_client(server.addr())).collect();
        eventually("all sessions", || server.remote().sessions() == CLIENTS);
        let message = "x".repeat(SIZE);
        for _ in 0..BROADCASTS {
            server.remote().broadcast(message.as_str()).expect("room in the mailboxes");
        }
        let sent = (CLIENTS * BROADCASTS) as u64;
        let counted = || {
            let total = total(&server);
            total.messages_sent() + total.messages_dropped(DropReason::SlowClient)
        };
        eventually("all messages", || counted() >= sent);
        let before = total(&server);
        assert_eq!(counted(), sent);
        assert_eq!(other_drops(&before), 0);
        // Not one client received all of them, and each received some.
        assert!(before.messages_dropped(DropReason::SlowClient) >= CLIENTS as u64 * 10);
        assert!(before.messages_sent() >= CLIENTS as u64 * 4);
        // The queue of each is at its limit, and the kernel has no more than its share.
        let accepted = before.messages_sent() as usize * SIZE / CLIENTS;
        assert!(accepted <= HIGH_WATER + SIZE + 2 * SEND_BUFFER + 64 * 1024, "{accepted}");
        drop(deaf);
        server.wait_until_empty();
        let after = total(&server);
        assert!(after.bytes_lost() >= (CLIENTS * HIGH_WATER / 2) as u64, "{}", after.bytes_lost());
        assert_eq!(after.bytes_queued(), 0);
    });
}

#[test]
fn messages_that_no_poll_fetched_are_counted_with_the_reason_of_the_end() {
    for_each_config(|config| {
        let server = TestServer::start(config.close_timeout(Duration::from_millis(20)));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4!burst 7");
        eventually("the queue", || total(&server).messages_sent() == 7);
        server.remote().disconnect(&Sid::new(&polling.sid).expect("a sid"));
        let undelivered =
            || total(&server).messages_undelivered(CloseReason::ServerDisconnect) == 7;
        eventually("the end", undelivered);
        assert_eq!(total(&server).messages_undelivered(CloseReason::PingTimeout), 0);
    });
}

#[test]
fn each_reason_of_a_drop_is_counted() {
    let server = TestServer::start(default_config().mailbox_high_water(100_000));
    let (socket, sid) = WebSocket::open(server.addr());
    let polling = Polling::open(server.addr());
    let (ws, polling_sid) =
        (Sid::new(&sid).expect("a sid"), Sid::new(&polling.sid).expect("a sid"));
    let remote = server.remote();
    let dropped = |reason| total(&server).messages_dropped(reason);

    // Of this server's form, and of no session.
    let mut unknown = sid.clone();
    let last = unknown.pop().expect("a character");
    unknown.push(if last == 'A' { 'B' } else { 'A' });
    let unknown = Sid::new(&unknown).expect("a sid");
    _ = remote.send(&unknown, "hello");
    _ = remote.send_many([&unknown, &ws], "hello");
    eventually("unknown sessions", || dropped(DropReason::UnknownSession) == 2);

    assert!(remote.send(&polling_sid, "a\u{1e}b").is_err());
    assert!(remote.broadcast("a\u{1e}b").is_err());
    assert_eq!(dropped(DropReason::Separator), 3);

    // The mailbox is full while a job blocks its worker.
    let (unblock, blocked) = mpsc::channel::<()>();
    let job = move |_: Socket<()>| {
        _ = blocked.recv();
        async {}
    };
    remote.spawn_at(&ws, job).expect("the session exists");
    let message = [0; 60_000];
    let refused = (0..10).filter(|_| remote.send(&ws, &message[..]).is_err()).count();
    assert!(refused >= 6, "{refused}");
    assert_eq!(dropped(DropReason::MailboxFull), refused as u64);
    drop(unblock);
    drop(socket);
    eventually("the end of the session", || total(&server).sessions(Transport::WebSocket) == 0);
}
