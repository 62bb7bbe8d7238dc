//! The handler's view of its session and of others: full queues are reported, and no message is reordered, duplicated
//! or dropped without an error.

use std::time::Duration;

use eio_monoio::{
    Config, ConnectRequest, Dispatch, Handler, Message, OwnedMessage, Packet, Refusal, SendError,
    Sid, Socket, Transport, spawn,
};

use crate::support::configs::{default_config, for_each_config};
use crate::support::log::{Entry, Log};
use crate::support::polling::Polling;
use crate::support::request::WEBSOCKET;
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

const MARK: usize = 10_000;

/// Executes commands in messages, and logs the results.
struct Commands {
    log: Log,
}

impl Commands {
    fn start(config: Config) -> TestServer {
        TestServer::run(config, |log| Self { log: log.clone() })
    }

    async fn execute(&self, socket: &Socket<String>, command: &str) {
        let kilobyte = "x".repeat(1000);
        let note = |text: String| {
            self.log.push(socket, Entry::Message(OwnedMessage::Text(text)));
        };
        let (verb, argument) = command.split_once(' ').unwrap_or((command, ""));
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
            "separator" => note(format!("{:?}", socket.try_send("a\u{1e}4b"))),
            "abort" => {
                socket.abort();
                note(format!("{:?} {:?}", socket.try_send("late"), socket.send("late").await));
                socket.send_volatile("late");
                socket.drained().await;
                note(format!("{:?}", socket.closed()));
            }
            "broadcast" => socket.server().broadcast(argument),
            "send" => {
                let (sid, text) = argument.split_once(' ').expect("a sid and a text");
                socket.server().send(&Sid::new(sid).expect("a valid sid"), text);
            }
            "disconnect" => socket.server().disconnect(&Sid::new(argument).expect("a valid sid")),
            "who" => note(format!("{} {}", socket.data(), socket.server().sessions())),
            "nap" => {
                eio_monoio::sleep(Duration::from_millis(argument.parse().expect("ms"))).await;
                note(format!("napped {argument}"));
            }
            "watch" => {
                let (log, socket) = (self.log.clone(), socket.clone());
                spawn(async move {
                    let note = |text: String| {
                        log.push(&socket, Entry::Message(OwnedMessage::Text(text)));
                    };
                    socket.upgraded().await;
                    note(format!("upgraded to {}", socket.transport()));
                    note(format!("ended: {:?}", socket.ended().await));
                });
            }
            "flush" => {
                socket.send("going").await.expect("it is open");
                note(format!("waits: {}", socket.queued() > 0));
                socket.flushed().await;
                note(format!("queued: {}", socket.queued()));
            }
            "packets" => {
                let packets = [
                    Packet::Ping(""),
                    Packet::Pong(""),
                    Packet::Open(""),
                    Packet::Noop,
                    Packet::Upgrade,
                ];
                let reserved = Err(SendError::Reserved);
                assert!(packets.iter().all(|packet| socket.try_send_packet(*packet) == reserved));
                let message = Packet::Message(Message::Text("a packet"));
                socket.try_send_packet(message).expect("the queue has room");
                socket.try_send_packet(Packet::Close).expect("open");
                note(format!("{:?}", socket.try_send_packet(message)));
            }
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
}

impl Handler for Commands {
    type Session = String;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        Ok(request.query("name").unwrap_or("unnamed").to_owned())
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
}

/// The results that the application has logged for a session, once there are `count` of them.
#[track_caller]
fn notes(server: &TestServer, sid: &str, count: usize) -> Vec<String> {
    eventually("a result", || server.log.messages(sid).len() >= count);
    let texts = server.log.messages(sid).into_iter().map(|note| match note {
        OwnedMessage::Text(text) => text,
        OwnedMessage::Binary(_) => unreachable!("results are text"),
    });
    texts.collect()
}

#[test]
fn full_queue_is_reported() {
    for_each_config(|config| {
        let server = Commands::start(config.outbound_high_water(MARK));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4fill");
        assert_eq!(notes(&server, &polling.sid, 1), ["10 Err(Full)"]);
        // Neither the refused nor the volatile message is sent.
        assert_eq!(polling.poll().split('\u{1e}').count(), 10);
        polling.post_ok("4who");
        polling.start_poll();
        polling.get.expect_silence(Duration::from_millis(50));
    });
}

#[test]
fn send_waits_for_room_and_keeps_order() {
    for_each_config(|config| {
        let server = Commands::start(config.outbound_high_water(MARK));
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4stream");
        let number = |packet: &str| packet[1..].split(' ').next().expect("a number").to_owned();
        for n in 0..100 {
            assert_eq!(number(&socket.text()), n.to_string());
        }
        assert_eq!(notes(&server, &sid, 1), ["streamed"]);

        let mut polling = Polling::open(server.addr());
        polling.post_ok("4stream");
        let mut n = 0;
        while n < 100 {
            for packet in polling.poll().split('\u{1e}') {
                assert_eq!(number(packet), n.to_string());
                n += 1;
            }
        }
        assert_eq!(notes(&server, &polling.sid, 1), ["streamed"]);
    });
}

#[test]
fn waiting_send_fails_when_the_session_ends() {
    for_each_config(|config| {
        let server = Commands::start(config.outbound_high_water(MARK));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4blocked");
        polling.post_ok("1");
        assert_eq!(notes(&server, &polling.sid, 1), ["true Closed"]);
        drop(polling);
        server.wait_until_empty();
    });
}

#[test]
fn drained_waits_for_room() {
    for_each_config(|config| {
        let server = Commands::start(config.outbound_high_water(MARK));
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4fill drain");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(notes(&server, &polling.sid, 1), ["10 Err(Full)"]);
        assert_eq!(polling.poll().split('\u{1e}').count(), 10);
        assert_eq!(notes(&server, &polling.sid, 2)[1], "room: true");
    });
}

#[test]
fn ended_session_refuses_messages_and_reports_its_reason() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4abort");
        let expected = ["Err(Closed) Err(Closed)", "Some(ServerDisconnect)"];
        assert_eq!(notes(&server, &sid, 2), expected);
    });
}

