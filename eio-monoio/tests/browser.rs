//! The page of the `latency` example, in a real browser: what a visitor sees first.

use std::path::Path;
use std::time::Duration;

mod support;

use support::foreign;
use support::server::Server;

#[test]
fn the_latency_page_upgrades_and_measures_in_chromium() {
    let test = "the_latency_page_upgrades_and_measures_in_chromium";
    let Some(browser) = foreign::browser(test) else { return };
    let server = Server::run(Server::command("latency"));
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    let mut command = browser.command(server.url(), &[&screenshots.to_string_lossy()]);
    foreign::run(&mut command, Duration::from_secs(180), |_| {})
        .unwrap_or_else(|error| panic!("{error}"));
}
