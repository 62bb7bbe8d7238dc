//! The end of a server: clients are told, work at hand is finished, what does not end is cut off, and nothing is
//! left behind.

use std::future::pending;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use eio_monoio::{
    CloseReason, Config, ConnectRequest, Handler, Message, OwnedMessage, Refusal, Remote, Running,
    SendError, Server, Socket,
};

use crate::support::app::{Entry, Log, eventually};
use crate::support::matrix::everywhere;
use crate::support::wire::{PATIENCE, POLLING, Polling, Request, WebSocket, Wire, target};

/// Longer than [`PATIENCE`]: a test that waits for it fails.
const LONG: Duration = Duration::from_secs(60);
const NAP: Duration = Duration::from_millis(300);

/// Notes a message when it is done with it: at once, after a `nap`, or `never`. `connect` naps for `?nap`.
struct Worker {
    log: Log,
}

impl Handler for Worker {
    type Session = ();

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        if request.query("nap").is_some() {
            eio_monoio::sleep(NAP).await;
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
                Message::Text("nap") => eio_monoio::sleep(NAP).await,
                Message::Text("never") => pending().await,
                Message::Text("large") => {
                    socket.try_send(Message::Binary(&vec![0; 32 << 20])).expect("room");
                }
                _ => {}
            }
            self.log.push(&socket, Entry::Message(message));
        }
    }

    async fn disconnect(&self, socket: &Socket<()>, reason: CloseReason) {
        self.log.push(socket, Entry::Closed(reason));
    }
}

/// Does nothing, and holds something for as long as it lives.
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

struct Site {
    running: Running,
    log: Log,
}

impl Site {
    fn start(config: Config) -> Self {
        let log = Log::default();
        let theirs = log.clone();
        let server = Server::new(move || Worker { log: theirs.clone() }).config(config);
        Self { running: server.bind("127.0.0.1:0").expect("a server"), log }
    }

    fn addr(&self) -> SocketAddr {
        self.running.local_addr()
    }

    /// Begins the end and waits until no new connection is accepted.
    fn shut_down(&self) -> Remote {
        let remote = self.running.remote();
        self.running.shutdown();
        eventually("the listeners' end", || TcpStream::connect(self.addr()).is_err());
        remote
    }

    /// Fails unless the server ends soon, and leaves its port.
    #[track_caller]
    fn ends(self) -> Log {
        let addr = self.addr();
        let (done, ended) = mpsc::channel();
        let running = self.running;
        thread::spawn(move || done.send(running.join().map_err(|error| error.to_string())));
        let ended = ended.recv_timeout(PATIENCE).expect("the server does not end");
        assert_eq!(ended, Ok(()));
        TcpListener::bind(addr).expect("the port is free");
        self.log
    }
}

#[test]
fn nobody_is_left_without_a_word() {
    everywhere(|config| {
        // A probe may still become the transport; one that does not has its usual time.
        let site = Site::start(config.shutdown_timeout(LONG).upgrade_timeout(NAP));
        let mut silent = Wire::connect(site.addr());
        let mut idle = Polling::open(site.addr());
        let mut held = Polling::open(site.addr());
        held.start_poll();
        let (mut socket, sid) = WebSocket::open(site.addr());
        let mut probed = Polling::open(site.addr());
        let mut probing = WebSocket::attach(site.addr(), &probed.sid);
        probing.send("2probe");
        assert_eq!(probing.text(), "3probe");
        thread::sleep(Duration::from_millis(50));

        site.running.shutdown();
        assert_eq!(held.polled(), "1");
        assert_eq!(socket.text(), "1");
        // RFC 6455 7.4.1: "1001 indicates that an endpoint is 'going away', such as a server going down".
        assert_eq!(socket.expect_close(), Some(1001));
        assert_eq!(probing.expect_close(), Some(1001));
        silent.expect_gone();
        idle.get.expect_gone();
        probed.get.expect_gone();
        held.get.expect_gone();
        drop((socket, probing));
        let sids = [idle.sid, held.sid, probed.sid, sid];
        let log = site.ends();
        for sid in sids {
            let story = [Entry::Opened, Entry::Closed(CloseReason::ServerDisconnect)];
            assert_eq!(log.of(&sid), story);
        }
    });
}

#[test]
fn polling_clients_between_two_polls_are_told_when_they_come() {
    everywhere(|config| {
        let site = Site::start(config.shutdown_timeout(LONG).shutdown_grace(LONG));
        let mut clients: Vec<_> = (0..6).map(|_| Polling::open(site.addr())).collect();
        site.running.shutdown();
        thread::sleep(Duration::from_millis(100));
        // Nobody begins anything new.
        let mut late = Wire::connect(site.addr());
        late.send(&Request::get(POLLING));
        assert_eq!(late.response().status, 503);
        for (n, client) in clients.iter_mut().enumerate() {
            if n % 2 == 0 {
                assert_eq!(client.poll(), "1");
                continue;
            }
            let mut other = Wire::connect(site.addr());
            other.send(&Request::get(&target(&client.sid)));
            assert_eq!(other.response().text(), "1");
        }
        // That was all it waited for.
        let log = site.ends();
        for client in clients {
            assert_eq!(log.close_reason(&client.sid), CloseReason::ServerDisconnect);
        }
    });
}

