//! Static files, byte by byte.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::app::{App, Log, eventually};
use crate::support::matrix::everywhere;
use crate::support::wire::{Polling, Request, Response, Wire};
use eio_monoio::{Config, Files, Running, ServeError, Server};
use flate2::read::GzDecoder;

/// A directory of its own, gone at the end.
struct Site(PathBuf);

impl Site {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("eio-files-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

fn serve(config: Config, files: Files) -> Running {
    let log = Log::default();
    let config = config.shutdown_timeout(Duration::from_millis(100));
    let server = Server::new(move || App::new(&log)).config(config).files(files);
    server.bind("127.0.0.1:0").expect("a server")
}

/// A server in the shape of python-engineio's example: a page, a file, a directory.
fn site() -> (Site, Running) {
    let site = Site::new();
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
        .route("/", site.path("index.html"))
        .route("/one.js", site.path("public/a.css"))
        .route_as("/feed", site.path("public/a.css"), "application/rss+xml")
        .route("/static", site.path("public"))
        .route("/gone", site.path("nowhere"));
    let running = serve(Config::new().workers(2), files);
    (site, running)
}

fn get(running: &Running, path: &str) -> Response {
    Wire::connect(running.local_addr()).request(&Request::get(path))
}

const NOT_FOUND: (u16, &str) = (404, "Not Found");

#[test]
fn files_are_found_by_pythons_rules() {
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
    // Engine.IO comes first, files second, the application third.
    Polling::open(running.local_addr()).assert_alive();
}

#[test]
fn what_is_no_file_goes_to_the_application() {
    let (_site, running) = site();
    for path in [
        "/gone",
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
    let mut wire = Wire::connect(running.local_addr());
    let posted = wire.request(&Request::post("/static/missing", "a body for the application"));
    assert_eq!((posted.status, posted.text()), NOT_FOUND);
    wire.request(&Request::get("/")).assert(200, "<h1>home</h1>");
}

#[test]
fn no_path_leads_out() {
    let (site, running) = site();
    let public = site.path("public");
    symlink(site.path("secret.txt"), public.join("out-file")).expect("a link");
    symlink("../secret.txt", public.join("out-relative")).expect("a link");
    symlink(&site.0, public.join("out-dir")).expect("a link");
    symlink("loop", public.join("loop")).expect("a link");
    symlink("a.css", public.join("in-file")).expect("a link");
    site.write("public/x.txt", "x");
    symlink(site.path("secret.txt"), public.join("x.txt.gz")).expect("a link");
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
    let response = Wire::connect(running.local_addr()).request(&asked);
    assert_eq!(response.header("Content-Encoding"), None);
    response.assert(200, "x");
}

#[test]
fn only_get_and_head_and_head_has_no_body() {
    let (_site, running) = site();
    let mut wire = Wire::connect(running.local_addr());
    let whole = wire.request(&Request::get("/static/a.css"));
    wire.send(&Request::new("HEAD", "/static/a.css"));
    let head = wire.response_to_head();
    for name in ["Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges"] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
        assert!(head.header(name).is_some(), "{name}");
    }
    for method in ["DELETE", "OPTIONS", "PUT"] {
        let response = wire.request(&Request::new(method, "/static/a.css"));
        assert_eq!((response.status, response.header("Allow")), (405, Some("GET, HEAD")));
    }
    // What nobody reads must not be taken for the next request.
    let smuggled = Request::post("/static/a.css", "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = wire.request(&smuggled);
    assert_eq!((response.status, response.header("Connection")), (405, Some("close")));
    wire.expect_eof();
    let mut wire = Wire::connect(running.local_addr());
    wire.send(&Request::new("HEAD", "/static/missing"));
    assert_eq!(wire.response_to_head().status, 404);
}

#[test]
fn a_file_that_did_not_change_is_not_sent_again() {
    let (site, running) = site();
    let mut wire = Wire::connect(running.local_addr());
    let first = wire.request(&Request::get("/static/a.css"));
    let etag = first.header("ETag").expect("a tag").to_owned();
    let modified = first.header("Last-Modified").expect("a date").to_owned();
    assert!(etag.starts_with('"'), "{etag}");
    for (name, value) in [
        ("If-None-Match", &etag),
        ("If-None-Match", &format!("W/{etag}")),
        ("If-Modified-Since", &modified),
    ] {
        let again = wire.request(&Request::get("/static/a.css").header(name, value));
        assert_eq!((again.status, again.header("ETag")), (304, Some(&*etag)), "{name}");
        assert_eq!(again.header("Content-Length"), None);
    }
    let failed = wire.request(&Request::get("/static/a.css").header("If-Match", "\"x\""));
    assert_eq!(failed.status, 412);
    site.write("public/a.css", "b{}");
    let file = fs::File::options().write(true).open(site.path("public/a.css")).expect("the file");
    let earlier = std::time::SystemTime::now() - Duration::from_secs(3600);
    file.set_modified(earlier).expect("another time");
    let changed = wire.request(&Request::get("/static/a.css").header("If-None-Match", &etag));
    changed.assert(200, "b{}");
    assert_ne!(changed.header("ETag"), Some(&*etag));
}

#[test]
fn one_range_is_served() {
    let (site, running) = site();
    site.write("public/digits", "0123456789");
    let mut wire = Wire::connect(running.local_addr());
    let mut range =
        |value: &str| wire.request(&Request::get("/static/digits").header("Range", value));
    for (value, body, content_range) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=5-5", "5", "bytes 5-5/10"),
    ] {
        let part = range(value);
        part.assert(206, body);
        assert_eq!(part.header("Content-Range"), Some(content_range));
    }
    range("bytes=0-1,3-4").assert(200, "0123456789");
    let beyond = range("bytes=10-");
    beyond.assert(416, "");
    assert_eq!(beyond.header("Content-Range"), Some("bytes */10"));
}

#[test]
fn codings_are_taken_from_beside_the_file_or_made() {
    let (site, running) = site();
    let text = "some text, ".repeat(1000);
    site.write("public/made.txt", &text);
    site.write("public/short.txt", "short");
    site.write("public/made.png", &text);
    site.write("public/large.txt", text.repeat(100));
    site.write("public/stored.js", "plain");
    site.write("public/stored.js.gz", "pretend this is gzip");
    site.write("public/stored.js.br", "pretend this is brotli");
    let mut wire = Wire::connect(running.local_addr());
    let mut get = |path: &str, accept: &str| {
        wire.request(&Request::get(path).header("Accept-Encoding", accept))
    };
    let mut tags = std::collections::HashSet::new();
    for (accept, coding, body) in [
        ("gzip, br", Some("br"), "pretend this is brotli"),
        ("gzip, br;q=0.5", Some("gzip"), "pretend this is gzip"),
        ("deflate", None, "plain"),
        ("identity, br;q=0.1", None, "plain"),
    ] {
        let response = get("/static/stored.js", accept);
        response.assert(200, body);
        assert_eq!(response.header("Content-Encoding"), coding);
        assert_eq!(response.header("Vary"), Some("Accept-Encoding"));
        assert_eq!(response.header("Content-Type"), Some("text/javascript; charset=utf-8"));
        tags.insert(response.header("ETag").expect("a tag").to_owned());
    }
    assert_eq!(tags.len(), 3);
    let made = get("/static/made.txt", "gzip");
    assert_eq!(made.header("Content-Encoding"), Some("gzip"));
    let mut plain = String::new();
    GzDecoder::new(&*made.body).read_to_string(&mut plain).expect("gzip");
    assert_eq!(plain, text);
    let tag = made.header("ETag").expect("a tag");
    assert_ne!(get("/static/made.txt", "").header("ETag"), Some(tag));
    let request = Request::get("/static/made.txt").header("Accept-Encoding", "gzip");
    let again =
        Wire::connect(running.local_addr()).request(&request.clone().header("If-None-Match", tag));
    assert_eq!(again.status, 304);
    let part = Wire::connect(running.local_addr()).request(&request.header("Range", "bytes=0-3"));
    part.assert(206, "some");
    for path in ["/static/short.txt", "/static/made.png", "/static/large.txt"] {
        let response = get(path, "gzip");
        assert_eq!((response.status, response.header("Content-Encoding")), (200, None), "{path}");
        assert_eq!(response.header("Vary"), None, "{path}");
    }
}

#[test]
fn a_large_file_comes_whole_in_pieces_to_many_at_once() {
    everywhere(|config| {
        let site = Site::new();
        let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
        site.write("large.bin", &bytes);
        for len in [65_535, 65_536, 65_537, 131_072] {
            site.write(&format!("{len}.bin"), &bytes[..len]);
        }
        let running = serve(config, Files::new().route("/f", &site.0));
        let addr = running.local_addr();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut wire = Wire::connect(addr);
                    for len in [65_535, 65_536, 65_537, 131_072] {
                        let response = wire.request(&Request::get(&format!("/f/{len}.bin")));
                        assert!(response.body == bytes[..len], "{len}");
                    }
                    let whole = wire.request(&Request::get("/f/large.bin"));
                    assert!(whole.status == 200 && whole.body == bytes);
                    let request =
                        Request::get("/f/large.bin").header("Range", "bytes=100000-2999999");
                    let part = wire.request(&request);
                    assert!(part.status == 206 && part.body == bytes[100_000..3_000_000]);
                });
            }
        });
        let remote = running.remote();
        eventually("the connections' end", || remote.connections() == 0);
    });
}

