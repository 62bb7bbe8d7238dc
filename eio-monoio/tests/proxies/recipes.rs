//! The balancers of `deploy/balancers` that Debian has, in front of three servers with tags.

use std::collections::BTreeSet;

use crate::reverse_proxies::{run, server};
use crate::support::connection::Connection;
use crate::support::foreign;
use crate::support::parallel;
use crate::support::polling::{Polling, sid_of};
use crate::support::process::ServerProcess;
use crate::support::recipes::{Balancer, Kind, TAGS};
use crate::support::request::{POLLING, Request, target};
use crate::support::wait::eventually;

/// Runs `body` with each balancer in front of servers of its own.
fn for_each_balancer(test: &str, body: impl Fn(&Balancer, &mut Vec<ServerProcess>) + Sync) {
    parallel::for_each(Kind::ALL.map(|kind| (format!("{kind:?}"), kind)), |kind| {
        let mut servers: Vec<_> = TAGS.iter().map(|tag| server(&["--tag", tag])).collect();
        let addresses = servers.iter().map(ServerProcess::addr);
        let Some(balancer) = Balancer::start(test, kind, addresses) else { return };
        body(&balancer, &mut servers);
    });
}

fn tag_of(sid: &str) -> String {
    sid.split('.').next().unwrap_or_default().to_owned()
}

/// The scenario is 100 sessions at a time, over polling, WebSocket and upgrades. A server that does not know the sid of a
/// request answers 400, which ends the client's session and fails the scenario. A line of the server's log would prove
/// less: a poll that crosses the end of its session is refused at the right server, too.
#[test]
fn balancers_that_route_by_tag_send_every_request_to_the_server_of_its_session() {
    let test = "balancers_that_route_by_tag_send_every_request_to_the_server_of_its_session";
    let Some(client) = foreign::javascript(test) else { return };
    for_each_balancer(test, |balancer, _| {
        run(client.client_command(&balancer.url(), &["crowd", "upgrade"]));
        let opened = (0..9).map(|_| Polling::open(balancer.addr)).collect::<Vec<_>>();
        let tags: BTreeSet<_> = opened.iter().map(|session| tag_of(&session.sid)).collect();
        assert!(tags.len() > 1, "the handshakes of {tags:?}");
    });
}

/// A request of its sessions is answered by another server, without a wait, and handshakes go on.
#[test]
fn a_server_that_is_down_is_passed_over() {
    let test = "a_server_that_is_down_is_passed_over";
    for_each_balancer(test, |balancer, servers| {
        let session = Polling::open(balancer.addr);
        let tag = tag_of(&session.sid);
        let number = TAGS.iter().position(|known| *known == tag).expect("a known tag");
        drop(servers.remove(number));
        let ask = |path: &str| Connection::open(balancer.addr).request(&Request::get(path));
        eventually("another server answers", || ask(&target(&session.sid)).status == 400);
        for _ in 0..6 {
            let response = ask(POLLING);
            assert_eq!(response.status, 200, "{response:?}");
            assert_ne!(tag_of(&sid_of(response.text())), tag);
        }
        // A forged sid names no server.
        for forged in ["web-9.abc", "elsewhere.example", "..", "web-0"] {
            assert_eq!(ask(&target(forged)).status, 400, "{forged}");
        }
    });
}
