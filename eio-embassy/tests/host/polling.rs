//! The polling client against a server in memory that uses the variants of HTTP.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use eio_core::buffer::RecvBuffer;
use eio_core::http::{BodyDecoder, EMPTY, HeadScanner, RequestHead, Step};
use eio_core::open::OPEN_MAX;
use eio_core::packet::{Message, Packet};
use eio_core::payload::{self, SEPARATOR};
use eio_core::session::Timing;
use eio_core::transport::TransportSet;
use eio_embassy::{Buffers, Closed, Config, Connector, Error, PollingClient, Timeout};
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Read, Write};

use crate::clock::run;
use crate::peer::{Frame, Growing, QUIET, open, owned};
use crate::pipe::{Limits, Reader, UNLIMITED, Writer, pair};

/// The HTTP behaviour of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Http {
    KeepAlive,
    /// Closes the connection after announcing it.
    Close,
    /// Closes the connection without announcing it.
    CloseUnannounced,
    Chunked,
}

/// An echo server with one session.
#[derive(Debug)]
struct Server {
    http: Http,
    limits: Limits,
    timing: Timing,
    /// Connections that are established and not yet accepted.
    backlog: VecDeque<(Reader, Writer)>,
    /// Records for the next GET.
    queue: VecDeque<Vec<u8>>,
    /// Each response to a GET contains a ping.
    pings: bool,
    /// Responses that refuse handshakes, GETs and POSTs.
    refusals: [Option<&'static str>; 3],
    pongs: usize,
    closed: bool,
    /// The number of connections.
    connects: usize,
}

type Shared = Rc<RefCell<Server>>;

fn server(http: Http, limits: Limits, timing: Timing) -> Shared {
    Rc::new(RefCell::new(Server {
        http,
        limits,
        timing,
        backlog: VecDeque::new(),
        queue: VecDeque::new(),
        pings: false,
        refusals: [None; 3],
        pongs: 0,
        closed: false,
        connects: 0,
    }))
}

/// A connector to a server.
#[derive(Debug)]
struct Plug(Shared, Option<(Reader, Writer)>);

impl Connector for Plug {
    type Reader<'a> = &'a mut Reader;
    type Writer<'a> = &'a mut Writer;

    async fn connect(&mut self, _: &str, _: u16) -> Result<(), Error> {
        let mut server = self.0.borrow_mut();
        let (near, far) = pair(server.limits);
        server.connects += 1;
        server.backlog.push_back(far);
        self.1 = Some(near);
        Ok(())
    }

    fn split(&mut self) -> (&mut Reader, &mut Writer) {
        let (reader, writer) = self.1.as_mut().expect("a connection");
        (reader, writer)
    }