#[test]
fn a_reader_that_stops_or_leaves_holds_nothing_up() {
    let site = Site::new();
    site.write("large.bin", vec![b'x'; 20_000_000]);
    site.write("small.txt", "small");
    let config = Config::new().workers(1).write_timeout(Duration::from_millis(300));
    let running = serve(config, Files::new().route("/f", &site.0).threads(1));
    let mut stopped: Vec<Wire> = (0..8)
        .map(|_| {
            let mut wire = Wire::connect(running.local_addr());
            wire.send(&Request::get("/f/large.bin"));
            wire
        })
        .collect();
    let mut leaving = Wire::connect(running.local_addr());
    leaving.send(&Request::get("/f/large.bin"));
    drop(leaving);
    get(&running, "/f/small.txt").assert(200, "small");
    Polling::open(running.local_addr()).assert_alive();
    let remote = running.remote();
    eventually("the connections' end", || remote.connections() == 0);
    for wire in &mut stopped {
        wire.expect_gone();
    }
    running.shutdown();
    running.join().expect("an orderly end");
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_its_connection() {
    let site = Site::new();
    site.write("large.bin", vec![b'x'; 20_000_000]);
    let running = serve(Config::new().workers(1), Files::new().route("/f", &site.0));
    let mut wire = Wire::connect(running.local_addr());
    wire.send(&Request::get("/f/large.bin"));
    let deadline = std::time::Instant::now() + crate::support::wire::PATIENCE;
    wire.take(100, deadline).expect("its head");
    let file = fs::File::options().write(true).open(site.path("large.bin")).expect("the file");
    file.set_len(10).expect("a shorter file");
    wire.expect_gone();
    get(&running, "/f/large.bin").assert(200, "xxxxxxxxxx");
}

#[test]
fn the_threads_that_read_end_with_the_server() {
    let site = Site::new();
    site.write("a.txt", "a");
    let running = serve(Config::new().workers(1), Files::new().route("/f", &site.0).threads(31));
    get(&running, "/f/a.txt").assert(200, "a");
    // Only this server has that many.
    let is_alive = || {
        let tasks = fs::read_dir("/proc/self/task").expect("the threads of this process");
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
        tasks.flatten().filter_map(|task| name(task).ok()).any(|name| name.trim() == "eio-disk-30")
    };
    // A thread takes its name when it runs.
    eventually("the threads", is_alive);
    running.shutdown();
    running.join().expect("an orderly end");
    eventually("the end of the threads", || !is_alive());
}

#[test]
fn bad_rules_are_refused_by_name() {
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
fn rules_follow_their_own_links_and_may_be_replaced() {
    let site = Site::new();
    site.write("v1/a.txt", "one");
    site.write("v2/a.txt", "two");
    let current = site.path("current");
    let point_to = |version: &str| {
        let next = site.path("next");
        symlink(version, &next).expect("a link");
        fs::rename(&next, &current).expect("a swap");
    };
    point_to("v1");
    let files = Files::new().route("/", Path::new(&current).join("a.txt")).route("/f", &current);
    let running = serve(Config::new().workers(1), files);
    get(&running, "/").assert(200, "one");
    get(&running, "/f/a.txt").assert(200, "one");
    point_to("v2");
    get(&running, "/").assert(200, "two");
    get(&running, "/f/a.txt").assert(200, "two");
}
