//! A handler that executes commands in messages, for tests of `Socket`.

use std::time::Duration;

use eio_monoio::{
    CloseReason, Config, ConnectRequest, Handler, Message, OwnedMessage, Packet, Refusal,
    SendError, Sid, Socket, sleep, spawn,
};

use crate::support::log::{Entry, Log};
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;

pub(crate) const MARK: usize = 10_000;

/// Executes commands in messages, and logs the results.
pub(crate) struct Commands {
    log: Log,
}

impl Commands {
    pub(crate) fn start(config: Config) -> TestServer {
        TestServer::run(config, |log| Self { log: log.clone() })
    }

    async fn execute(&self, socket: &Socket<String>, command: &str) {
        let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "broadcast" | "send" | "disconnect" | "describe" | "find" => {
                self.use_server(socket, verb, argument);
            }
            "nap" => {
                sleep(Duration::from_millis(argument.parse().expect("ms"))).await;
                self.log_result(socket, format!("napped {argument}"));
            }
            "watch" => self.watch(socket),
            _ => self.use_socket(socket, verb, argument).await,
        }
    }

    fn log_result(&self, socket: &Socket<String>, result: String) {
        self.log.push(socket, Entry::Message(OwnedMessage::Text(result)));
    }

    /// Commands that send to other sessions or look them up.
    fn use_server(&self, socket: &Socket<String>, verb: &str, argument: &str) {
        let note = |text| self.log_result(socket, text);
        match verb {
            "broadcast" => socket.server().broadcast(argument),
            "send" => {
                let (sid, text) = argument.split_once(' ').expect("a sid and a text");
                socket.server().send(&Sid::new(sid).expect("a valid sid"), text);
            }
            "disconnect" => socket.server().disconnect(&Sid::new(argument).expect("a valid sid")),
            "describe" => note(format!("{} {}", socket.data(), socket.server().sessions())),
            "find" => {
                let (here, there) = argument.split_once(' ').expect("two sids");
                let find = |sid: &str| {
                    let sid = Sid::new(sid).expect("a valid sid");
                    socket.server().socket(&sid).map(|socket| socket.data().clone())
                };
                note(format!("{:?} {:?}", find(here), find(there)));
            }
            other => panic!("unknown command {other:?}"),
        }
    }

    /// Logs the upgrade and the end of a session from a task.
    fn watch(&self, socket: &Socket<String>) {
        let (log, socket) = (self.log.clone(), socket.clone());
        spawn(async move {
            let note = |text: String| {
                log.push(&socket, Entry::Message(OwnedMessage::Text(text)));
            };
            socket.upgrading().await;
            note(format!("upgrading: {}", socket.is_upgrading()));
            socket.upgraded().await;
            note(format!("upgraded to {}", socket.transport()));
            note(format!("ended: {:?}", socket.ended().await));
        });
    }

    /// Commands that send on the session itself.
    async fn use_socket(&self, socket: &Socket<String>, verb: &str, argument: &str) {
        let kilobyte = "x".repeat(1000);
        let note = |text| self.log_result(socket, text);
        match verb {
            "fill" => {
                let sent =
                    (0..100).take_while(|_| socket.try_send(kilobyte.as_str()).is_ok()).count();
                note(format!("{sent} {:?}", socket.try_send("one more")));
                socket.send_volatile("outdated");
                if argument == "drain" {
                    socket.drained().await;
                    note(format!("room: {}", socket.queued() < MARK));
                }
            }
            "stream" => {
                for n in 0..100 {
                    let text = format!("{n} {kilobyte}");
                    socket.send(text.as_str()).await.expect("it is open");
                    assert!(socket.queued() < MARK + 2 * text.len(), "{} queued", socket.queued());
                }
                note("streamed".into());
            }
            "blocked" => {
                let mut sent = 0;
                let error = loop {
                    match socket.send(kilobyte.as_str()).await {
                        Ok(()) => sent += 1,
                        Err(error) => break error,
                    }
                };
                note(format!("{} {error:?}", sent > 5));
            }
            "receipts" => self.send_with_receipts(socket, argument),
            "times" => {
                let round_trip = socket.round_trip().map(|time| time.as_millis());
                let times = format!("{} {round_trip:?}", socket.last_seen().as_millis());
                socket.try_send(times.as_str()).expect("the queue has room");
            }
            "silence" => {
                let socket = socket.clone();
                socket.last_seen();
                sleep(Duration::from_millis(150)).await;
                let seen = socket.last_seen();
                note(format!("silent: {}", seen >= Duration::from_millis(150)));
            }
            "uncompressed" => {
                socket.compress(false).try_send(argument).expect("the queue has room");
            }
            "separator" => note(format!("{:?}", socket.try_send("a\u{1e}4b"))),
            "abort" => {
                socket.abort();
                note(format!("{:?} {:?}", socket.try_send("late"), socket.send("late").await));
                socket.send_volatile("late");
                socket.drained().await;
                note(format!("{:?}", socket.closed()));
            }
            "flush" => {
                socket.send("going").await.expect("it is open");
                note(format!("waits: {}", socket.queued() > 0));
                socket.flushed().await;
                note(format!("queued: {}", socket.queued()));
            }
            "packets" => self.send_packets(socket),
            other => panic!("unknown command {other:?}"),
        }
    }

    /// `argument`: a count and a text. Sends it as often, numbered, and logs the result of each receipt.
    fn send_with_receipts(&self, socket: &Socket<String>, argument: &str) {
        let (count, text) = argument.split_once(' ').expect("a count and a text");
        for n in 0..count.parse().expect("a number") {
            let text = format!("{n} {text}");
            let receipt = socket.try_send_with_receipt(text.as_str());
            let (log, socket) = (self.log.clone(), socket.clone());
            spawn(async move {
                let result = match receipt {
                    Ok(receipt) => receipt.await,
                    Err(error) => Err(error),
                };
                let note = format!("{n} {result:?}");
                log.push(&socket, Entry::Message(OwnedMessage::Text(note)));
            });
        }
    }

    /// Sends one packet of each kind.
    fn send_packets(&self, socket: &Socket<String>) {
        let packets =
            [Packet::Ping(""), Packet::Pong(""), Packet::Open(""), Packet::Noop, Packet::Upgrade];
        let reserved = Err(SendError::Reserved);
        assert!(packets.iter().all(|packet| socket.try_send_packet(*packet) == reserved));
        let message = Packet::Message(Message::Text("a packet"));
        socket.try_send_packet(message).expect("the queue has room");
        socket.try_send_packet(Packet::Close).expect("open");
        self.log_result(socket, format!("{:?}", socket.try_send_packet(message)));
    }
}

