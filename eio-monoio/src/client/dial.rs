//! A connection to the server: every address tried, through a proxy if there is one.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use eio_core::http::{EMPTY, HeadScanner, ResponseHead, request};
use eio_core::session::Lane;

use crate::client::error::Fault;
use crate::client::http::fault;
use crate::client::resolve::resolve;
use crate::client::session::Session;
use crate::client::settings::{HostPort, Proxy, Settings};
use crate::client::tls::secure;
use crate::io::http_conn::HttpConn;
use crate::io::stream::Stream;
use crate::worker::context::WorkerContext;
use crate::worker::deadline::Deadline;
use crate::worker::net::{self, Socket};

/// Connects, within the time for that.
pub(crate) async fn dial(
    worker: &Rc<WorkerContext>,
    settings: &Settings,
) -> Result<HttpConn, Fault> {
    let deadline = Deadline::new(worker.clone());
    deadline.set(settings.options.connect_timeout);
    let dialing = Box::pin(open(worker, settings));
    deadline.limit(dialing).await.unwrap_or(Err(Fault::ConnectTimeout))
}

async fn open(worker: &Rc<WorkerContext>, settings: &Settings) -> Result<HttpConn, Fault> {
    let options = &settings.options;
    let through = settings.proxy.as_ref();
    let place = through.map_or(&settings.server, |proxy| &proxy.place);
    let stream = race(resolve(&place.host, place.port).await?).await?;
    let set = stream.set_options(options.nodelay, options.keepalive);
    set.map_err(|error| Fault::Connect(error.kind()))?;
    let connection = |stream| HttpConn::new(worker.clone(), stream, settings.limits.clone(), None);
    let mut stream = Stream::from(stream);
    if let Some(proxy) = through {
        let mut conn = connection(stream);
        tunnel(&mut conn, proxy, &settings.server).await?;
        stream = conn.into_stream().0;
    }
    if let Some(trust) = &settings.trust {
        stream = secure(stream, trust).await?;
    }
    let conn = connection(stream);
    conn.set_idle(false);
    Ok(conn)
}

/// A new connection, unless that is not wanted any more before it is there.
pub(crate) async fn connect(session: &Rc<Session>, lane: Lane) -> Result<HttpConn, Fault> {
    let mut dialing = pin!(dial(&session.worker, &session.settings));
    poll_fn(|cx| {
        if session.poll_unwanted(lane, cx).is_ready() {
            return Poll::Ready(Err(Fault::Lost));
        }
        dialing.as_mut().poll(cx)
    })
    .await
}

/// RFC 8305 5: the next address is tried when this much time has passed without a connection.
const NEXT_ATTEMPT: Duration = Duration::from_millis(250);

type Attempt = Pin<Box<dyn Future<Output = io::Result<Socket>>>>;

/// The first connection to any of `addresses`.
async fn race(addresses: Vec<SocketAddr>) -> Result<Socket, Fault> {
    let mut left = addresses.into_iter();
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut pause: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async {});
    let mut last = io::ErrorKind::AddrNotAvailable;
    poll_fn(|cx| {
        loop {
            let before = attempts.len();
            let mut at = 0;
            while let Some(attempt) = attempts.get_mut(at) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                    Poll::Ready(Err(error)) => {
                        last = error.kind();
                        drop(attempts.swap_remove(at));
                    }
                    Poll::Pending => at += 1,
                }
            }
            let failed = attempts.len() < before;
            if left.len() == 0 && attempts.is_empty() {
                return Poll::Ready(Err(Fault::Connect(last)));
            }
            if left.len() == 0 || (!failed && pause.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
            if let Some(address) = left.next() {
                attempts.push(Box::pin(Socket::connect(address)));
                pause = Box::pin(net::sleep(NEXT_ATTEMPT));
            }
        }
    })
    .await
}

/// RFC 9110 9.3.6: has a proxy pass on whatever follows.
async fn tunnel(conn: &mut HttpConn, proxy: &Proxy, server: &HostPort) -> Result<(), Fault> {
    const MAX_HEAD: usize = 8 * 1024;
    let target = server.authority();
    let head = request(conn.out_mut(), "CONNECT", &target)
        .and_then(|head| head.header("Host", &target))
        .and_then(|head| head.raw(&proxy.lines))
        .and_then(|head| head.end());
    // A host is made of characters a request line can hold.
    head.map_err(|_| Fault::Proxy(400))?;
    conn.flush().await.map_err(fault)?;
    conn.clear_deadline();
    let mut scanner = HeadScanner::new();
    let len = loop {
        if let Some(len) = scanner.poll(conn.rx.unread(), MAX_HEAD).map_err(Fault::Http)? {
            break len;
        }
        conn.receive(1).await.map_err(fault)?;
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

    /// An address that takes no connection and refuses none: its backlog is full.
    fn deaf() -> (socket2::Socket, Vec<TcpStream>, SocketAddr) {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let knock = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        let full = (0..4).map_while(|_| knock()).collect();
        (socket, full, address)
    }

    fn refusing() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[test]
    fn an_address_that_refuses_or_does_not_answer_does_not_hide_the_next() {
        let (_deaf, _full, deaf) = deaf();
        let living = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = living.local_addr().unwrap();
        for driver in [Driver::IoUring, Driver::Epoll] {
            for addresses in [
                vec![address],
                vec![refusing(), address],
                vec![deaf, address],
                vec![deaf, refusing(), refusing(), deaf, address],
                vec![address, deaf],
            ] {
                // Far below what the kernel takes to give the deaf one up: two minutes.
                let begun = std::time::Instant::now();
                let stream = block_on(driver, async { race(addresses.clone()).await });
                assert!(stream.expect("a runtime").is_ok(), "{addresses:?}");
                assert!(begun.elapsed() < Duration::from_secs(20), "{addresses:?}");
                let (_, peer) = living.accept().unwrap();
                assert!(peer.ip().is_loopback());
            }
            let refused = block_on(driver, race(vec![refusing(), refusing()])).unwrap();
            assert_eq!(refused.err(), Some(Fault::Connect(io::ErrorKind::ConnectionRefused)));
        }
    }

    #[test]
    fn a_connection_has_the_options_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        block_on(Driver::Epoll, async {
            for (nodelay, keepalive) in [(true, None), (false, Some(Duration::from_secs(77)))] {
                let stream = Socket::connect(address).await.unwrap();
                stream.set_options(nodelay, keepalive).unwrap();
                let socket = socket2::Socket::from(stream.into_fd().unwrap());
                assert_eq!(socket.nodelay().unwrap(), nodelay);
                assert_eq!(socket.keepalive().unwrap(), keepalive.is_some());
                if let Some(time) = keepalive {
                    assert_eq!(socket.keepalive_time().unwrap(), time);
                }
            }
        })
        .unwrap();
    }
}
