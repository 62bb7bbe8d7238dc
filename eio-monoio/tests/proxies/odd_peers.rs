//! Wire transcripts of odd but legal peers, and of illegal ones: one for each kind of report, each with the rule it rests
//! on. `{sid}` is the sid of a polling session that was opened before.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use eio_monoio::{ConnectRequest, Server};

use crate::support::configs::{brief_shutdown, default_config};
use crate::support::describing::Describing;
use crate::support::polling::Polling;
use crate::support::test_server::TestServer;
use crate::support::wait::TIMEOUT;

/// The cookie of the client and its address, without the port.
fn cookie_and_address(request: &ConnectRequest<'_>) -> String {
    let peer = request.peer_addr().map(|peer| peer.ip().to_string());
    let cookie = request.header("cookie").unwrap_or("no cookie");
    let copy = request.to_http();
    let same = copy.headers().get("cookie").map_or("no cookie", |value| value.to_str().unwrap());
    assert_eq!(cookie, same, "the http crate shows the same");
    format!("{cookie} from {}", peer.unwrap_or_default())
}

struct Transcript {
    report: &'static str,
    rule: &'static str,
    sent: &'static str,
    /// Parts of the received bytes, in this order.
    received: &'static [&'static str],
    /// Not received before the last of those parts.
    absent: &'static str,
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const OPEN: &str = "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\n";
const SOCKET: &str = "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\n";
const POST: &str =
    "POST /engine.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\n";