#[test]
fn polling_clients_that_do_not_come_do_not_hold_up_the_end() {
    everywhere(|config| {
        let config = config.shutdown_timeout(LONG).close_timeout(LONG);
        let site = Site::start(config.shutdown_grace(NAP));
        let sids: Vec<_> = (0..20).map(|_| Polling::open(site.addr()).sid).collect();
        site.running.shutdown();
        let log = site.ends();
        for sid in sids {
            assert_eq!(log.close_reason(&sid), CloseReason::ServerDisconnect);
        }
    });
}

#[test]
fn an_ended_server_keeps_nothing_of_the_application() {
    everywhere(|config| {
        let held = Arc::new(());
        let theirs = held.clone();
        let server = Server::new(move || Holder { _held: theirs.clone() })
            .config(config.shutdown_timeout(LONG));
        let running = server.bind("127.0.0.1:0").expect("a server");
        // These are between two polls: nothing can be said to them.
        let _polling: Vec<_> = (0..5).map(|_| Polling::open(running.local_addr())).collect();
        running.shutdown();
        running.join().expect("ends well");
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

#[test]
fn a_handler_at_work_is_not_cut_off_before_its_time() {
    everywhere(|config| {
        let site = Site::start(config.shutdown_timeout(LONG));
        let (mut socket, over_socket) = WebSocket::open(site.addr());
        socket.send("4nap");
        socket.send("4next");
        let mut polling = Polling::open(site.addr());
        polling.say("4nap");
        let request = Request::post(&target(&polling.sid), "4rest").bytes();
        polling.post.write(&request[..request.len() - 2]);
        thread::sleep(Duration::from_millis(100));
        site.running.shutdown();
        // A POST whose head was there is taken and answered, on a connection that ends with it.
        polling.post.write(&request[request.len() - 2..]);
        let response = polling.post.response();
        assert!(matches!(response.status, 200 | 400), "{response:?}");
        polling.post.expect_gone();
        // The core of the other session may hear of the end later.
        assert_eq!(socket.text(), "1");
        drop((socket, polling.get));
        let log = site.ends();
        for sid in [over_socket, polling.sid] {
            let story = log.of(&sid);
            assert!(story.contains(&Entry::Message(Message::Text("nap").into())), "{story:?}");
            assert_eq!(story.last(), Some(&Entry::Closed(CloseReason::ServerDisconnect)));
        }
    });
}

#[test]
fn what_never_ends_is_cut_off_in_time_and_still_hears_of_it() {
    everywhere(|config| {
        let site = Site::start(config.shutdown_timeout(NAP));
        let (mut stuck, over_socket) = WebSocket::open(site.addr());
        stuck.send("4never");
        let mut polling = Polling::open(site.addr());
        polling.say("4never");
        let (mut deaf, unread) = WebSocket::open(site.addr());
        deaf.send("4large");
        let half = b"GET / HTTP/1.1\r\n";
        let mut slow = Wire::connect(site.addr());
        slow.write(half);
        eventually("a stuck writer", || site.log.messages(&unread).len() == 1);
        thread::sleep(Duration::from_millis(50));
        site.running.shutdown();
        let log = site.ends();
        for sid in [over_socket, polling.sid, unread] {
            assert_eq!(log.close_reason(&sid), CloseReason::ServerDisconnect);
        }
        slow.expect_gone();
        deaf.wire.expect_gone();
    });
}

#[test]
fn a_handshake_during_the_shutdown_does_not_open_a_session() {
    everywhere(|config| {
        let site = Site::start(config.shutdown_timeout(LONG));
        let (mut begun, mut asked) = (Wire::connect(site.addr()), Wire::connect(site.addr()));
        let request = Request::get(POLLING).bytes();
        begun.write(&request[..10]);
        // The application is still making up its mind about this one.
        asked.send(&Request::get(&format!("{POLLING}&nap=1")));
        thread::sleep(Duration::from_millis(100));
        let remote = site.shut_down();
        begun.write(&request[10..]);
        for mut wire in [begun, asked] {
            let response = wire.response();
            assert_eq!(response.status, 503, "{response:?}");
            wire.expect_gone();
        }
        assert_eq!(remote.sessions(), 0);
        site.ends();
    });
}

#[test]
fn an_ended_server_does_not_hold_up_those_who_still_ask_it() {
    everywhere(|config| {
        let site = Site::start(config.shutdown_timeout(NAP));
        let (_socket, sid) = WebSocket::open(site.addr());
        let sid = eio_monoio::Sid::new(&sid).expect("a sid");
        let remote = site.running.remote();
        drop(site);
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
fn a_port_that_is_taken_is_not_shared() {
    everywhere(|config| {
        let site = Site::start(config.clone());
        let server = Server::new(|| Worker { log: Log::default() }).config(config);
        assert!(server.bind(site.addr()).is_err(), "two servers on one address");
    });
}
