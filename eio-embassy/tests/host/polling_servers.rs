//! Polling, and upgrades from it, with servers that differ in what HTTP allows: cookies, kept connections, bursts.

use eio_core::transport::TransportSet;
use eio_embassy::{
    AnyClient, Buffers, Config, Error, Message, PollingClient, connect_and_upgrade, connect_any,
};
use embassy_futures::join::join;
use embassy_time::Timer;

use crate::any::{answer, polled};
use crate::clock::run;
use crate::pipe::{Limits, UNLIMITED};
use crate::random;
use crate::servers::fields;
use crate::upgrade::{Far, Plugs, WEBSOCKET, handshake, plugs_with};

const COOKIES: &str = "Set-Cookie: AWSALB=abc/+=; Path=/; Max-Age=60\r\n\
                       X-Other: a\r\nset-cookie: SERVERID=s1\r\nSet-Cookie: c=\"x y\"; Secure\r\n";

/// Opens a session by polling and passes it to `session`.
async fn polling<const RX: usize, const TX: usize>(
    mut down: Plugs,
    mut up: Plugs,
    config: &Config<'_>,
    session: impl AsyncFnOnce(Result<PollingClient<'_, Plugs, Plugs>, Error>),
) {
    let (mut receive, mut send) = (Buffers::<RX, TX>::new(), Buffers::<512, 768>::new());
    let (down, up) = ((&mut down, &mut receive), (&mut up, &mut send));
    session(PollingClient::connect(down, up, config).await).await;
}

/// The value of the field Cookie in a request.
fn cookie(head: &str) -> Option<&str> {
    let mut lines = head.lines().filter_map(|line| line.strip_prefix("Cookie: "));
    let cookie = lines.next();
    assert_eq!(lines.next(), None, "one field");
    cookie
}

/// Runs a session with these cookies, and returns the field Cookie of its first POST.
fn returned<const TX: usize>(set: &str, config: &Config<'_>) -> Option<String> {
    let (down, [mut first]) = plugs_with(UNLIMITED);
    let (up, [mut second]) = plugs_with(UNLIMITED);
    let near = polling::<1024, TX>(down, up, config, async |client| {
        let mut client = client.unwrap();
        client.send("hello").await.unwrap();
        client.flushed().await.unwrap();
        assert_eq!(client.recv().await, Ok(Message::Text("back")));
        assert!(client.recv().await.is_err());
    });
    let far = async {
        handshake(&mut first, TransportSet::EMPTY, set, "").await;
        let get = first.request().await;
        let post = second.request().await;
        assert_eq!(second.raw(6).await, b"4hello");
        assert_eq!(cookie(&get), cookie(&post));
        answer(&mut second, "ok").await;
        answer(&mut first, "4back").await;
        // A cookie of a later response is not kept.
        let next = first.request().await;
        assert_eq!(cookie(&next), cookie(&post));
        first.close();
        cookie(&post).map(str::to_owned)
    };
    run(join(near, far)).1
}

#[test]
fn cookies_of_the_handshake_are_returned() {
    let config = Config::new("test");
    let all = Some("AWSALB=abc/+=; SERVERID=s1; c=\"x y\"".to_owned());
    assert_eq!(returned::<512>(COOKIES, &config), all);
    assert_eq!(returned::<384>("", &config), None);
    assert_eq!(returned::<384>("Set-Cookie: none\r\nSet-Cookie: \u{e9}=\u{e9}\r\n", &config), None);
}

#[test]
fn cookie_that_does_not_fit_is_left_out() {
    let long = format!("Set-Cookie: long={}\r\nSet-Cookie: b=2\r\n", "x".repeat(150));
    let config = Config::new("test");
    assert_eq!(returned::<384>(&long, &config), Some("b=2".to_owned()));
    let both = format!("long={}; b=2", "x".repeat(150));
    assert_eq!(returned::<512>(&long, &config), Some(both));
}

#[test]
fn cookies_are_added_to_that_of_the_application() {
    let config = Config::new("test").headers(&[("X-A", "b"), ("cookie", "own=1")]);
    let (down, [mut first]) = plugs_with(UNLIMITED);
    let (up, []) = plugs_with(UNLIMITED);
    let near = polling::<1024, 512>(down, up, &config, async |client| {
        let _ = client.unwrap().recv().await;
    });
    let far = async {
        handshake(&mut first, TransportSet::EMPTY, COOKIES, "").await;
        let get = first.request().await;
        let expected = "cookie: own=1; AWSALB=abc/+=; SERVERID=s1; c=\"x y\"\r\n";
        assert!(get.contains(expected) && !get.contains("Cookie:"), "{get}");
        first.close();
    };
    run(join(near, far));
}

#[test]
fn upgrades_return_the_cookies_of_the_handshake() {
    for connections in [1, 2] {
        let (mut down, [mut first]) = plugs_with(UNLIMITED);
        let (mut up, [mut second]) = plugs_with(UNLIMITED);
        let near = async {
            let config = Config::new("test");
            let mut receive = Buffers::<1024, 512>::new();
            let mut send = Buffers::<1024, 512>::new();
            if connections == 1 {
                connect_and_upgrade(&mut down, &config, &mut receive, random(1)).await.err()
            } else {
                let (down, up) = ((&mut down, &mut receive), (&mut up, &mut send));
                let client = connect_any(down, up, &config, random(1)).await;
                let polls = matches!(client, Ok(AnyClient::Polling(_)));
                assert!(polls || client.is_err());
                client.err()
            }
        };
        let far = async {
            handshake(&mut first, WEBSOCKET, COOKIES, "").await;
            let peer: &mut Far = if connections == 1 { &mut first } else { &mut second };
            let head = peer.request().await;
            assert!(head.starts_with("GET /engine.io/?EIO=4&transport=websocket"), "{head}");
            assert_eq!(cookie(&head), Some("AWSALB=abc/+=; SERVERID=s1; c=\"x y\""));
            peer.close();
        };
        run(join(near, far));
    }
}

#[test]
fn header_fields_of_a_polling_response_have_no_count() {
    assert_eq!(returned::<512>(&fields(30), &Config::new("test")), None);
}

/// Whether a POST `idle_ms` after the last one uses the same connection, if the server announces `header`.
fn reuses(header: &str, idle_ms: u64) -> bool {
    let (down, [mut first]) = plugs_with(UNLIMITED);
    let (up, [mut kept, mut fresh]) = plugs_with(UNLIMITED);
    let config = Config::new("test");
    let near = polling::<1024, 384>(down, up, &config, async |client| {
        let mut client = client.unwrap();
        client.send("a").await.unwrap();
        client.flushed().await.unwrap();
        Timer::after_millis(idle_ms).await;
        client.send("b").await.unwrap();
        client.flushed().await.unwrap();
    });
    let far = async {
        handshake(&mut first, TransportSet::EMPTY, "", "").await;
        kept.request().await;
        assert_eq!(kept.raw(2).await, b"4a");
        kept.write(format!("HTTP/1.1 200 OK\r\n{header}Content-Length: 2\r\n\r\nok").as_bytes())
            .await;
        // The client closes a connection that it does not use again.
        let reused = kept.try_request().await.is_some();
        let peer = if reused { &mut kept } else { &mut fresh };
        if !reused {
            peer.request().await;
        }
        assert_eq!(peer.raw(2).await, b"4b");
        answer(peer, "ok").await;
        reused
    };
    run(join(near, far)).1
}

#[test]
fn kept_connection_is_used_for_a_post_within_a_second_unless_announced() {
    assert!(reuses("", 900));
    assert!(!reuses("", 1_000), "gunicorn closes after 2 s, silently");
    assert!(reuses("Keep-Alive: timeout=5\r\n", 3_900));
    assert!(!reuses("Keep-Alive: timeout=5\r\n", 4_000));
    assert!(!reuses("Keep-Alive: timeout=1\r\n", 0));
}

#[test]
fn burst_in_one_response_is_limited_per_message() {
    for chunked in [false, true] {
        for limits in [UNLIMITED, Limits { capacity: 64, step: 7, stutter: true }] {
            let (down, [mut first]) = plugs_with(limits);
            let (up, []) = plugs_with(limits);
            let config = Config::new("test");
            let text = |n: usize| n.to_string().repeat(500);
            let near = polling::<768, 384>(down, up, &config, async |client| {
                let mut client = client.unwrap();
                for n in 0..9 {
                    assert_eq!(client.recv().await, Ok(Message::Text(&text(n))), "{n}");
                }
                assert_eq!(client.recv().await, Err(Error::ReceivedTooLarge), "800 bytes");
            });
            let far = async {
                handshake(&mut first, TransportSet::EMPTY, "", "").await;
                polled(&mut first).await;
                let records = (0..9).map(|n| format!("4{}", text(n)));
                let mut body = records.collect::<Vec<_>>().join("\x1e");
                body += &format!("\x1e6\x1e4{}\x1e4never", "x".repeat(800));
                if chunked {
                    first.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                    for chunk in body.as_bytes().chunks(333) {
                        let size = format!("{:x}\r\n", chunk.len());
                        first.write(&[size.as_bytes(), chunk, b"\r\n"].concat()).await;
                    }
                    first.write(b"0\r\n\r\n").await;
                } else {
                    answer(&mut first, &body).await;
                }
            };
            run(join(near, far));
        }
    }
}

#[test]
fn messages_before_the_end_of_the_connection_are_received() {
    let (down, [mut first]) = plugs_with(UNLIMITED);
    let (up, []) = plugs_with(UNLIMITED);
    let config = Config::new("test");
    let near = polling::<1024, 384>(down, up, &config, async |client| {
        let mut client = client.unwrap();
        assert_eq!(client.recv().await, Ok(Message::Text("a")));
        assert_eq!(client.recv().await, Ok(Message::Binary(&[1, 2])));
        assert!(matches!(client.recv().await, Err(Error::Closed(_))));
        assert!(!client.is_open());
    });
    let far = async {
        handshake(&mut first, TransportSet::EMPTY, "", "").await;
        polled(&mut first).await;
        first.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n4a\x1ebAQI=\x1e4cut off").await;
        first.close();
    };
    run(join(near, far));
}

#[test]
fn error_response_larger_than_the_buffer_reports_its_status() {
    let (down, [mut first]) = plugs_with(UNLIMITED);
    let (up, []) = plugs_with(UNLIMITED);
    let config = Config::new("test");
    let near = polling::<512, 384>(down, up, &config, async |client| {
        let error = client.err();
        assert_eq!(error, Some(Error::Status { status: 502, code: None }));
    });
    let far = async {
        first.request().await;
        let page = "<p>Bad gateway</p>".repeat(100);
        let head = format!("HTTP/1.1 502 Bad Gateway\r\nContent-Length: {}\r\n\r\n", page.len());
        first.write((head + &page).as_bytes()).await;
    };
    run(join(near, far));
}

#[test]
fn server_of_revision_3_is_named() {
    let body = r#"96:0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":5000}2:40"#;
    for upgrade in [false, true] {
        let (mut down, [mut first]) = plugs_with(UNLIMITED);
        let (up, []) = plugs_with(UNLIMITED);
        let config = Config::new("test");
        let near = async {
            if upgrade {
                let mut buffers = Buffers::<1024, 512>::new();
                let client = connect_and_upgrade(&mut down, &config, &mut buffers, random(1)).await;
                assert_eq!(client.err(), Some(Error::UnsupportedVersion));
            } else {
                let check = async |client: Result<PollingClient<'_, _, _>, _>| {
                    assert_eq!(client.err(), Some(Error::UnsupportedVersion));
                };
                polling::<1024, 384>(down, up, &config, check).await;
            }
        };
        let far = async {
            first.request().await;
            answer(&mut first, body).await;
        };
        run(join(near, far));
    }
}

#[test]
fn post_that_is_not_answered_is_unconfirmed() {
    let (down, [mut first]) = plugs_with(UNLIMITED);
    let (up, [mut second]) = plugs_with(UNLIMITED);
    let config = Config::new("test");
    let near = polling::<1024, 384>(down, up, &config, async |client| {
        let mut client = client.unwrap();
        assert_eq!((client.unconfirmed(), client.round_trip()), (0, None));
        client.send("a").await.unwrap();
        assert_eq!(client.unconfirmed(), 1);
        client.flushed().await.unwrap();
        assert_eq!(client.unconfirmed(), 0);
        assert_eq!(client.round_trip().map(|it| it.as_millis()), Some(70));
        client.send("b").await.unwrap();
        assert!(client.flushed().await.is_err());
        assert_eq!((client.unconfirmed(), client.is_open()), (1, false));
    });
    let far = async {
        handshake(&mut first, TransportSet::EMPTY, "", "").await;
        let head = second.request().await;
        assert!(head.starts_with("POST"));
        assert_eq!(second.raw(2).await, b"4a");
        Timer::after_millis(70).await;
        answer(&mut second, "ok").await;
        second.request().await;
        second.close();
        Timer::after_millis(70).await;
    };
    run(join(near, far));
}
