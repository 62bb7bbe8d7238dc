//! Sessions without errors on a WebSocket, against a scripted server.

use eio_core::session::Timing;
use eio_core::ws::Opcode;
use eio_embassy::{Buffers, Client, Config, Error, Message};
use embassy_futures::join::join;
use embassy_time::{Duration, Timer};

use crate::clock::run;
use crate::peer::{Frame, Peer, QUIET};
use crate::pipe::{Reader, UNLIMITED, Writer, pair};
use crate::{Random, random};

type TestClient<'b> = Client<'b, Reader, Writer, Random>;

/// Runs `client` against `script`.
fn with_client<T>(
    script: impl AsyncFnOnce(&mut Peer<Reader, Writer>) -> T,
    client: impl AsyncFnOnce(TestClient<'_>),
) -> T {
    let ((reader, writer), far) = pair(UNLIMITED);
    let mut peer = Peer::new(far);
    let near = async {
        let mut buffers = Buffers::<1024, 512>::new();
        let config = Config::new("test");
        client(Client::connect(reader, writer, &config, &mut buffers, random(1)).await.unwrap())
            .await;
    };
    let far = async {
        peer.open(QUIET, 100_000).await;
        script(&mut peer).await
    };
    run(join(near, far)).1
}

#[test]
fn request_contains_path_query_and_headers() {
    let ((reader, writer), far) = pair(UNLIMITED);
    let mut peer = Peer::new(far);
    let head = run(join(
        async {
            let mut buffers = Buffers::<1024, 512>::new();
            let config = Config::new("host:81").path("/p/").query("a=b").headers(&[("X-Y", "z")]);
            Client::connect(reader, writer, &config, &mut buffers, random(1)).await.err()
        },
        async {
            let head = peer.request().await;
            drop(peer);
            head
        },
    ))
    .1;
    assert!(
        head.starts_with(
            "GET /p/?EIO=4&transport=websocket&a=b HTTP/1.1\r\nHost: host:81\r\nX-Y: z\r\n"
        ),
        "{head}"
    );
}

#[test]
fn handshake_is_available() {
    with_client(
        async |_| (),
        async |client| {
            assert_eq!(client.handshake().sid.as_str(), "a_session");
            assert_eq!(client.handshake().ping_interval_ms, QUIET.ping_interval_ms);
        },
    );
}

#[test]
fn text_and_binary_are_distinguished() {
    with_client(
        async |peer| {
            peer.text("4hello").await;
            peer.frame(true, Opcode::Binary, &[0, 0xff]).await;
            peer.text("4").await;
            peer.frame(true, Opcode::Binary, &[]).await;
            peer.text("4done").await;
        },
        async |mut client| {
            assert_eq!(client.recv().await, Ok(Message::Text("hello")));
            assert_eq!(client.recv().await, Ok(Message::Binary(&[0, 0xff])));
            assert_eq!(client.recv().await, Ok(Message::Text("")));
            assert_eq!(client.recv().await, Ok(Message::Binary(&[])));
            assert_eq!(client.recv().await, Ok(Message::Text("done")));
        },
    );
}

#[test]
fn fragments_are_assembled_up_to_the_buffer_size() {
    const MAX: usize = Buffers::<1024, 512>::MAX_MESSAGE;
    let longest: Vec<u8> = (0..MAX).map(|i| i as u8).collect();
    with_client(
        async |peer| {
            peer.frame(false, Opcode::Text, "4h\u{e9}".as_bytes()).await;
            peer.frame(true, Opcode::Ping, &[7; 125]).await;
            peer.frame(true, Opcode::Continuation, b"llo").await;
            // In fragments that leave the least room for a control frame.
            peer.frame(false, Opcode::Binary, &longest[..MAX - 1]).await;
            peer.frame(true, Opcode::Ping, &[8; 125]).await;
            peer.frame(true, Opcode::Continuation, &longest[MAX - 1..]).await;
            assert_eq!(peer.next().await, Frame::Pong(vec![7; 125]));
            assert_eq!(peer.next().await, Frame::Pong(vec![8; 125]));
        },
        async |mut client| {
            assert_eq!(client.recv().await, Ok(Message::Text("h\u{e9}llo")));
            assert_eq!(client.recv().await, Ok(Message::Binary(&longest)));
            let _ = client.recv().await;
        },
    );
}

#[test]
fn messages_of_any_length_are_sent() {
    let message: Vec<u8> = (0..5_000_u32).map(|i| (i * 7) as u8).collect();
    for len in (0..700).chain([1_000, 4_999, 5_000]) {
        with_client(
            async |peer| assert_eq!(peer.next().await, Frame::Binary(message[..len].to_vec())),
            async |mut client| {
                client.send(&message[..len]).await.unwrap();
                client.flushed().await.unwrap();
            },
        );
    }
    let text = "\u{1f600}".repeat(600);
    with_client(
        async |peer| assert_eq!(peer.next().await, Frame::Text(format!("4{text}"))),
        async |mut client| {
            client.send(text.as_str()).await.unwrap();
            client.flushed().await.unwrap();
        },
    );
}

#[test]
fn engine_io_and_websocket_pings_are_answered() {
    with_client(
        async |peer| {
            peer.text("2").await;
            assert_eq!(peer.next().await, Frame::Text("3".into()));
            peer.frame(true, Opcode::Ping, b"x").await;
            assert_eq!(peer.next().await, Frame::Pong(b"x".to_vec()));
        },
        async |mut client| {
            assert!(client.recv().await.is_err());
        },
    );
}

#[test]
fn session_survives_many_heartbeats() {
    let timing = Timing { ping_interval_ms: 300, ping_timeout_ms: 200, ..QUIET };
    let ((reader, writer), far) = pair(UNLIMITED);
    run(join(
        async {
            let mut buffers = Buffers::<1024, 512>::new();
            let config = Config::new("test");
            let mut client =
                Client::connect(reader, writer, &config, &mut buffers, random(1)).await.unwrap();
            let until = Timer::after(Duration::from_secs(60));
            let early = embassy_futures::select::select(client.recv(), until).await;
            assert!(matches!(early, embassy_futures::select::Either::Second(())));
            client.send("still there").await.unwrap();
            assert_eq!(client.recv().await, Ok(Message::Text("still there")));
            assert_eq!(client.disconnect().await, Ok(()));
        },
        Peer::new(far).echo(timing),
    ));
}

#[test]
fn queued_messages_are_sent_before_disconnect() {
    with_client(
        async |peer| {
            assert_eq!(peer.next().await, Frame::Text("4last".into()));
            assert_eq!(peer.next().await, Frame::Text("1".into()));
            assert_eq!(peer.next().await, Frame::Close(Some(1000)));
            peer.text("4too late").await;
            peer.frame(true, Opcode::Close, &1000_u16.to_be_bytes()).await;
        },
        async |mut client| {
            client.send("last").await.unwrap();
            assert_eq!(client.disconnect().await, Ok(()));
        },
    );
}

#[test]
fn messages_before_a_reset_are_received() {
    with_client(
        async |peer| {
            peer.text("4first").await;
            peer.text("4second").await;
            peer.writer.reset();
        },
        async |mut client| {
            assert_eq!(client.recv().await, Ok(Message::Text("first")));
            assert_eq!(client.recv().await, Ok(Message::Text("second")));
            assert!(matches!(client.recv().await, Err(Error::Io(_))));
        },
    );
}

#[test]
fn each_frame_has_another_mask() {
    let ((reader, writer), far) = pair(UNLIMITED);
    let mut peer = Peer::new(far);
    let raw = run(join(
        async {
            let mut buffers = Buffers::<1024, 512>::new();
            let config = Config::new("test");
            let mut client =
                Client::connect(reader, writer, &config, &mut buffers, random(1)).await.unwrap();
            client.send("aaaa").await.unwrap();
            client.send("aaaa").await.unwrap();
            client.flushed().await.unwrap();
        },
        async {
            peer.open(QUIET, 1_000).await;
            peer.raw(22).await
        },
    ))
    .1;
    let (first, second) = raw.split_at(11);
    assert_eq!(first[..2], [0x81, 0x85]);
    assert_eq!(first[..2], second[..2]);
    assert_ne!(first[2..6], second[2..6]);
    assert_ne!(first[6..], second[6..]);
}

#[test]
fn program_that_only_sends_answers_pings() {
    with_client(
        async |peer| {
            for _ in 0..3 {
                peer.text("2").await;
                loop {
                    match peer.next().await {
                        Frame::Text(text) if text == "3" => break,
                        Frame::Text(text) => assert_eq!(text, "4reading"),
                        other => panic!("{other:?}"),
                    }
                }
            }
        },
        async |mut client| {
            for _ in 0..100 {
                client.send("reading").await.unwrap();
                Timer::after_millis(50).await;
            }
        },
    );
}

#[test]
fn program_that_only_sends_learns_of_the_end() {
    with_client(
        async |peer| {
            assert_eq!(peer.next().await, Frame::Text("4reading".into()));
            peer.frame(true, Opcode::Close, &1001_u16.to_be_bytes()).await;
            while peer.next().await != Frame::End {}
        },
        async |mut client| {
            let mut sent = 0;
            while client.send("reading").await.is_ok() {
                sent += 1;
                assert!(sent < 100, "the session has ended");
                Timer::after_millis(50).await;
            }
        },
    );
}
