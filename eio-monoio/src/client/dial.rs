//! Opens a connection to the server: resolver, addresses, proxy, TLS.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use eio_core::http::{EMPTY, HeadScanner, ResponseHead, request};
use eio_core::proxy_protocol::{Endpoints, Header, Tlvs, Version};
use eio_core::session::Lane;

use crate::client::error::{Fault, OsError};
use crate::client::http::{flush, http_fault, recv_fault};
use crate::client::options::ProxySource;
use crate::client::resolve::resolve;
use crate::client::session::Session;
use crate::client::settings::{HostPort, Proxy, Settings};
use crate::client::tls::tls_connect;
use crate::io::http_conn::HttpConn;
use crate::io::limits::ConnEnv;
use crate::io::stream::Stream;
use crate::worker::context::{Activity, WorkerContext};
use crate::worker::deadline::Deadline;
use crate::worker::net::Socket;
use crate::worker::task::sleep;

/// Opens a connection for `lane`, unless the lane is cancelled before.
pub(crate) async fn dial_lane(session: &Rc<Session>, lane: Lane) -> Result<HttpConn, Fault> {
    let path = match lane {
        Lane::Get | Lane::Post => Path::Request,
        Lane::WebSocket => Path::Tunnel,
    };
    let mut dialing = pin!(dial(&session.worker, &session.settings, path));
    poll_fn(|cx| {
        if session.poll_cancelled(lane, cx).is_ready() {
            return Poll::Ready(Err(Fault::Lost));
        }
        dialing.as_mut().poll(cx)
    })
    .await
}

/// How a connection without TLS passes a proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// The proxy forwards each request.
    Request,
    /// RFC 6455 4.1: by CONNECT, because a proxy need not forward an opening handshake.
    Tunnel,
}

/// Opens a connection within [`connect_timeout`](crate::client::Connect::connect_timeout).
pub(crate) async fn dial(
    worker: &Rc<WorkerContext>,
    settings: &Settings,
    path: Path,
) -> Result<HttpConn, Fault> {
    let deadline = Deadline::new(worker.clone());
    deadline.set(settings.options.connect_timeout);
    let dialing = Box::pin(open(worker, settings, path));
    deadline.limit(dialing).await.unwrap_or(Err(Fault::ConnectTimeout))
}

async fn open(
    worker: &Rc<WorkerContext>,
    settings: &Settings,
    path: Path,
) -> Result<HttpConn, Fault> {
    let options = &settings.options;
    let proxy = settings.proxy.as_ref();
    let place = proxy.map_or(&settings.server, |proxy| &proxy.place);
    let socket = connect_any(resolve(&place.host, place.port).await?).await?;
    let set = socket.set_options(options.nodelay, options.keepalive);
    set.map_err(|error| Fault::Connect(error.into()))?;
    let env = ConnEnv::new(worker.clone(), settings.limits.clone());
    let new_conn = |stream| HttpConn::new(env.clone(), stream, None);
    let mut stream = Stream::from(socket);
    if let Some(source) = options.proxy_protocol {
        let mut conn = new_conn(stream);
        send_proxy_header(&mut conn, source).await?;
        stream = conn.into_stream().0;
    }
    let tunnel = path == Path::Tunnel || settings.tls.is_some();
    if let (Some(proxy), true) = (proxy, tunnel) {
        let mut conn = new_conn(stream);
        open_tunnel(&mut conn, proxy, &settings.server).await?;
        stream = conn.into_stream().0;
    }
    if let Some(connector) = &settings.tls {
        stream = tls_connect(stream, connector).await?;
    }
    let conn = new_conn(stream);
    conn.set_activity(Activity::Busy);
    Ok(conn)
}

/// The Connection Attempt Delay of RFC 8305 section 5: the next address is tried if no attempt has succeeded in this
/// time.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

type Attempt = Pin<Box<dyn Future<Output = io::Result<Socket>>>>;

/// The first connection that any of `addresses` accepts.
async fn connect_any(addresses: Vec<SocketAddr>) -> Result<Socket, Fault> {
    let mut addresses = addresses.into_iter();
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut delay: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async {});
    let mut last_error = OsError::from(io::ErrorKind::AddrNotAvailable);
    poll_fn(|cx| {
        loop {
            let before = attempts.len();
            let mut at = 0;
            while let Some(attempt) = attempts.get_mut(at) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(socket)) => return Poll::Ready(Ok(socket)),
                    Poll::Ready(Err(error)) => {
                        last_error = error.into();
                        drop(attempts.swap_remove(at));
                    }
                    Poll::Pending => at += 1,
                }
            }
            let failed = attempts.len() < before;
            if addresses.len() == 0 && attempts.is_empty() {
                return Poll::Ready(Err(Fault::Connect(last_error)));
            }
            if addresses.len() == 0 || (!failed && delay.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
            if let Some(address) = addresses.next() {
                attempts.push(Box::pin(Socket::connect(address)));
                delay = Box::pin(sleep(ATTEMPT_DELAY));
            }
        }
    })
    .await
}

