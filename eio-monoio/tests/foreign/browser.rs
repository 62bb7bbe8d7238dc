//! The pages of the examples in a real browser.

use std::path::Path;
use std::time::Duration;

use eio_monoio::{Cookie, Cors, Files, Server};

use crate::support::configs::default_config;
use crate::support::echo::Echo;
use crate::support::foreign;
use crate::support::process::ServerProcess;
use crate::support::test_server::TestServer;

#[test]
fn latency_page_upgrades_and_measures_in_chromium() {
    visit_example("latency_page_upgrades_and_measures_in_chromium", "latency");
}

#[test]
fn chat_page_connects_two_windows_of_chromium() {
    visit_example("chat_page_connects_two_windows_of_chromium", "chat");
}

#[test]
fn site_page_connects_in_chromium_only_with_the_token() {
    visit_example("site_page_connects_in_chromium_only_with_the_token", "site");
}

#[test]
fn chromium_reaches_only_servers_that_allow_its_origin() {
    let test = "chromium_reaches_only_servers_that_allow_its_origin";
    let Some(browser) = foreign::browser(test) else { return };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = Files::new()
        .route("/", examples.join("chat/public"))
        .route("/engine.io.min.js", examples.join("latency/engine.io.min.js"));
    let pages = Server::new(Echo::<()>::new)
        .config(default_config())
        .files(files)
        .bind("127.0.0.1:0")
        .expect("the server starts");
    let page = format!("http://{}", pages.local_addr());
    let origin = page.clone();
    let open = default_config().cors(Cors::predicate(move |other, _| other == origin));
    let open = TestServer::start(open.cookie(Cookie::new("io")));
    let closed = TestServer::start(default_config());
    let servers = [&open, &closed].map(|server| format!("http://{}/", server.addr()));
    visit(&browser.with_script("origins.mjs"), &page, &servers.each_ref().map(String::as_str));
}

/// Runs an example and the script that visits its page.
fn visit_example(test: &str, example: &str) {
    let Some(browser) = foreign::browser(test) else { return };
    let server = ServerProcess::run(ServerProcess::command(example));
    visit(&browser.with_script(&format!("{example}.mjs")), server.url(), &[]);
}

fn visit(script: &foreign::Program, page: &str, others: &[&str]) {
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    let screenshots = screenshots.to_string_lossy();
    let mut command = script.client_command(page, &[&[&*screenshots], others].concat());
    foreign::run(&mut command, Duration::from_secs(180), |_| {})
        .unwrap_or_else(|error| panic!("{error}"));
}
