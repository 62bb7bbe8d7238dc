//! The PROXY protocol: headers as bytes, our client, and HAProxy and nginx as TCP balancers.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use eio_core::buffer::Writer;
use eio_core::proxy_protocol::{Endpoints, Header, Tlvs, Version};
use eio_monoio::client::ProxySource;
use eio_monoio::{
    Config, ConnectRequest, Handler, Message, OwnedMessage, PeerAddr, ProxyProtocol, Refusal,
    RefusedConnection, Running, Server, Socket,
};
use http::{Request as HttpRequest, Response};

use crate::log;
use crate::proxy::{Kind, Proxy};
use crate::support::client::{block_on, connect_over, for_each_transport, next_message};
use crate::support::configs::{brief_shutdown, default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::echo::Echo;
use crate::support::foreign;
use crate::support::parallel;
use crate::support::request::{POLLING, Request, WEBSOCKET};
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

/// Echoes. The first message is the address of the client, as is the response to a request for another path.
pub(crate) struct Describing;

impl Handler for Describing {
    type Session = String;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<String, Refusal> {
        Ok(request.peer_addr().map_or("unix".into(), |peer| peer.to_string()))
    }

    async fn open(&self, socket: &Socket<String>) {
        socket.try_send(socket.data().as_str()).expect("the queue has room");
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<String>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.try_send(message).ok();
        async {}
    }

    async fn request(&self, request: HttpRequest<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
        let peer = request.extensions().get().map(|PeerAddr(peer)| peer.to_string());
        Response::new(Cow::Owned(peer.unwrap_or_default().into_bytes()))
    }
}

fn required(config: Config) -> Config {
    config.proxy_protocol(ProxyProtocol::Required).trusted_proxies(["127.0.0.0/8", "unix"])
}

fn start(config: Config) -> Running {
    let server = Server::new(|| Describing).config(brief_shutdown(config));
    let server = server.plain_websockets(|socket, message| socket.send(message));
    server.bind("127.0.0.1:0").expect("the server starts")
}

fn header(version: Version, endpoints: Endpoints<'_>, tlvs: &[u8]) -> Vec<u8> {
    let tlvs = Tlvs::new(tlvs).expect("well-formed");
    let mut memory = [0; 512];
    let mut out = Writer::new(&mut memory);
    Header { version, endpoints, tlvs }.encode(&mut out).expect("room");
    out.written().to_vec()
}

fn tcp(source: &str) -> Endpoints<'static> {
    let source: SocketAddr = source.parse().expect("an address");
    let destination = if source.is_ipv4() { "198.51.100.7:443" } else { "[2001:db8::7]:443" };
    Endpoints::Tcp { source, destination: destination.parse().expect("an address") }
}

/// Headers, and the addresses of their clients. An empty address is that of the connection.
fn headers() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (header(Version::V1, tcp("192.0.2.1:56324"), b""), "192.0.2.1:56324"),
        (header(Version::V1, tcp("[2001:db8::1]:5"), b""), "[2001:db8::1]:5"),
        (b"PROXY UNKNOWN\r\n".to_vec(), ""),
        (header(Version::V2, tcp("192.0.2.1:56324"), b""), "192.0.2.1:56324"),
        (header(Version::V2, tcp("[::ffff:192.0.2.1]:1"), b"\x04\0\x03abc"), "192.0.2.1:1"),
        (header(Version::V2, tcp("[2001:db8::1]:5"), b"\x02\0\x01x"), "[2001:db8::1]:5"),
        (header(Version::V2, Endpoints::Local, b""), ""),
        (
            header(Version::V2, Endpoints::Unix { source: &[1; 108], destination: &[2; 108] }, b""),
            "",
        ),
    ]
}

/// The address that a connection without a header would have.
fn address(conn: &Connection, named: &str) -> String {
    match named {
        "" => conn.stream().local_addr().expect("an address").to_string(),
        named => named.to_owned(),
    }
}