/// Sends a header of the PROXY protocol.
async fn send_proxy_header(conn: &mut HttpConn, source: ProxySource) -> Result<(), Fault> {
    let endpoints = match source {
        ProxySource::Local => Endpoints::Local,
        ProxySource::Client(source) => {
            let destination = conn.stream().peer_addr();
            let destination = destination.map_err(|error| Fault::Connect(error.into()))?;
            Endpoints::Tcp { source, destination }
        }
    };
    let header = Header { version: Version::V2, endpoints, tlvs: Tlvs::default() };
    let written = header.encode(conn.out_mut());
    debug_assert!(written.is_ok(), "without TLVs it is shorter than the length field can state");
    flush(conn).await?;
    conn.release();
    Ok(())
}

/// RFC 9110 9.3.6: makes the proxy forward all further bytes to `server`.
async fn open_tunnel(conn: &mut HttpConn, proxy: &Proxy, server: &HostPort) -> Result<(), Fault> {
    const MAX_HEAD: usize = 8 * 1024;
    let target = server.authority();
    let head = request(conn.out_mut(), "CONNECT", &target)
        .and_then(|head| head.header("Host", &target))
        .and_then(|head| head.raw(&proxy.lines))
        .and_then(|head| head.end());
    // A parsed host has only characters that are legal in a request line.
    head.map_err(|_| Fault::Proxy(400))?;
    flush(conn).await?;
    conn.clear_deadline();
    let mut scanner = HeadScanner::new();
    let len = loop {
        let scanned = scanner.poll(conn.rx.unread(), MAX_HEAD);
        if let Some(len) = scanned.map_err(|error| http_fault(conn, error))? {
            break len;
        }
        if let Err(error) = conn.receive(1).await {
            return Err(recv_fault(conn, error));
        }
    };
    let status = {
        let mut slots = [EMPTY; 64];
        let head = conn.rx.unread().get(..len).unwrap_or_default();
        ResponseHead::parse(head, &mut slots).map_err(Fault::Http)?.status
    };
    conn.rx.skip(len);
    conn.rx.release();
    if (200..300).contains(&status) { Ok(()) } else { Err(Fault::Proxy(status)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    use crate::client::block_on;
    use crate::worker::net::Driver;

    /// An address that neither accepts nor refuses connections: its backlog is full.
    fn unresponsive() -> (socket2::Socket, Vec<TcpStream>, SocketAddr) {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        let backlog = (0..4).map_while(|_| connect()).collect();
        (socket, backlog, address)
    }

    fn refusing() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[test]
    fn later_addresses_are_tried_after_a_refusal_or_without_an_answer() {
        let (_socket, _backlog, unresponsive) = unresponsive();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for driver in [Driver::IoUring, Driver::Epoll] {
            for addresses in [
                vec![address],
                vec![refusing(), address],
                vec![unresponsive, address],
                vec![unresponsive, refusing(), refusing(), unresponsive, address],
                vec![address, unresponsive],
            ] {
                // Far less than the kernel's timeout for the unresponsive address: two minutes.
                let begun = std::time::Instant::now();
                let socket = block_on(driver, async { connect_any(addresses.clone()).await });
                assert!(socket.expect("a runtime").is_ok(), "{addresses:?}");
                assert!(begun.elapsed() < Duration::from_secs(20), "{addresses:?}");
                let (_, peer) = listener.accept().unwrap();
                assert!(peer.ip().is_loopback());
            }
            let refused = block_on(driver, connect_any(vec![refusing(), refusing()])).unwrap();
            let expected = io::Error::from_raw_os_error(libc::ECONNREFUSED);
            assert_eq!(refused.err(), Some(Fault::Connect(expected.into())));
        }
    }

    #[test]
    fn socket_options_are_set() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        block_on(Driver::Epoll, async {
            for (nodelay, keepalive) in [(true, None), (false, Some(Duration::from_secs(77)))] {
                let socket = Socket::connect(address).await.unwrap();
                socket.set_options(nodelay, keepalive).unwrap();
                let socket = socket2::Socket::from(socket.into_fd().unwrap());
                assert_eq!(socket.tcp_nodelay().unwrap(), nodelay);
                assert_eq!(socket.keepalive().unwrap(), keepalive.is_some());
                if let Some(time) = keepalive {
                    assert_eq!(socket.tcp_keepalive_time().unwrap(), time);
                }
            }
        })
        .unwrap();
    }
}