impl Handler for Commands {
    type Session = String;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        Ok(request.query("name").unwrap_or("unnamed".into()).into_owned())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<String>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let (socket, message) = (socket.clone(), OwnedMessage::from(message));
        async move {
            match message.borrow() {
                Message::Text(command) => self.execute(&socket, command).await,
                Message::Binary(_) => panic!("no command"),
            }
        }
    }

    /// Logs the undelivered messages of a session with the name `keeper`.
    async fn disconnect(&self, socket: &Socket<String>, _: CloseReason) {
        if socket.data() == "keeper" {
            self.log_result(socket, format!("{} queued", socket.queued()));
            for message in socket.undelivered().await {
                self.log.push(socket, Entry::Message(message));
            }
            self.log_result(socket, format!("and then {}", socket.undelivered().await.len()));
        }
    }
}

/// The results that the application has logged for a session, once there are `count` of them.
#[track_caller]
pub(crate) fn results(server: &TestServer, sid: &str, count: usize) -> Vec<String> {
    eventually("a result", || server.log.messages(sid).len() >= count);
    let texts = server.log.messages(sid).into_iter().map(|note| match note {
        OwnedMessage::Text(text) => text,
        OwnedMessage::Binary(_) => unreachable!("results are text"),
    });
    texts.collect()
}
