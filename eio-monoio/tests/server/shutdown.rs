//! Shutdown: clients are notified, running handlers finish, pending work is cancelled at the timeout, and nothing is
//! leaked.

use std::future::pending;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use eio_monoio::{
    CloseReason, Config, ConnectRequest, Handler, Message, OwnedMessage, Refusal, Remote, Running,
    SendError, Server, Socket,
};

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::log::{Entry, Log};
use crate::support::polling::Polling;
use crate::support::request::{POLLING, Request, target};
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

/// Longer than [`TIMEOUT`]: a test that waits this long fails.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// Logs a message when its handler is done: at once, after a `nap`, or `never`. `connect` sleeps for `?nap`.
struct Napping {
    log: Log,
}

impl Handler for Napping {
    type Session = ();

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        if request.query("nap").is_some() {
            eio_monoio::sleep(SHORT).await;
        }
        Ok(())
    }

    async fn open(&self, socket: &Socket<()>) {
        self.log.push(socket, Entry::Opened);
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let (socket, message) = (socket.clone(), OwnedMessage::from(message));
        async move {
            match message.borrow() {
                Message::Text("nap") => eio_monoio::sleep(SHORT).await,
                Message::Text("never") => pending().await,
                Message::Text("large") => {
                    socket
                        .try_send(Message::Binary(&vec![0; 32 << 20]))
                        .expect("the queue has room");
                }
                _ => {}
            }
            self.log.push(&socket, Entry::Message(message));
        }
    }

    async fn disconnect(&self, socket: &Socket<()>, reason: CloseReason) {
        socket.undelivered().await;
        self.log.push(socket, Entry::Closed(reason));
    }
}

/// Holds a reference until it is dropped.
struct Holder {
    _held: Arc<()>,
}

impl Handler for Holder {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }
}

struct Stoppable {
    running: Running,
    log: Log,
}

impl Stoppable {
    fn start(config: Config) -> Self {
        let log = Log::default();
        let shared = log.clone();
        let server = Server::new(move || Napping { log: shared.clone() }).config(config);
        Self { running: server.bind("127.0.0.1:0").expect("the server starts"), log }
    }

    fn addr(&self) -> SocketAddr {
        self.running.local_addr()
    }

    /// Begins the shutdown and waits until the server accepts no new connection.
    fn shut_down(&self) -> Remote {
        let remote = self.running.remote();
        self.running.shutdown();
        eventually("the end of the listeners", || TcpStream::connect(self.addr()).is_err());
        remote
    }

    /// Fails unless the server ends soon and frees its port.
    #[track_caller]
    fn expect_end(self) -> Log {
        let addr = self.addr();
        let (done, ended) = mpsc::channel();
        let running = self.running;
        thread::spawn(move || done.send(running.join().map_err(|error| error.to_string())));
        let ended = ended.recv_timeout(TIMEOUT).expect("the server does not end");
        assert_eq!(ended, Ok(()));
        TcpListener::bind(addr).expect("the port is free");
        self.log
    }
}

#[test]
fn shutdown_notifies_every_client() {
    for_each_config(|config| {
        // A probe may still become the transport, within the upgrade timeout.
        let server = Stoppable::start(
            config.shutdown_timeout(LONG).shutdown_grace(2 * SHORT).upgrade_timeout(SHORT),
        );
        let mut silent = Connection::open(server.addr());
        let mut idle = Polling::open(server.addr());
        let mut held = Polling::open(server.addr());
        held.start_poll();
        let (mut socket, sid) = WebSocket::open(server.addr());
        let mut probed = Polling::open(server.addr());
        let mut probing = WebSocket::attach(server.addr(), &probed.sid);
        probing.probe();
        thread::sleep(Duration::from_millis(50));

        server.running.shutdown();
        assert_eq!(held.poll_response(), "1");
        assert_eq!(socket.text(), "1");
        // RFC 6455 7.4.1: "1001 indicates that an endpoint is 'going away', such as a server going down".
        assert_eq!(socket.expect_close(), Some(1001));
        assert_eq!(probing.expect_close(), Some(1001));
        silent.expect_closed();
        idle.get.expect_closed();
        probed.get.expect_closed();
        held.get.expect_closed();
        drop((socket, probing));
        let sids = [idle.sid, held.sid, probed.sid, sid];
        let log = server.expect_end();
        for sid in sids {
            let expected = [Entry::Opened, Entry::Closed(CloseReason::ServerDisconnect)];
            assert_eq!(log.of(&sid), expected);
        }
    });
}