#[test]
fn a_header_is_split_at_every_byte_and_joined_to_the_request() {
    for_each_config(|config| {
        let running = start(required(config));
        for (header, named) in headers() {
            let bytes = [header.clone(), Request::get("/whoami").bytes()].concat();
            // The last one is not split at all.
            let splits = (1..=header.len() + 1).chain([bytes.len()]);
            let conns = splits.map(|split| {
                let mut conn = Connection::open(running.local_addr());
                conn.write(&bytes[..split]);
                (conn, split)
            });
            let mut conns: Vec<_> = conns.collect();
            // The first parts are received before the second parts are sent.
            thread::sleep(Duration::from_millis(20));
            for (conn, split) in &mut conns {
                conn.write(&bytes[*split..]);
            }
            for (mut conn, split) in conns {
                let expected = address(&conn, named);
                let response = conn.response();
                assert_eq!(response.text(), expected, "{} at {split}", header.escape_ascii());
                // Only once for each connection.
                assert_eq!(conn.request(&Request::get("/again")).text(), expected);
            }
        }
    });
}

#[test]
fn sessions_and_plain_websockets_are_opened_after_a_header() {
    for_each_config(|config| {
        let running = start(required(config));
        for (header, named) in headers() {
            let open = || {
                let mut conn = Connection::open(running.local_addr());
                conn.write(&header);
                let expected = address(&conn, named);
                (conn, expected)
            };
            let (conn, expected) = open();
            let mut ws = WebSocket::over(conn, WEBSOCKET);
            assert!(ws.text().starts_with('0'));
            assert_eq!(ws.text(), format!("4{expected}"));
            ws.send("4hi");
            assert_eq!(ws.text(), "4hi");
            let (conn, _) = open();
            let mut ws = WebSocket::over(conn, "/chat");
            ws.send("hi");
            assert_eq!(ws.text(), "hi");
        }
    });
}

fn refused(running: &Running, reason: RefusedConnection) -> u64 {
    running.remote().metrics().total().connections_refused(reason)
}

#[test]
fn headers_from_untrusted_addresses_are_not_believed() {
    let _turn = log::record();
    let running = start(required(default_config()).trusted_proxies(["10.0.0.0/8"]));
    let before = log::text().len();
    for header in [&b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"[..], b""] {
        let mut conn = Connection::open(running.local_addr());
        // It may be closed already.
        _ = conn.try_write([header, &Request::get("/whoami").bytes()].concat());
        conn.expect_closed();
    }
    eventually("the count", || refused(&running, RefusedConnection::UntrustedProxy) == 2);
    log::expect_after(before, &["WARN", "one of Config::trusted_proxies", "client=127.0.0.1:"]);
    let text = running.remote().metrics().to_string();
    assert!(
        text.contains("eio_connections_refused_total{worker=\"0\",reason=\"untrusted_proxy\"}")
    );
}

