//! The access log: one entry for each request, with its response.

use std::sync::{Arc, Mutex, PoisonError};

use eio_monoio::{Config, Files, Running, Server};

use crate::support::app::App;
use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::log::Log;
use crate::support::polling::Polling;
use crate::support::request::{POLLING, Request, target};
use crate::support::temp_dir::TempDir;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

/// Method, path, and status; 0 without a response.
type Entry = (String, String, u16);

#[derive(Clone, Default)]
struct Entries(Arc<Mutex<Vec<Entry>>>);

impl Entries {
    fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for one entry, which must be this one.
    #[track_caller]
    fn expect(&self, method: &str, path: &str, status: u16) {
        let mut entries = Vec::new();
        eventually("an entry", || {
            entries.extend(self.take());
            !entries.is_empty()
        });
        assert_eq!(entries, [(method.to_owned(), path.to_owned(), status)]);
    }
}

fn serve(config: Config, root: &TempDir) -> (Running, Entries) {
    let (entries, log) = (Entries::default(), Log::default());
    let written = entries.clone();
    let server = Server::new(move || App::new(&log)).config(config);
    let server = server.files(Files::new().route("/static", root.path()));
    let server = server.access_log(move |entry| {
        assert!(entry.peer_addr().is_some_and(|peer| peer.ip().is_loopback()));
        assert!(entry.target().starts_with(entry.path()));
        let entry = (entry.method().into(), entry.path().into(), entry.status().unwrap_or(0));
        written.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        panic!("expected: a panic of this hook has no effect");
    });
    (server.bind("127.0.0.1:0").expect("the server starts"), entries)
}

#[test]
fn each_request_has_one_entry_with_its_status() {
    const PATH: &str = "/engine.io/";
    let root = TempDir::new();
    root.write("page.txt", "hello");
    for_each_config(|config| {
        let (running, entries) = serve(config, &root);
        let addr = running.local_addr();
        let mut polling = Polling::open(addr);
        entries.expect("GET", PATH, 200);
        polling.post_ok("4hello");
        entries.expect("POST", PATH, 200);
        assert_eq!(polling.poll(), "4hello");
        entries.expect("GET", PATH, 200);
        let (mut socket, _) = WebSocket::open(addr);
        entries.expect("GET", PATH, 101);
        // Messages are no requests.
        socket.assert_alive();
        let mut upgrade = WebSocket::attach(addr, &polling.sid);
        entries.expect("GET", PATH, 101);
        upgrade.probe();
        drop(socket);
        let ask = |request: Request| Connection::open(addr).request(&request).status;
        for (request, path, status) in [
            (Request::get(&target("unknown")), PATH, 400),
            (Request::get(&format!("{POLLING}&refuse=forbidden")), PATH, 403),
            (Request::get("/static/page.txt"), "/static/page.txt", 200),
            (
                Request::get("/static/page.txt").header("Range", "bytes=1-2"),
                "/static/page.txt",
                206,
            ),
            (Request::get("/static/none.txt?a=b"), "/static/none.txt", 404),
            (Request::get("/route"), "/route", 404),
        ] {
            assert_eq!(ask(request), status);
            entries.expect("GET", path, status);
        }
        // Several requests on one connection.
        let mut conn = Connection::open(addr);
        for _ in 0..3 {
            assert_eq!(conn.request(&Request::get(&target("unknown"))).status, 400);
            entries.expect("GET", PATH, 400);
        }
        conn.write("nonsense\r\n\r\n");
        assert_eq!(conn.response().status, 400);
        entries.expect("", "", 400);
        // A poll whose client leaves has no response.
        let mut leaving = Polling::open(addr);
        entries.expect("GET", PATH, 200);
        leaving.hold_poll();
        // Of the POST and of the GET before the one that is held.
        let mut answered = Vec::new();
        eventually("two entries", || {
            answered.extend(entries.take());
            answered.len() == 2
        });
        drop(leaving);
        entries.expect("GET", PATH, 0);
        assert_eq!(entries.take(), []);
    });
}