#[test]
fn polling_clients_receive_close_at_their_next_poll() {
    for_each_config(|config| {
        let server = Stoppable::start(config.shutdown_timeout(LONG).shutdown_grace(LONG));
        let mut clients: Vec<_> = (0..6).map(|_| Polling::open(server.addr())).collect();
        server.running.shutdown();
        thread::sleep(Duration::from_millis(100));
        // New sessions are refused.
        let mut late = Connection::open(server.addr());
        late.send(&Request::get(POLLING));
        assert_eq!(late.response().status, 503);
        drop(late);
        for (n, client) in clients.iter_mut().enumerate() {
            if n % 2 == 0 {
                assert_eq!(client.poll(), "1");
                continue;
            }
            let mut other = Connection::open(server.addr());
            other.send(&Request::get(&target(&client.sid)));
            assert_eq!(other.response().text(), "1");
        }
        // The shutdown waits for nothing else once the clients have closed their connections.
        let sids: Vec<_> = clients.into_iter().map(|client| client.sid).collect();
        let log = server.expect_end();
        for sid in sids {
            assert_eq!(log.close_reason(&sid), CloseReason::ServerDisconnect);
        }
    });
}

#[test]
fn absent_polling_clients_do_not_delay_shutdown() {
    for_each_config(|config| {
        let config = config.shutdown_timeout(LONG).close_timeout(LONG);
        let server = Stoppable::start(config.shutdown_grace(SHORT));
        let sids: Vec<_> = (0..20).map(|_| Polling::open(server.addr()).sid).collect();
        server.running.shutdown();
        let log = server.expect_end();
        for sid in sids {
            assert_eq!(log.close_reason(&sid), CloseReason::ServerDisconnect);
        }
    });
}

