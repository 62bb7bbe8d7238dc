//! The file of a path: routes, symbolic links, and paths outside of the directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{NOT_FOUND, get, serve, site};
use eio_monoio::{Files, ServeError, Server};

use crate::support::app::App;
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::log::Log;
use crate::support::polling::Polling;
use crate::support::request::Request;
use crate::support::temp_dir::TempDir;

#[test]
fn files_are_found_by_the_rules_of_python_engineio() {
    let (_site, running) = site();
    for (path, body, kind) in [
        ("/", "<h1>home</h1>", "text/html; charset=utf-8"),
        ("/?x=1", "<h1>home</h1>", "text/html; charset=utf-8"),
        ("/one.js", "a{}", "text/css; charset=utf-8"),
        ("/feed", "a{}", "application/rss+xml"),
        ("/static/", "<h1>public</h1>", "text/html; charset=utf-8"),
        ("/static/a.css", "a{}", "text/css; charset=utf-8"),
        ("/static/sub/", "<h1>sub</h1>", "text/html; charset=utf-8"),
        ("/static/sub/no-extension", "?", "application/octet-stream"),
        ("/static/.well-known/x", "known", "application/octet-stream"),
        ("/static/sp%20ace%20%C3%A9.txt", "spaced", "text/plain; charset=utf-8"),
    ] {
        let response = get(&running, path);
        response.assert(200, body);
        assert_eq!(response.header("Content-Type"), Some(kind), "{path}");
        assert_eq!(response.header("Cache-Control"), Some("no-cache"), "{path}");
        assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"), "{path}");
        assert!(response.header("Date").is_some_and(|date| date.ends_with(" GMT")), "{path}");
    }
    for path in ["/static", "/static/sub", "/static/sub?a=b"] {
        let response = get(&running, path);
        let expected = path.replace("sub", "sub/").replace("/static?", "/static/?");
        let expected = if path == "/static" { "/static/" } else { &expected };
        assert_eq!((response.status, response.header("Location")), (301, Some(expected)));
    }
    // Engine.IO has precedence over files, and files over the application.
    Polling::open(running.local_addr()).assert_alive();
}

#[test]
fn missing_files_go_to_the_application() {
    let (_site, running) = site();
    for path in [
        "/missing",
        "/static/missing",
        "/static/a.css/",
        "/static/a.css/x",
        "/static/empty/",
        "/static/empty",
        "/one.js/x",
        "/elsewhere",
        &format!("/static/{}", "x".repeat(300)),
    ] {
        let response = get(&running, path);
        assert_eq!((response.status, response.text()), NOT_FOUND, "{path}");
    }
    let mut conn = Connection::open(running.local_addr());
    let posted = conn.request(&Request::post("/static/missing", "a body for the application"));
    assert_eq!((posted.status, posted.text()), NOT_FOUND);
    conn.request(&Request::get("/")).assert(200, "<h1>home</h1>");
}

#[test]
fn paths_outside_the_directory_are_not_served() {
    let (site, running) = site();
    let public = site.join("public");
    symlink(site.join("secret.txt"), public.join("out-file")).expect("a link");
    symlink("../secret.txt", public.join("out-relative")).expect("a link");
    symlink(site.path(), public.join("out-dir")).expect("a link");
    symlink("loop", public.join("loop")).expect("a link");
    symlink("a.css", public.join("in-file")).expect("a link");
    site.write("public/x.txt", "x");
    symlink(site.join("secret.txt"), public.join("x.txt.gz")).expect("a link");
    let made = std::process::Command::new("mkfifo").arg(public.join("pipe")).status();
    assert!(made.expect("mkfifo").success());
    for path in [
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/%2E./secret.txt",
        "/static/..%2fsecret.txt",
        "/static/..%5csecret.txt",
        "/static/..\\secret.txt",
        "/static/sub/../../secret.txt",
        "/static/./a.css",
        "/static//a.css",
        "//static/a.css",
        "/static/%00",
        "/static/a.css%00.html",
        "/static/%",
        "/static/%ff",
        "/static/.hidden",
        "/static/%2ehidden",
        "/static/out-file",
        "/static/out-relative",
        "/static/out-dir/secret.txt",
        "/static/out-dir",
        "/static/loop",
        "/static/pipe",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
    ] {
        let response = get(&running, path);
        assert_eq!((response.status, response.text()), NOT_FOUND, "{path}");
    }
    get(&running, "/static/in-file").assert(200, "a{}");
    let asked = Request::get("/static/x.txt").header("Accept-Encoding", "gzip");
    let response = Connection::open(running.local_addr()).request(&asked);
    assert_eq!(response.header("Content-Encoding"), None);
    response.assert(200, "x");
}

#[test]
fn invalid_file_rules_are_refused() {
    for files in [Files::new().route("static", "x"), Files::new().threads(0)] {
        let log = Log::default();
        let server = Server::new(move || App::new(&log)).files(files);
        match server.bind("127.0.0.1:0") {
            Err(ServeError::Config(error)) => assert_eq!(error.option(), "files"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn rules_follow_symlinks_and_see_replacements() {
    let site = TempDir::new();
    site.write("v1/a.txt", "one");
    site.write("v2/a.txt", "two");
    let current = site.join("current");
    let point_to = |version: &str| {
        let next = site.join("next");
        symlink(version, &next).expect("a link");
        fs::rename(&next, &current).expect("a rename");
    };
    point_to("v1");
    let files = Files::new().route("/", Path::new(&current).join("a.txt")).route("/f", &current);
    let running = serve(default_config().workers(1), files);
    get(&running, "/").assert(200, "one");
    get(&running, "/f/a.txt").assert(200, "one");
    point_to("v2");
    get(&running, "/").assert(200, "two");
    get(&running, "/f/a.txt").assert(200, "two");
}