    async fn close(&mut self) {
        self.1 = None;
    }
}

/// Runs `near` together with the server.
fn with_server<T>(server: &Shared, near: impl AsyncFnOnce(Plug, Plug) -> T) -> T {
    let plug = || Plug(Rc::clone(server), None);
    let serve = async {
        let mut connections = Vec::new();
        std::future::poll_fn(|context| {
            while let Some(far) = server.borrow_mut().backlog.pop_front() {
                connections.push(Box::pin(connection(Rc::clone(server), far)));
            }
            connections.retain_mut(|it| it.as_mut().poll(context).is_pending());
            // Polled again at every event, because one task runs client and server.
            Poll::<()>::Pending
        })
        .await;
    };
    let near = near(plug(), plug());
    match run(select(pin!(near), pin!(serve))) {
        Either::First(result) => result,
        Either::Second(()) => unreachable!("the server does not end"),
    }
}

/// Serves one connection of a client.
async fn connection(server: Shared, (mut reader, mut writer): (Reader, Writer)) {
    let mut rx = RecvBuffer::new(vec![0; 1 << 16]);
    loop {
        let mut scanner = HeadScanner::new();
        let len = loop {
            if let Some(len) = scanner.poll(rx.unread(), 8192).expect("a valid head") {
                break len;
            }
            match reader.read(rx.spare_mut(1)).await {
                Ok(n) if n > 0 => rx.fill(n),
                _ => return,
            }
        };
        let (post, handshake, framing) = {
            let mut slots = [EMPTY; 16];
            let head = RequestHead::parse(&rx.unread()[..len], &mut slots).expect("a valid head");
            assert!(head.target.starts_with("/engine.io/?EIO=4&transport=polling"));
            (head.method == "POST", !head.target.contains("&sid=a_session"), head.framing())
        };
        rx.skip(len);
        let mut decoder = BodyDecoder::new(framing.expect("valid framing"), 1 << 15);
        while let Step::Need(_) = decoder.poll(&mut rx).expect("a valid body") {
            match reader.read(rx.spare_mut(1)).await {
                Ok(n) if n > 0 => rx.fill(n),
                _ => return,
            }
        }
        let which = if handshake { 0 } else { 1 + usize::from(post) };
        let refusal = server.borrow().refusals[which];
        let body = if let Some(refusal) = refusal {
            let _ = writer.write_all(refusal.as_bytes()).await;
            return;
        } else if handshake {
            let mut memory = [0; OPEN_MAX];
            let open = open(server.borrow().timing, 10_000, TransportSet::EMPTY);
            format!("0{}", open.json(&mut memory)).into_bytes()
        } else if post {
            handle_post(&server, rx.kept_mut());
            b"ok".to_vec()
        } else {
            while server.borrow().queue.is_empty() {
                Timer::after_millis(1).await;
            }
            let mut server = server.borrow_mut();
            let mut records: Vec<_> = server.queue.drain(..).collect();
            if server.pings {
                records.push(b"2".to_vec());
            }
            records.join(&SEPARATOR)
        };
        rx.release();
        let http = server.borrow().http;
        let _ = writer.write_all(&answer(http, &body)).await;
        if http != Http::KeepAlive && http != Http::Chunked {
            return;
        }
    }
}

fn answer(http: Http, body: &[u8]) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n".to_vec();
    if http == Http::Chunked {
        answer.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(7) {
            answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
            answer.extend(chunk);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\n\r\n");
    } else {
        if http == Http::Close {
            answer.extend(b"Connection: close\r\n");
        }
        answer.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        answer.extend(body);
    }
    answer
}

/// Processes the body of a POST.
fn handle_post(server: &Shared, body: &mut [u8]) {
    let mut server = server.borrow_mut();
    for packet in payload::Decoder::new(body) {
        match packet.expect("a valid packet") {
            packet @ Packet::Message(_) => {
                let mut record = Growing::default();
                packet.encode_text(&mut record).unwrap();
                server.queue.push_back(record.0);
            }
            Packet::Pong("") => server.pongs += 1,
            Packet::Close => {
                server.closed = true;
                server.queue.push_back(b"6".to_vec());
            }
            other => panic!("{other:?} is not a packet of a client"),
        }
    }
}

/// Polls `future` until `limit` polls of another future and 200 µs have passed. `None`: it was dropped then.
async fn poll_at_most<F: Future>(future: F, limit: usize) -> Option<F::Output> {
    let timeout = async {
        for _ in 0..limit {
            embassy_futures::yield_now().await;
        }
        // Time has to pass, too.
        Timer::after_micros(200).await;
    };
    match select(future, timeout).await {
        Either::First(output) => Some(output),
        Either::Second(()) => None,
    }
}

fn messages() -> Vec<Frame> {
    [0, 1, 60, 125, 126, 300, 374, 373, 500, 3]
        .into_iter()
        .map(|len| match len % 2 {
            0 => Frame::Binary((0..len).map(|i| i as u8).collect()),
            _ => Frame::Text("abcdefghij".repeat(70)[..len].to_owned()),
        })
        .collect()
}

fn message(frame: &Frame) -> Message<'_> {
    match frame {
        Frame::Text(text) => Message::Text(text),
        Frame::Binary(bytes) => Message::Binary(bytes),
        other => unreachable!("{other:?} is not a message"),
    }
}