#[test]
fn shutdown_drops_the_application() {
    for_each_config(|config| {
        let held = Arc::new(());
        let shared = held.clone();
        let server = Server::new(move || Holder { _held: shared.clone() })
            .config(config.shutdown_timeout(LONG).shutdown_grace(SHORT));
        let running = server.bind("127.0.0.1:0").expect("the server starts");
        // These have no held GET, so the server cannot notify them.
        let _polling: Vec<_> = (0..5).map(|_| Polling::open(running.local_addr())).collect();
        running.shutdown();
        running.join().expect("a clean shutdown");
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

#[test]
fn running_handlers_finish_within_the_timeout() {
    for_each_config(|config| {
        let server = Stoppable::start(config.shutdown_timeout(LONG).shutdown_grace(2 * SHORT));
        let (mut socket, over_socket) = WebSocket::open(server.addr());
        socket.send("4nap");
        socket.send("4next");
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4nap");
        let request = Request::post(&target(&polling.sid), "4rest").bytes();
        polling.post.write(&request[..request.len() - 2]);
        thread::sleep(Duration::from_millis(100));
        server.running.shutdown();
        // A POST whose head has arrived is read and answered; then its connection is closed.
        polling.post.write(&request[request.len() - 2..]);
        let response = polling.post.response();
        assert!(matches!(response.status, 200 | 400), "{response:?}");
        polling.post.expect_closed();
        // The worker of the other session may begin its shutdown later.
        assert_eq!(socket.text(), "1");
        drop((socket, polling.get));
        let log = server.expect_end();
        for sid in [over_socket, polling.sid] {
            let entries = log.of(&sid);
            assert!(entries.contains(&Entry::Message(Message::Text("nap").into())), "{entries:?}");
            assert_eq!(entries.last(), Some(&Entry::Closed(CloseReason::ServerDisconnect)));
        }
    });
}

#[test]
fn pending_work_is_cancelled_at_the_timeout() {
    for_each_config(|config| {
        let server = Stoppable::start(config.shutdown_timeout(SHORT));
        let (mut stuck, over_socket) = WebSocket::open(server.addr());
        stuck.send("4never");
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4never");
        let (mut not_reading, unread) = WebSocket::open(server.addr());
        not_reading.send("4large");
        let half = b"GET / HTTP/1.1\r\n";
        let mut slow = Connection::open(server.addr());
        slow.write(half);
        eventually("a blocked write", || server.log.messages(&unread).len() == 1);
        thread::sleep(Duration::from_millis(50));
        server.running.shutdown();
        let log = server.expect_end();
        for sid in [over_socket, polling.sid, unread] {
            assert_eq!(log.close_reason(&sid), CloseReason::ServerDisconnect);
        }
        slow.expect_closed();
        not_reading.conn.expect_closed();
    });
}

#[test]
fn shutdown_timeout_of_zero_drops_queued_messages() {
    for_each_config(|config| {
        let config = config.shutdown_timeout(Duration::ZERO).shutdown_grace(LONG);
        let server = Stoppable::start(config);
        let mut polling = Polling::open(server.addr());
        let remote = server.running.remote();
        assert_eq!(remote.broadcast("queued"), Ok(()));
        assert!(remote.transport(&polling.sid.parse().expect("a valid sid")).is_some());
        server.running.shutdown();
        polling.get.expect_closed();
        let sid = polling.sid.clone();
        drop(polling);
        assert_eq!(server.expect_end().close_reason(&sid), CloseReason::ServerDisconnect);
    });
}

#[test]
fn handshake_during_shutdown_opens_no_session() {
    for_each_config(|config| {
        let server = Stoppable::start(config.shutdown_timeout(LONG).shutdown_grace(LONG));
        let (mut begun, mut asked) =
            (Connection::open(server.addr()), Connection::open(server.addr()));
        let request = Request::get(POLLING).bytes();
        begun.write(&request[..10]);
        // The `connect` callback is still running for this one.
        asked.send(&Request::get(&format!("{POLLING}&nap=1")));
        thread::sleep(Duration::from_millis(100));
        let remote = server.shut_down();
        begun.write(&request[10..]);
        for mut conn in [begun, asked] {
            let response = conn.response();
            assert_eq!(response.status, 503, "{response:?}");
            conn.expect_closed();
        }
        assert_eq!(remote.sessions(), 0);
        server.expect_end();
    });
}

#[test]
fn remote_of_a_stopped_server_answers_at_once() {
    for_each_config(|config| {
        let server = Stoppable::start(config.shutdown_timeout(SHORT));
        let (_socket, sid) = WebSocket::open(server.addr());
        let sid = eio_monoio::Sid::new(&sid).expect("a valid sid");
        let remote = server.running.remote();
        drop(server);
        assert_eq!((remote.sessions(), remote.connections()), (0, 0));
        let asked = std::time::Instant::now();
        assert_eq!(remote.transport(&sid), None);
        assert!(asked.elapsed() < Duration::from_millis(900), "it waited for an answer");
        assert_eq!(remote.send(&sid, "too late"), Err(SendError::Closed));
        assert_eq!(remote.broadcast("too late"), Err(SendError::Closed));
        remote.shutdown();
    });
}

#[test]
fn occupied_port_is_an_error() {
    for_each_config(|config| {
        let server = Stoppable::start(config.clone());
        let second = Server::new(|| Napping { log: Log::default() }).config(config);
        assert!(second.bind(server.addr()).is_err(), "two servers on one address");
    });
}