/// `@OPEN` and the others stand for the constants above.
const TRANSCRIPTS: [Transcript; 34] = [
    Transcript {
        report: "Traefik names the scheme of the WebSocket on upgrades; a page stays on polling for ever",
        rule: "RFC 6455 section 3: wss has the authority of https; RFC 6454 section 5",
        sent: "@SOCKETHost: a.example\r\nOrigin: https://a.example\r\nX-Forwarded-Proto: wss\r\n@UPGRADE@KEY\r\n",
        received: &["HTTP/1.1 101 ", "Access-Control-Allow-Origin: https://a.example"],
        absent: "Keep-Alive",
    },
    Transcript {
        report: "the same without TLS",
        rule: "RFC 6455 section 3: ws has the authority of http",
        sent: "@SOCKETHost: a.example\r\nOrigin: http://a.example\r\nX-Forwarded-Proto: ws\r\n@UPGRADE@KEY\r\n",
        received: &["HTTP/1.1 101 "],
        absent: "",
    },
    Transcript {
        report: "a page without TLS against a proxy with TLS",
        rule: "RFC 6454 section 5: another scheme is another origin",
        sent: "@SOCKETHost: a.example\r\nOrigin: http://a.example\r\nX-Forwarded-Proto: wss\r\n@UPGRADE@KEY\r\n",
        received: &["HTTP/1.1 400 ", "{\"code\":3,\"message\":\"Bad request\"}"],
        absent: "101",
    },
    Transcript {
        report: "a client has the key of the RFC built in",
        rule: "RFC 6455 sections 4.1 and 4.2.1: sixteen bytes when decoded; RFC 4648 section 3.5: pad bits may be ignored",
        sent: "@SOCKETHost: a.example\r\n@UPGRADESec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==\r\n\r\n",
        received: &["HTTP/1.1 101 ", "Sec-WebSocket-Accept: OfS0wDaT5NoxF2gqm7Zj2YtetzM="],
        absent: "",
    },
    Transcript {
        report: "a key of fifteen bytes",
        rule: "RFC 6455 section 4.2.1: sixteen bytes",
        sent: "@SOCKETHost: a.example\r\n@UPGRADESec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4P\r\n\r\n",
        received: &["HTTP/1.1 400 "],
        absent: "101",
    },
    Transcript {
        report: "a client of version 3 with the sid of a session of version 4",
        rule: "engine.io 6.6: PROTOCOL_MISMATCH, code 3",
        sent: "GET /engine.io/?EIO=3&transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\n\r\n",
        received: &["HTTP/1.1 400 ", "{\"code\":3,\"message\":\"Bad request\"}"],
        absent: "200",
    },
    Transcript {
        report: "a client that repeats only the sid",
        rule: "docs/protocol.md 2.1.3: EIO may be omitted within a session",
        sent: "GET /engine.io/?transport=polling&sid={sid} HTTP/1.1\r\nHost: a.example\r\n\r\n",
        received: &["HTTP/1.1 200 "],
        absent: "",
    },
    Transcript {
        report: "a proxy from HTTP/2 passes the cookie in two fields",
        rule: "RFC 9113 section 8.2.3: joined by \"; \"",
        sent: "@SOCKETHost: a.example\r\nCookie: a=1\r\nCookie: b=2; c=3\r\n@UPGRADE@KEY\r\n",
        received: &["HTTP/1.1 101 ", "4a=1; b=2; c=3 from 127.0.0.1"],
        absent: "",
    },
    Transcript {
        report: "one cookie field",
        rule: "RFC 6265 section 5.4",
        sent: "@SOCKETHost: a.example\r\nCookie: a=1; b=2\r\n@UPGRADE@KEY\r\n",
        received: &["HTTP/1.1 101 ", "4a=1; b=2 from 127.0.0.1"],
        absent: "",
    },
    Transcript {
        report: "a connection of the pool is closed under a POST",
        rule: "RFC 9112 section 9.3.1, RFC 9110 section 7.6.1: announced, with its connection option",
        sent: "@OPENHost: a.example\r\n\r\n",
        received: &["HTTP/1.1 200 ", "Connection: keep-alive\r\nKeep-Alive: timeout=65\r\n"],
        absent: "",
    },
    Transcript {
        report: "a proxy that speaks HTTP/1.0 with keep-alive",
        rule: "RFC 9112 appendix C.2.2: the response confirms it",
        sent: "GET /engine.io/?EIO=4&transport=polling HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        received: &["HTTP/1.1 200 ", "Connection: keep-alive\r\nKeep-Alive: timeout=65\r\n"],
        absent: "",
    },
    Transcript {
        report: "nginx's default: HTTP/1.0 and close",
        rule: "RFC 9112 section 9.6: no persistence is announced",
        sent: "GET /engine.io/?EIO=4&transport=polling HTTP/1.0\r\nHost: a.example\r\nConnection: close\r\n\r\n",
        received: &["HTTP/1.1 200 ", "Connection: close\r\n", "\"sid\""],
        absent: "Keep-Alive",
    },
    Transcript {
        report: "a proxy with an absolute target",
        rule: "RFC 9112 section 3.2.2: a server MUST accept the absolute-form",
        sent: "GET http://a.example/engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n",
        received: &["HTTP/1.1 200 ", "\"sid\""],
        absent: "",
    },
    Transcript {
        report: "Firefox: keep-alive, Upgrade",
        rule: "RFC 6455 section 4.2.1: Connection includes the token, in any case",
        sent: "@SOCKETHost: a.example\r\nConnection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n\
               Sec-WebSocket-Version: 13\r\n@KEY\r\n",
        received: &["HTTP/1.1 101 "],
        absent: "",
    },
    Transcript {
        report: "socket.io's nginx example: Connection: upgrade on every request",
        rule: "RFC 9110 section 7.8: without Upgrade there is nothing to upgrade to",
        sent: "@OPENHost: a.example\r\nConnection: upgrade\r\n\r\n",
        received: &["HTTP/1.1 200 ", "\"sid\""],
        absent: "",
    },
    Transcript {
        report: "curl offers HTTP/2 over plain TCP",
        rule: "RFC 9110 section 7.8: a server MAY ignore Upgrade",
        sent: "@OPENHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
               HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        received: &["HTTP/1.1 200 ", "\"sid\""],
        absent: "101",
    },
    Transcript {
        report: "curl expects 100 (Continue) before a body",
        rule: "RFC 9110 section 10.1.1",
        sent: "@POSTContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        received: &["HTTP/1.1 100 "],
        absent: "",
    },
    Transcript {
        report: "a chunked POST with chunk extensions",
        rule: "RFC 9112 section 7.1.1: a recipient MUST ignore unrecognized chunk extensions",
        sent: "@POSTTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n4\r\n2;x\r\nhi\r\n0\r\n\r\n",
        received: &["HTTP/1.1 200 ", "ok"],
        absent: "",
    },
    Transcript {
        report: "a POST of text as application/octet-stream",
        rule: "docs/protocol.md 2.3: the body is text in any type",
        sent: "@POSTContent-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\n4hi",
        received: &["HTTP/1.1 200 ", "ok"],
        absent: "",
    },
    Transcript {
        report: "base64 without padding",
        rule: "RFC 4648 section 3.2; engine.io decodes it",
        sent: "@POSTContent-Length: 3\r\n\r\nbAQ",
        received: &["HTTP/1.1 200 ", "ok"],
        absent: "",
    },
    Transcript {
        report: "a pong without a ping",
        rule: "docs/protocol.md 2.5: harmless; rust_engineio sends one at its start",
        sent: "@POSTContent-Length: 1\r\n\r\n3",
        received: &["HTTP/1.1 200 ", "ok"],
        absent: "",
    },
    Transcript {
        report: "a client of version 3 pings",
        rule: "Engine.IO 4: only the server sends pings",
        sent: "@POSTContent-Length: 1\r\n\r\n2",
        received: &["HTTP/1.1 400 "],
        absent: "ok",
    },
    Transcript {
        report: "two requests of a POST pool overtake each other: an empty body",
        rule: "docs/protocol.md 2.3: a body without a packet is not a payload",
        sent: "@POSTContent-Length: 0\r\n\r\n",
        received: &["HTTP/1.1 400 "],
        absent: "",
    },
    Transcript {
        report: "the client offers permessage-deflate",
        rule: "RFC 6455 section 4.2.2: a response without the field declines",
        sent: "@SOCKETHost: a.example\r\n@UPGRADE@KEYSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
        received: &["HTTP/1.1 101 ", "\"sid\""],
        absent: "Sec-WebSocket-Extensions",
    },
    Transcript {
        report: "subprotocols in two fields",
        rule: "RFC 6455 section 4.2.2: one of them is answered",
        sent: "@SOCKETHost: a.example\r\n@UPGRADE@KEYSec-WebSocket-Protocol: first\r\nSec-WebSocket-Protocol: second\r\n\r\n",
        received: &["HTTP/1.1 101 ", "Sec-WebSocket-Protocol: first\r\n"],
        absent: "second",
    },
    Transcript {
        report: "a cache buster, unknown keys and an encoded version",
        rule: "docs/protocol.md 2.1.3",
        sent: "GET /engine.io/?t=PkXa&x=1&EIO=%34&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n",
        received: &["HTTP/1.1 200 ", "\"sid\""],
        absent: "",
    },
    Transcript {
        report: "no slash at the end of the path",
        rule: "docs/protocol.md 2.9.4",
        sent: "GET /engine.io?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n",
        received: &["HTTP/1.1 200 ", "\"sid\""],
        absent: "",
    },
    Transcript {
        report: "an empty line after a body",
        rule: "RFC 9112 section 2.2: a server SHOULD ignore at least one empty line before a request",
        sent: "\r\n@OPENHost: a.example\r\n\r\n",
        received: &["HTTP/1.1 200 ", "\"sid\""],
        absent: "",
    },
    Transcript {
        report: "two Host fields",
        rule: "RFC 9112 section 3.2: MUST be answered 400",
        sent: "@OPENHost: a.example\r\nHost: b.example\r\n\r\n",
        received: &["HTTP/1.1 400 "],
        absent: "sid",
    },
    Transcript {
        report: "an opaque origin",
        rule: "RFC 6454 section 7.1: null is of no host",
        sent: "@OPENHost: a.example\r\nOrigin: null\r\n\r\n",
        received: &["HTTP/1.1 400 ", "{\"code\":3"],
        absent: "sid",
    },
    Transcript {
        report: "the proxy forwards the host with its default port",
        rule: "RFC 6454 section 4: the default port is part of the origin",
        sent: "@OPENHost: 10.0.0.1:3000\r\nX-Forwarded-Host: a.example:443\r\nX-Forwarded-Proto: https\r\n\
               Origin: https://a.example\r\n\r\n",
        received: &["HTTP/1.1 200 ", "\"sid\""],
        absent: "",
    },
    Transcript {
        report: "the script of another site",
        rule: "docs/protocol.md 2.2: JSONP is refused",
        sent: "GET /engine.io/?EIO=4&transport=polling&j=0 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        received: &["HTTP/1.1 400 ", "{\"code\":3"],
        absent: "sid",
    },
    Transcript {
        report: "a monitor asks with HEAD",
        rule: "RFC 9110 section 9.3.2: no body",
        sent: "HEAD /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a.example\r\n\r\n",
        received: &["HTTP/1.1 400 ", "Content-Length: 43\r\n", "\r\n\r\n"],
        absent: "code",
    },
    Transcript {
        report: "TLS to a port without it",
        rule: "RFC 9112 section 2.2: 400, and the connection is closed",
        sent: "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03\r\n\r\n",
        received: &["HTTP/1.1 400 ", "Connection: close"],
        absent: "Keep-Alive",
    },
];