#[test]
fn dropping_polling_futures_loses_nothing() {
    for http in [Http::KeepAlive, Http::Close, Http::Chunked] {
        for limit in 0..4 {
            for step in [1, 7, 64, 4096] {
                let limits = Limits { capacity: 4096, step, stutter: true };
                let server = server(http, limits, QUIET);
                server.borrow_mut().pings = true;
                with_server(&server, async |mut down, mut up| {
                    let sent = messages();
                    let mut receive = Buffers::<4096, 384>::new();
                    let mut send = Buffers::<512, 1536>::new();
                    let config = Config::new("test");
                    let (down, up) = ((&mut down, &mut receive), (&mut up, &mut send));
                    let mut client = PollingClient::connect(down, up, &config).await.unwrap();
                    let (mut out, mut back) = (sent.iter(), Vec::new());
                    let mut sending = out.next();
                    while back.len() < sent.len() {
                        if let Some(frame) = sending
                            && let Some(done) =
                                poll_at_most(client.send(message(frame)), limit).await
                        {
                            done.unwrap();
                            sending = out.next();
                        }
                        if let Some(done) = poll_at_most(client.recv(), limit).await {
                            back.push(owned(done.unwrap()));
                        }
                        poll_at_most(client.flushed(), limit).await.unwrap_or(Ok(())).unwrap();
                    }
                    assert_eq!(back, sent, "{http:?}, limit {limit}, step {step}");
                    client.disconnect().await.unwrap();
                });
                let server = server.borrow();
                assert!(server.closed, "the server received no close packet");
                assert!(server.pongs > 0, "no ping was answered");
            }
        }
    }
}

