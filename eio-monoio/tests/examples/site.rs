//! The `site` example: its pages, its token and its metrics.

use crate::support::connection::Connection;
use crate::support::polling::sid_of;
use crate::support::process::ServerProcess;
use crate::support::prometheus::{scrape, sum};
use crate::support::request::{POLLING, Request};

#[test]
fn page_is_public_and_sessions_need_the_token() {
    let server = ServerProcess::run(ServerProcess::command("site"));
    let addr = server.addr();
    let get = |target: &str| Connection::open(addr).request(&Request::get(target));
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/site.js", "text/javascript; charset=utf-8"),
        ("/site.css", "text/css; charset=utf-8"),
        ("/engine.io.min.js", "text/javascript; charset=utf-8"),
    ] {
        let response = get(path);
        assert_eq!((response.status, response.header("Content-Type")), (200, Some(kind)), "{path}");
        assert_eq!(response.header("Content-Security-Policy"), Some("default-src 'self'"));
    }
    assert_eq!(get("/../main.rs").status, 404);

    let anonymous = get(POLLING);
    anonymous.assert(401, "\"Unauthorized\"");
    assert_eq!(anonymous.header("Set-Cookie"), None);
    get(&format!("{POLLING}&token=x")).assert(401, r#"{"reason":"wrong token"}"#);
    let accepted = get(&format!("{POLLING}&token=sesame"));
    let sid = sid_of(accepted.text());
    assert!(accepted.header("Set-Cookie").is_some_and(|cookie| cookie.starts_with("io=")));
    get(&format!("{POLLING}&sid={sid}")).assert(200, "4Come in.");
}

#[test]
fn site_example_serves_metrics() {
    let server = ServerProcess::run(ServerProcess::command("site"));
    let series = scrape(server.addr());
    assert_eq!(sum(&series, "eio_sessions", ""), 0.0);
    assert!(sum(&series, "eio_received_bytes_total", "") > 0.0);
}