impl Transcript {
    fn bytes(&self, sid: &str) -> Vec<u8> {
        let mut text = self.sent.to_owned();
        for (name, value) in [
            ("@OPEN", OPEN),
            ("@SOCKET", SOCKET),
            ("@POST", POST),
            ("@UPGRADE", UPGRADE),
            ("@KEY", KEY),
        ] {
            text = text.replace(name, value);
        }
        text.replace("{sid}", sid).into_bytes()
    }

    /// Fails unless the server answers as it should.
    #[track_caller]
    fn play(&self, server: &TestServer) {
        let session = Polling::open(server.addr());
        let mut stream = TcpStream::connect(server.addr()).expect("the server accepts");
        stream.write_all(&self.bytes(&session.sid)).expect("the server reads");
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let deadline = Instant::now() + TIMEOUT;
        let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            let n = stream.read(&mut chunk).unwrap_or(0);
            bytes.extend_from_slice(&chunk[..n]);
            let text = String::from_utf8_lossy(&bytes);
            let mut rest = &*text;
            let complete = self.received.iter().all(|part| match rest.split_once(part) {
                Some((_, after)) => {
                    rest = after;
                    true
                }
                None => false,
            });
            if complete {
                let wrong = !self.absent.is_empty() && text.contains(self.absent);
                assert!(!wrong, "{} ({}): {:?} in {text}", self.report, self.rule, self.absent);
                return;
            }
            assert!(Instant::now() < deadline, "{} ({}): {text}", self.report, self.rule);
        }
    }
}