#[test]
fn a_connection_without_a_proper_header_is_closed_and_counted() {
    let _turn = log::record();
    let mut large = header(Version::V2, tcp("192.0.2.1:1"), b"");
    large[14..16].copy_from_slice(&600_u16.to_be_bytes());
    let without_room = header(Version::V2, tcp("192.0.2.1:1"), b"")[..16].to_vec();
    for (sent, words) in [
        (Request::get(POLLING).bytes(), "no header of the PROXY protocol"),
        (b"\x16\x03\x01\x02".to_vec(), "no header of the PROXY protocol"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n".to_vec(), "a malformed line"),
        (large, "above the limit"),
        (without_room, "not complete within Config::head_timeout"),
        (b"PROXY TCP4 192.0.2.1".to_vec(), "not complete within Config::head_timeout"),
        (Vec::new(), "not complete within Config::head_timeout"),
    ] {
        let config = required(default_config()).head_timeout(Duration::from_millis(200));
        let running = start(config.max_head_size(512));
        let before = log::text().len();
        let mut conn = Connection::open(running.local_addr());
        conn.write(&sent);
        conn.expect_closed();
        eventually("the count", || refused(&running, RefusedConnection::ProxyHeader) == 1);
        log::expect_after(before, &["WARN", "Config::proxy_protocol requires", words]);
        assert_eq!(running.remote().metrics().total().refusals(400), 0);
    }
}

/// A balancer that only connects, to check the server's health, is not worth a line.
#[test]
fn a_connection_without_a_byte_is_not_counted() {
    let running = start(required(default_config()));
    drop(Connection::open(running.local_addr()));
    let mut conn = Connection::open(running.local_addr());
    conn.write(b"PROXY UNKNOWN\r\n");
    assert_eq!(conn.request(&Request::get("/")).status, 200);
    eventually("the end of the first", || running.remote().connections() == 1);
    assert_eq!(refused(&running, RefusedConnection::ProxyHeader), 0);
}

/// The client that the PROXY protocol names is no proxy, so its own `X-Forwarded-For` is not believed. If it is one, it is.
#[test]
fn forwarded_addresses_are_those_of_the_named_client() {
    let running = start(required(default_config()).trusted_proxies(["127.0.0.1", "10.0.0.0/8"]));
    for (source, seen) in [("192.0.2.1", "192.0.2.1:7"), ("10.1.1.1", "203.0.113.9:0")] {
        let mut conn = Connection::open(running.local_addr());
        conn.write(format!("PROXY TCP4 {source} 10.0.0.2 7 80\r\n"));
        let request = Request::get("/whoami").header("X-Forwarded-For", "203.0.113.9");
        assert_eq!(conn.request(&request).text(), seen);
    }
}

#[test]
fn a_unix_socket_has_the_address_of_the_header() {
    use std::io::{Read, Write};
    let directory = crate::support::temp_dir::TempDir::new();
    let path = directory.join("socket");
    let server = Server::new(|| Describing).config(brief_shutdown(required(default_config())));
    let _running = server.bind_unix(&path).expect("the server starts");
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("it listens");
    stream.write_all(b"PROXY TCP4 192.0.2.1 10.0.0.2 7 80\r\n").expect("it reads");
    let request = Request::get("/whoami").header("Connection", "close").bytes();
    stream.write_all(&request).expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    assert!(response.ends_with("\r\n\r\n192.0.2.1:7"), "{response}");
}

#[test]
fn our_client_sends_a_header_on_each_connection() {
    let running = start(required(default_config()));
    let url = format!("http://{}", running.local_addr());
    for_each_transport(|driver, transport| {
        for source in ["192.0.2.1:56324", "[2001:db8::1]:5"] {
            block_on(driver, async {
                let client = ProxySource::Client(source.parse().expect("an address"));
                let connect = connect_over(&url, transport).proxy_protocol(client);
                let client = connect.await.expect("connects");
                assert_eq!(next_message(&client).await, OwnedMessage::Text(source.into()));
                client.send("hi").await.expect("queued");
                assert_eq!(next_message(&client).await, OwnedMessage::Text("hi".into()));
            });
        }
        block_on(driver, async {
            let connect = connect_over(&url, transport).proxy_protocol(ProxySource::Local);
            let client = connect.await.expect("connects");
            let seen = next_message(&client).await;
            let is_own = |text: &str| text.starts_with("127.0.0.1:");
            assert!(matches!(&seen, OwnedMessage::Text(text) if is_own(text)), "{seen:?}");
        });
    });
    block_on(eio_monoio::Driver::Epoll, async {
        let client = connect_over(&url, None).proxy_protocol(ProxySource::Local);
        let received = std::cell::RefCell::new(String::new());
        client
            .path("/chat")
            .plain_websocket(
                |socket| socket.send("hi"),
                |socket, message| {
                    received.borrow_mut().push_str(&format!("{message:?}"));
                    socket.close();
                },
            )
            .await
            .expect("opens");
        assert_eq!(*received.borrow(), "Text(\"hi\")");
    });
}

/// The address of the client that connects to the proxy from `local`.
fn whoami(proxy: SocketAddr, local: Ipv4Addr) -> (String, String) {
    let mut conn = Connection::open_from(local, proxy);
    let own = conn.stream().local_addr().expect("an address").to_string();
    (conn.request(&Request::get("/whoami")).text().to_owned(), own)
}

#[test]
fn addresses_through_haproxy_and_nginx_are_right() {
    let test = "addresses_through_haproxy_and_nginx_are_right";
    let kinds = Kind::TCP.map(|kind| (format!("{kind:?}"), kind));
    parallel::for_each(kinds, |kind| {
        let running = start(required(default_config()));
        let Some(proxy) = Proxy::start(test, kind, running.local_addr(), 60) else { return };
        for local in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 5)] {
            let (seen, own) = whoami(proxy.addr, local);
            assert_eq!(seen, own, "{kind:?}");
        }
        let mut ws = WebSocket::connect(proxy.addr, WEBSOCKET);
        assert!(ws.text().starts_with('0'));
        let own = ws.conn.stream().local_addr().expect("an address");
        assert_eq!(ws.text(), format!("4{own}"), "{kind:?}");
        assert_eq!(refused(&running, RefusedConnection::ProxyHeader), 0);
        // The same proxy, to a server that does not trust it.
        let other = start(required(default_config()).trusted_proxies(["10.0.0.1"]));
        let Some(proxy) = Proxy::start(test, kind, other.local_addr(), 60) else { return };
        let mut conn = Connection::open(proxy.addr);
        conn.send(&Request::get("/whoami"));
        conn.expect_closed();
        assert!(refused(&other, RefusedConnection::UntrustedProxy) > 0, "{kind:?}");
    });
}

