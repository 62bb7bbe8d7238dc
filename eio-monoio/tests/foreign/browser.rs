//! The pages of the examples, in a real browser: what a visitor sees first.

use std::path::Path;
use std::time::Duration;

use crate::support::app::{App, Host, Log};
use crate::support::foreign;
use crate::support::matrix::somewhere;
use crate::support::server::Server;
use eio_monoio::{Cookie, Cors, Files};

#[test]
fn the_latency_page_upgrades_and_measures_in_chromium() {
    visit("the_latency_page_upgrades_and_measures_in_chromium", "latency");
}

#[test]
fn two_windows_of_chromium_talk_to_each_other() {
    visit("two_windows_of_chromium_talk_to_each_other", "chat");
}

#[test]
fn the_door_of_the_site_opens_in_chromium_for_the_token_only() {
    visit("the_door_of_the_site_opens_in_chromium_for_the_token_only", "site");
}

#[test]
fn chromium_lets_a_page_reach_the_servers_that_let_it_in_and_no_others() {
    let test = "chromium_lets_a_page_reach_the_servers_that_let_it_in_and_no_others";
    let Some(browser) = foreign::browser(test) else { return };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = Files::new()
        .route("/", examples.join("chat/public"))
        .route("/engine.io.min.js", examples.join("latency/engine.io.min.js"));
    let log = Log::default();
    let pages = eio_monoio::Server::new(move || App::new(&log))
        .config(somewhere().shutdown_timeout(Duration::from_millis(100)))
        .files(files)
        .bind("127.0.0.1:0")
        .expect("a server");
    let page = format!("http://{}", pages.local_addr());
    let ours = page.clone();
    let open = somewhere().cors(Cors::predicate(move |origin, _| origin == ours));
    let open = Host::start(open.cookie(Cookie::new("io")));
    let closed = Host::start(somewhere());
    let servers = [&open, &closed].map(|host| format!("http://{}/", host.addr()));
    look(&browser.with_script("origins.mjs"), &page, &servers.each_ref().map(String::as_str));
}

/// Runs an example and what visits its page.
fn visit(test: &str, example: &str) {
    let Some(browser) = foreign::browser(test) else { return };
    let server = Server::run(Server::command(example));
    look(&browser.with_script(&format!("{example}.mjs")), server.url(), &[]);
}

fn look(visitor: &foreign::Client, page: &str, others: &[&str]) {
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    let screenshots = screenshots.to_string_lossy();
    let mut command = visitor.command(page, &[&[&*screenshots], others].concat());
    foreign::run(&mut command, Duration::from_secs(180), |_| {})
        .unwrap_or_else(|error| panic!("{error}"));
}