#[test]
fn every_transcript_is_answered_by_its_rule() {
    let server = TestServer::run(default_config(), |_| Describing(cookie_and_address));
    for transcript in &TRANSCRIPTS {
        transcript.play(&server);
    }
}

/// A browser through two proxies has 70 fields; Node.js accepts 2,000.
#[test]
fn a_hundred_header_fields_are_accepted() {
    let server = TestServer::run(default_config(), |_| Describing(cookie_and_address));
    let mut conn = crate::support::connection::Connection::open(server.addr());
    for (more, status) in [(99, 200), (100, 431)] {
        let fields = "X-Trace: 1\r\n".repeat(more);
        conn.write(format!("{OPEN}Host: a.example\r\n{fields}\r\n"));
        assert_eq!(conn.response().status, status, "{more} and Host");
    }
}

/// RFC 4291 section 2.5.5.2: a listener on `[::]` gets IPv4 peers as IPv6 addresses.
#[test]
fn an_ipv4_peer_of_an_ipv6_listener_is_shown_as_ipv4() {
    let server =
        Server::new(|| Describing(cookie_and_address)).config(brief_shutdown(default_config()));
    let running = match server.bind("[::]:0") {
        Ok(running) => running,
        Err(error) => {
            return crate::support::skip::skip("an IPv4 peer of an IPv6 listener", error);
        }
    };
    let addr = ([127, 0, 0, 1], running.local_addr().port()).into();
    let mut polling = Polling::open(addr);
    assert_eq!(polling.poll(), "4no cookie from 127.0.0.1");
}
