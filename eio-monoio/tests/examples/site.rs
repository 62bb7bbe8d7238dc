//! The `site` example: what a visitor's browser asks for, and who gets in.

use crate::support::server::Server;
use crate::support::wire::{POLLING, Request, Wire, sid_of};

#[test]
fn everyone_sees_the_page_and_only_the_token_opens_the_door() {
    let server = Server::run(Server::command("site"));
    let addr = server.addr();
    let get = |target: &str| Wire::connect(addr).request(&Request::get(target));
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

    let stranger = get(POLLING);
    stranger.assert(401, "\"Unauthorized\"");
    assert_eq!(stranger.header("Set-Cookie"), None);
    get(&format!("{POLLING}&token=x")).assert(401, r#"{"reason":"wrong token"}"#);
    let friend = get(&format!("{POLLING}&token=sesame"));
    let sid = sid_of(friend.text());
    assert!(friend.header("Set-Cookie").is_some_and(|cookie| cookie.starts_with("io=")));
    get(&format!("{POLLING}&sid={sid}")).assert(200, "4Come in.");
}