#[test]
fn text_with_a_separator_is_refused_only_on_polling() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4separator");
        let refused = format!("{:?}", Err::<(), _>(SendError::Separator));
        assert_eq!(notes(&server, &polling.sid, 1), [refused]);
        let (mut socket, _) = WebSocket::open(server.addr());
        socket.send("4separator");
        assert_eq!(socket.text(), "4a\u{1e}4b");
    });
}

#[test]
fn handler_reaches_sessions_of_every_worker() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let target = format!("{WEBSOCKET}&name=ann");
        let mut sockets: Vec<_> = (0..9)
            .map(|_| {
                let mut socket = WebSocket::connect(server.addr(), &target);
                let sid = crate::support::polling::sid_of(&socket.text());
                (socket, sid)
            })
            .collect();
        let mut polling = Polling::open(server.addr());
        sockets[0].0.send("4who");
        let sid = sockets[0].1.clone();
        assert_eq!(notes(&server, &sid, 1), ["ann 10"]);
        sockets[0].0.send("4broadcast to all");
        for (socket, _) in &mut sockets {
            assert_eq!(socket.text(), "4to all");
        }
        assert_eq!(polling.poll(), "4to all");
        let target = sockets[8].1.clone();
        let commands = [format!("4send {target} you"), format!("4disconnect {target}")];
        commands.iter().for_each(|command| sockets[0].0.send(command));
        assert_eq!((sockets[8].0.text(), sockets[8].0.text()), ("4you".into(), "1".into()));
        sockets[8].0.expect_close();
        let (_, first) = &sockets[0];
        let first = Sid::new(first).expect("a valid sid");
        assert_eq!(server.remote().transport(&first), Some(Transport::WebSocket));
    });
}

