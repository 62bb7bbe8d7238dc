//! The pages of the examples, in a real browser: what a visitor sees first.

use std::path::Path;
use std::time::Duration;

mod support;

use support::foreign;
use support::server::Server;

#[test]
fn the_latency_page_upgrades_and_measures_in_chromium() {
    visit("the_latency_page_upgrades_and_measures_in_chromium", "latency");
}

#[test]
fn two_windows_of_chromium_talk_to_each_other() {
    visit("two_windows_of_chromium_talk_to_each_other", "chat");
}

/// Runs an example and what visits its page.
fn visit(test: &str, example: &str) {
    let Some(browser) = foreign::browser(test) else { return };
    let server = Server::run(Server::command(example));
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    let visit = browser.with_script(&format!("{example}.mjs"));
    let mut command = visit.command(server.url(), &[&screenshots.to_string_lossy()]);
    foreign::run(&mut command, Duration::from_secs(180), |_| {})
        .unwrap_or_else(|error| panic!("{error}"));
}
