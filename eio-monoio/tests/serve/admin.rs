//! The admin address: health, readiness and metrics, also while the server drains.

use std::net::SocketAddr;

use super::server::{admin, start};
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::prometheus::{scrape, sum};
use crate::support::request::{POLLING, Request};
use crate::support::response::Response;
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

fn get(address: SocketAddr, path: &str) -> Response {
    Connection::open(address).request(&Request::get(path))
}

#[test]
fn routes_are_answered_and_sessions_are_not() {
    let server = start(&[]);
    let admin = admin(&server);
    get(admin, "/healthz").assert(200, "ok\n");
    get(admin, "/readyz").assert(200, "ready\n");
    assert_eq!(get(admin, "/other").status, 404);
    assert_eq!(get(admin, POLLING).status, 404);
    assert_eq!(Connection::open(admin).request(&Request::post("/healthz", "x")).status, 405);
    // The address of the sessions has none of the routes.
    assert_eq!(get(server.addr(), "/metrics").status, 404);

    let _polling = Polling::open(server.addr());
    let _websocket = WebSocket::open(server.addr());
    let series = scrape(admin);
    assert_eq!(sum(&series, "eio_sessions", "transport=\"polling\""), 1.0);
    assert_eq!(sum(&series, "eio_sessions", "transport=\"websocket\""), 1.0);
    super::server::end(server);
}

#[test]
fn drain_is_not_ready_and_healthy_to_the_end() {
    for driver in super::options::drivers() {
        let mut server =
            start(&["--driver", driver, "--drain-wait", "300ms", "--drain-time", "300ms"]);
        let admin = admin(&server);
        // Between two polls: the shutdown waits for it, for `shutdown_grace`.
        let _polling = Polling::open(server.addr());
        let mut sockets: Vec<_> = (0..20).map(|_| WebSocket::open(server.addr()).0).collect();
        server.terminate();
        eventually("the end of readiness", || get(admin, "/readyz").status == 503);
        // Before the first close: the sessions continue for `drain_wait`.
        let open = sum(&scrape(admin), "eio_sessions", "");
        assert_eq!(open, 21.0);
        sockets.iter_mut().for_each(WebSocket::assert_alive);
        for socket in &mut sockets {
            assert_eq!((socket.text().as_str(), socket.expect_close()), ("1", Some(1001)));
        }
        get(admin, "/healthz").assert(200, "ok\n");
        get(admin, "/readyz").assert(503, "draining\n");
        drop(sockets);
        let status = server.wait(TIMEOUT).expect("it ends");
        assert!(status.success(), "{status}\n{}", server.log());
    }
}

#[test]
fn admin_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = super::server::command(&["--listen", "127.0.0.1:0", "--admin", &address]);
    let output = command.output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let expected = format!("eio-server: admin: {address}: Address already in use");
    assert!(stderr.contains(&expected), "{stderr}");
}