#[test]
fn messages_are_handled_in_sequence_unless_concurrent() {
    for_each_config(|config| {
        let server = Commands::start(config.clone());
        let naps = ["4nap 150", "4nap 50", "4nap 0"];
        let (mut socket, sid) = WebSocket::open(server.addr());
        naps.iter().for_each(|nap| socket.send(nap));
        assert_eq!(notes(&server, &sid, 3), ["napped 150", "napped 50", "napped 0"]);
        let mut polling = Polling::open(server.addr());
        polling.post_ok(naps.join("\u{1e}"));
        assert_eq!(notes(&server, &polling.sid, 3), ["napped 150", "napped 50", "napped 0"]);

        let server = Commands::start(config.dispatch(Dispatch::Concurrent));
        let (mut socket, sid) = WebSocket::open(server.addr());
        naps.iter().for_each(|nap| socket.send(nap));
        assert_eq!(notes(&server, &sid, 3), ["napped 0", "napped 50", "napped 150"]);
    });
}

#[test]
fn heartbeat_does_not_wait_for_a_busy_handler() {
    for_each_config(|config| {
        let short = Duration::from_millis(100);
        let server = Commands::start(config.ping_interval(short).ping_timeout(3 * short));
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4nap 800");
        while server.log.messages(&sid).is_empty() {
            if let Ok(frame) = socket.try_frame(short / 2) {
                assert_eq!(frame.payload, b"2");
                socket.send("3");
            }
        }
        // Polling: the POST is answered, and its connection carries the pongs.
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4nap 800");
        while server.log.messages(&polling.sid).is_empty() {
            assert_eq!(polling.poll(), "2");
            polling.post_ok("3");
        }
    });
}

#[test]
fn upgraded_and_ended_complete_at_the_event() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4watch");
        let mut socket = WebSocket::attach(server.addr(), &polling.sid);
        socket.probe();
        assert_eq!(server.log.messages(&polling.sid), []);
        socket.send("5");
        assert_eq!(notes(&server, &polling.sid, 1), ["upgraded to websocket"]);
        socket.send("1");
        assert_eq!(notes(&server, &polling.sid, 2)[1], "ended: ClientDisconnect");
        // The end of a session that never upgrades is reported, too.
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4watch\x1e1");
        let ended = ["upgraded to polling", "ended: ClientDisconnect"];
        assert_eq!(notes(&server, &polling.sid, 2), ended);
    });
}

#[test]
fn flushed_waits_for_the_transport() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let mut polling = Polling::open(server.addr());
        polling.post_ok("4flush");
        assert_eq!(notes(&server, &polling.sid, 1), ["waits: true"]);
        assert_eq!(polling.poll(), "4going");
        assert_eq!(notes(&server, &polling.sid, 2)[1], "queued: 0");
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4flush");
        assert_eq!(socket.text(), "4going");
        assert_eq!(notes(&server, &sid, 2)[1], "queued: 0");
    });
}

#[test]
fn reserved_packets_are_refused() {
    for_each_config(|config| {
        let server = Commands::start(config);
        let (mut socket, sid) = WebSocket::open(server.addr());
        socket.send("4packets");
        assert_eq!(socket.text(), "4a packet");
        assert_eq!(notes(&server, &sid, 1), ["Err(Closed)"]);
        assert_eq!(socket.text(), "1");
        socket.expect_close();
    });
}

#[test]
fn session_of_another_worker_is_not_accessible() {
    let server = Commands::start(default_config());
    // Until a worker has two sessions and the other one.
    let (mut polling, mut found) = (Vec::new(), None);
    for n in 0..200 {
        polling.push(Polling::open_with(server.addr(), &format!("&name={n}")));
        let (first, last) = (&polling[0].sid.clone(), polling[n].sid.clone());
        polling[0].post_ok(format!("4find {first} {last}"));
        let note = notes(&server, first, n + 1).pop().expect("a note");
        assert!(
            note == format!("Some(\"0\") Some(\"{n}\")") || note == "Some(\"0\") None",
            "{note}"
        );
        found = found.or(note.ends_with("None").then_some(n));
        if found.is_some() && n > 0 {
            return;
        }
    }
    panic!("every session is on one worker");
}
