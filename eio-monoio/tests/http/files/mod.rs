//! Static files.

mod lookup;
mod responses;
mod streaming;

use eio_monoio::{Config, Files, Running, Server};

use crate::support::app::App;
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::log::Log;
use crate::support::request::Request;
use crate::support::response::Response;
use crate::support::temp_dir::TempDir;

pub(super) fn serve(config: Config, files: Files) -> Running {
    let log = Log::default();
    let server = Server::new(move || App::new(&log)).config(config).files(files);
    server.bind("127.0.0.1:0").expect("the server starts")
}

/// A server like the example of python-engineio: a page, a file, a directory.
pub(super) fn site() -> (TempDir, Running) {
    let site = TempDir::new();
    site.write("index.html", "<h1>home</h1>");
    site.write("public/index.html", "<h1>public</h1>");
    site.write("public/a.css", "a{}");
    site.write("public/sub/index.html", "<h1>sub</h1>");
    site.write("public/sub/no-extension", "?");
    site.write("public/empty/x", "");
    site.write("public/.hidden", "hidden");
    site.write("public/.well-known/x", "known");
    site.write("public/sp ace \u{e9}.txt", "spaced");
    site.write("secret.txt", "secret");
    let files = Files::new()
        .route("/", site.join("index.html"))
        .route("/one.js", site.join("public/a.css"))
        .route_as("/feed", site.join("public/a.css"), "application/rss+xml")
        .route("/static", site.join("public"))
        .route("/missing", site.join("missing"));
    let running = serve(default_config(), files);
    (site, running)
}

pub(super) fn get(running: &Running, path: &str) -> Response {
    Connection::open(running.local_addr()).request(&Request::get(path))
}

pub(super) const NOT_FOUND: (u16, &str) = (404, "Not Found");