/// A session over unlimited connections.
async fn session_over(
    down: &mut Plug,
    up: &mut Plug,
    session: impl AsyncFnOnce(PollingClient<'_, Plug, Plug>),
) {
    let (mut receive, mut send) = (Buffers::<1024, 384>::new(), Buffers::<512, 768>::new());
    let config = Config::new("test");
    let client = PollingClient::connect((down, &mut receive), (up, &mut send), &config).await;
    session(client.expect("a session")).await;
}

#[test]
fn polling_reconnects_after_the_server_closes_a_connection() {
    let server = server(Http::CloseUnannounced, UNLIMITED, QUIET);
    with_server(&server, async |mut down, mut up| {
        session_over(&mut down, &mut up, async |mut client| {
            for text in ["a", "b", "c"] {
                client.send(text).await.unwrap();
                assert_eq!(client.recv().await, Ok(Message::Text(text)));
                client.flushed().await.unwrap();
            }
            client.disconnect().await.unwrap();
        })
        .await;
    });
    assert!(server.borrow().connects >= 8, "each response needs a connection");
}

#[test]
fn idle_connections_are_not_reused_after_seconds() {
    let server = server(Http::KeepAlive, UNLIMITED, QUIET);
    // Both in one response.
    server.borrow_mut().queue.extend([b"4a".to_vec(), b"4b".to_vec()]);
    with_server(&server, async |mut down, mut up| {
        session_over(&mut down, &mut up, async |mut client| {
            client.send("c").await.unwrap();
            client.flushed().await.unwrap();
            assert_eq!(client.recv().await, Ok(Message::Text("a")));
            // Servers close an idle connection after 5 s.
            Timer::after_secs(10).await;
            assert_eq!(client.recv().await, Ok(Message::Text("b")));
            assert_eq!(client.recv().await, Ok(Message::Text("c")));
            client.send("d").await.unwrap();
            assert_eq!(client.recv().await, Ok(Message::Text("d")));
            client.disconnect().await.unwrap();
        })
        .await;
    });
    assert_eq!(server.borrow().connects, 4, "no connection is reused after 10 s");
}

#[test]
fn rejected_message_does_not_end_the_polling_session() {
    let server = server(Http::KeepAlive, UNLIMITED, QUIET);
    with_server(&server, async |mut down, mut up| {
        session_over(&mut down, &mut up, async |mut client| {
            assert_eq!(client.send("a\u{1e}4b").await, Err(Error::Separator));
            let long = [b'x'; 700];
            let Err(Error::TooLarge { max }) = client.send(&long[..]).await else {
                panic!("larger than the buffer")
            };
            let fits = str::from_utf8(&long[..max as usize - 1]).unwrap();
            assert_eq!(
                client.send(format!("{fits}x").as_str()).await,
                Err(Error::TooLarge { max })
            );
            client.send(fits).await.unwrap();
            assert_eq!(client.recv().await, Ok(Message::Text(fits)));
            client.disconnect().await.unwrap();
        })
        .await;
    });
}

#[test]
fn response_larger_than_the_buffer_ends_the_session() {
    for http in [Http::KeepAlive, Http::Chunked] {
        let server = server(http, UNLIMITED, QUIET);
        server.borrow_mut().queue.push_back([b"4", &[b'x'; 1100][..]].concat());
        with_server(&server, async |mut down, mut up| {
            session_over(&mut down, &mut up, async |mut client| {
                assert_eq!(client.recv().await, Err(Error::ReceivedTooLarge));
                assert_eq!(client.send("x").await, Err(Error::ReceivedTooLarge));
            })
            .await;
        });
    }
}

#[test]
fn polling_error_contains_status_and_code() {
    const OLD: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\n{\"code\":5}";
    const GONE: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\n{\"code\":1}";
    const BIG: &str = "HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\n\r\n";
    let cases = [
        (0, OLD, Error::UnsupportedVersion),
        (1, GONE, Error::Status { status: 400, code: Some(1) }),
        (2, BIG, Error::Status { status: 413, code: None }),
    ];
    for (which, refusal, expected) in cases {
        let server = server(Http::KeepAlive, UNLIMITED, QUIET);
        server.borrow_mut().refusals[which] = Some(refusal);
        let error = with_server(&server, async |mut down, mut up| {
            let (mut receive, mut send) = (Buffers::<1024, 384>::new(), Buffers::<512, 768>::new());
            let config = Config::new("test");
            let (down, up) = ((&mut down, &mut receive), (&mut up, &mut send));
            let mut client = PollingClient::connect(down, up, &config).await?;
            client.send("x").await?;
            client.recv().await.map(|_| ())
        });
        assert_eq!(error, Err(expected));
    }
}

#[test]
fn polling_times_out_after_ping_interval_and_timeout() {
    let timing = Timing { ping_interval_ms: 2_000, ping_timeout_ms: 1_000, ..QUIET };
    let server = server(Http::KeepAlive, UNLIMITED, timing);
    with_server(&server, async |mut down, mut up| {
        session_over(&mut down, &mut up, async |mut client| {
            let began = Instant::now();
            assert_eq!(client.recv().await, Err(Error::TimedOut(Timeout::FirstPing)));
            assert_eq!(began.elapsed(), Duration::from_millis(3_000));
        })
        .await;
    });
}

#[test]
fn messages_before_a_close_packet_are_received() {
    let server = server(Http::KeepAlive, UNLIMITED, QUIET);
    server.borrow_mut().queue.extend([b"4a".to_vec(), b"bAQI=".to_vec(), b"1".to_vec()]);
    with_server(&server, async |mut down, mut up| {
        session_over(&mut down, &mut up, async |mut client| {
            assert_eq!(client.recv().await, Ok(Message::Text("a")));
            assert_eq!(client.recv().await, Ok(Message::Binary(&[1, 2])));
            assert_eq!(client.recv().await, Err(Error::Closed(Closed::ServerDisconnect)));
        })
        .await;
    });
}