#[test]
fn javascript_client_gets_every_echo_through_tcp_balancers() {
    let test = "javascript_client_gets_every_echo_through_tcp_balancers";
    let Some(client) = foreign::javascript(test) else { return };
    let kinds = Kind::TCP.map(|kind| (format!("{kind:?}"), kind));
    parallel::for_each(kinds, |kind| {
        // The client sends text with U+001E over WebSockets, too.
        let config = required(default_config()).separator_over_websocket(true);
        let server = Server::new(Echo::<()>::new).config(brief_shutdown(config));
        let running = server.bind("127.0.0.1:0").expect("the server starts");
        let Some(proxy) = Proxy::start(test, kind, running.local_addr(), 60) else { return };
        let scenarios = ["polling", "websocket", "upgrade"];
        crate::reverse_proxies::run(client.client_command(&proxy.url(), &scenarios));
    });
}

/// The header is not encrypted. The first bytes of TLS may arrive with it.
#[cfg(feature = "tls")]
#[test]
fn a_header_precedes_tls() {
    use std::io::{Read, Write};
    use std::sync::Arc;

    let identity = crate::support::tls::Identity::new();
    for_each_config(|config| {
        let server = Server::new(|| Describing).config(brief_shutdown(required(config)));
        let running = server.tls(identity.tls()).bind("127.0.0.1:0").expect("the server starts");
        let addr = running.local_addr();
        let client = Arc::new(identity.pki.client(None));
        let (header, named) = (header(Version::V2, tcp("192.0.2.1:56324"), b""), "192.0.2.1:56324");
        for split in (1..=header.len() + 1).step_by(3).chain([header.len(), usize::MAX]) {
            let name = "127.0.0.1".try_into().expect("a name");
            let mut tls = rustls::ClientConnection::new(client.clone(), name).expect("a client");
            let mut bytes = header.clone();
            tls.write_tls(&mut bytes).expect("a first flight");
            let mut stream = std::net::TcpStream::connect(addr).expect("it listens");
            let (first, second) = bytes.split_at(split.min(bytes.len()));
            stream.write_all(first).expect("it reads");
            thread::sleep(Duration::from_millis(10));
            stream.write_all(second).expect("it reads");
            let mut stream = rustls::StreamOwned::new(tls, stream);
            let request = Request::get("/whoami").header("Connection", "close").bytes();
            stream.write_all(&request).expect("it reads");
            let mut response = String::new();
            stream.read_to_string(&mut response).expect("a response");
            assert!(response.ends_with(&format!("\r\n\r\n{named}")), "{split}: {response}");
        }
        block_on(eio_monoio::Driver::Epoll, async {
            let source = ProxySource::Client(named.parse().expect("an address"));
            let connect = connect_over(&format!("https://{addr}"), None).proxy_protocol(source);
            let client = connect.certificate_authority(identity.pki.pem()).await.expect("connects");
            assert_eq!(next_message(&client).await, OwnedMessage::Text(named.into()));
        });
    });
}
