//! The balancers of `deploy/balancers` in front of a cluster: they leave nothing to forward.

use std::path::Path;

use eio_monoio::Driver;

use crate::balancer::run;
use crate::exchanges;
use crate::processes::Processes;
use crate::support::configs::drivers;
use crate::support::foreign;
use crate::support::parallel;
use crate::support::recipes::{Balancer, Kind, TAGS};

/// Runs `body` with the URL behind each balancer, and fails if a node has forwarded a request.
fn for_each_balancer(
    test: &str,
    drivers: impl IntoIterator<Item = Driver>,
    more: &[&str],
    body: impl Fn(Kind, &Balancer) + Sync,
) {
    let cases = drivers.into_iter().flat_map(|driver| Kind::ALL.map(|kind| (driver, kind)));
    let cases = cases.map(|case| (format!("{case:?}"), case));
    parallel::for_each(cases, |(driver, kind)| {
        let Some(processes) = Processes::start(test, driver, TAGS, more) else { return };
        let addresses = processes.nodes.iter().map(|node| node.addr());
        let Some(balancer) = Balancer::start(test, kind, addresses) else { return };
        body(kind, &balancer);
        assert!(processes.metric("eio_sessions_opened_total", "") > 0, "no session was opened");
        assert_eq!(processes.metric("eio_cluster_forwarded_total", ""), 0);
    });
}

#[test]
fn every_exchange_of_the_protocol_reaches_the_node_of_its_session() {
    let test = "every_exchange_of_the_protocol_reaches_the_node_of_its_session";
    let heartbeat = &exchanges::HEARTBEAT;
    for_each_balancer(test, drivers(), heartbeat, |_, balancer| exchanges::all(balancer.addr));
}

#[test]
fn requests_of_javascript_and_python_clients_reach_the_nodes_of_their_sessions() {
    let test = "requests_of_javascript_and_python_clients_reach_the_nodes_of_their_sessions";
    let (Some(javascript), Some(python)) = (foreign::javascript(test), foreign::python(test))
    else {
        return;
    };
    for_each_balancer(test, drivers(), &[], |_, balancer| {
        let scenarios = ["polling", "websocket", "upgrade", "order-across-upgrade", "crowd"];
        run(&mut javascript.client_command(&balancer.url(), &scenarios));
        run(&mut python.client_command(&balancer.url(), &["crowd"]));
    });
}

#[test]
fn requests_of_chromium_reach_the_nodes_of_their_sessions() {
    let test = "requests_of_chromium_reach_the_nodes_of_their_sessions";
    let Some(browser) = foreign::browser(test) else { return };
    let script = browser.with_script("echo.mjs");
    for_each_balancer(test, drivers().take(1), &[], |kind, balancer| {
        let screenshots = format!("screenshots-{kind:?}");
        let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join(screenshots);
        run(&mut script.client_command(&balancer.url(), &[&screenshots.to_string_lossy()]));
    });
}
