//! nginx, HAProxy, Apache and Caddy in front of the `echo` example, with real clients.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::proxy::{Kind, Proxy};
use crate::support::connection::Connection;
use crate::support::foreign;
use crate::support::parallel;
use crate::support::polling::Polling;
use crate::support::process::ServerProcess;
use crate::support::request::{POLLING, Request, WEBSOCKET};
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

/// Ends a client whose own limits have failed.
const CLIENT_LIMIT: Duration = Duration::from_secs(120);

/// Each sends every sample, among them 900 KB.
const SCENARIOS: [&str; 6] =
    ["polling", "websocket", "upgrade", "polling-keep-alive", "large-across-upgrade", "close"];

pub(crate) fn server(arguments: &[&str]) -> ServerProcess {
    let mut command = ServerProcess::command("echo");
    command.args(["--log-level", "info", "--workers", "2"]).args(arguments);
    ServerProcess::run(command)
}

pub(crate) fn for_each_proxy(kinds: &[Kind], body: impl Fn(Kind) + Sync) {
    parallel::for_each(kinds.iter().map(|kind| (format!("{kind:?}"), *kind)), body);
}

#[test]
fn javascript_client_gets_every_echo_through_each_proxy() {
    let test = "javascript_client_gets_every_echo_through_each_proxy";
    let Some(client) = foreign::javascript(test) else { return };
    for_each_proxy(&Kind::RECOMMENDED, |kind| {
        let server = server(&[]);
        let Some(proxy) = Proxy::start(test, kind, server.addr(), 60) else { return };
        run(client.client_command(&proxy.url(), &SCENARIOS));
        let mut over_tls = client.client_command(&proxy.tls_url(), &["polling", "upgrade"]);
        over_tls.env("NODE_EXTRA_CA_CERTS", proxy.certificate());
        run(over_tls);
    });
}

#[test]
fn python_clients_get_every_echo_through_each_proxy() {
    let test = "python_clients_get_every_echo_through_each_proxy";
    let Some(client) = foreign::python(test) else { return };
    for_each_proxy(&[Kind::Nginx, Kind::HaProxy], |kind| {
        let server = server(&[]);
        let Some(proxy) = Proxy::start(test, kind, server.addr(), 60) else { return };
        run(client.client_command(&proxy.url(), &[]));
    });
}

/// Without the lines about `Upgrade`, polling works and the log says why a WebSocket does not.
#[test]
fn nginx_with_its_defaults_serves_polling_and_the_log_names_the_missing_upgrade() {
    let test = "nginx_with_its_defaults_serves_polling";
    let Some(client) = foreign::javascript(test) else { return };
    let server = server(&[]);
    let Some(proxy) = Proxy::start(test, Kind::NginxDefaults, server.addr(), 60) else { return };
    run(client.client_command(&proxy.url(), &["polling"]));
    let response = Connection::open(proxy.addr).request(&Request::upgrade(WEBSOCKET));
    assert_eq!(response.status, 400, "{response:?}");
    eventually("the cause", || {
        server.log().contains("transport=websocket without Upgrade: websocket; a proxy")
    });
}

/// The page of the proxy's own address, over plain HTTP and over TLS.
#[test]
fn pages_of_the_proxy_are_of_the_same_origin() {
    let test = "pages_of_the_proxy_are_of_the_same_origin";
    for_each_proxy(&Kind::RECOMMENDED, |kind| {
        let server = server(&[]);
        let Some(proxy) = Proxy::start(test, kind, server.addr(), 60) else { return };
        for (scheme, addr) in [("http", proxy.addr), ("https", proxy.tls_addr)] {
            let base = format!("{scheme}://{addr}");
            let fetch = |origin: &str, target: &str, more: &[&str]| {
                let mut curl = Command::new("curl");
                curl.args(["-s", "-i", "--http1.1", "--max-time", "2", "--cacert"]);
                curl.arg(proxy.certificate()).args(["-H", &format!("Origin: {origin}")]);
                curl.args(more).arg(format!("{base}{target}"));
                let output = curl.output().expect("curl runs").stdout;
                String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
            };
            let upgrade = [
                "-H",
                "Connection: Upgrade",
                "-H",
                "Upgrade: websocket",
                "-H",
                "Sec-WebSocket-Version: 13",
                "-H",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ];
            assert!(fetch(&base, POLLING, &[]).contains(" 200"), "{kind:?} {base}");
            assert!(fetch(&base, WEBSOCKET, &upgrade).contains(" 101"), "{kind:?} {base}");
            let other = "https://elsewhere.example";
            assert!(fetch(other, POLLING, &[]).contains(" 400"), "{kind:?} {base}");
        }
    });
}

/// A session without messages outlives the proxy's timeout, because pings pass in time.
#[test]
fn quiet_sessions_outlive_the_timeouts_of_the_proxy() {
    let test = "quiet_sessions_outlive_the_timeouts_of_the_proxy";
    for_each_proxy(&Kind::RECOMMENDED, |kind| {
        let server = server(&["--ping-interval-ms", "1000", "--ping-timeout-ms", "10000"]);
        let Some(proxy) = Proxy::start(test, kind, server.addr(), 3) else { return };
        let mut polling = Polling::open(proxy.addr);
        let (mut ws, _) = WebSocket::open(proxy.addr);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            assert_eq!(polling.poll(), "2", "{kind:?}");
            polling.post_ok("3");
            assert_eq!(ws.text(), "2", "{kind:?}");
            ws.send("3");
        }
        polling.post_ok("4still here");
        while polling.poll() != "4still here" {}
    });
}

/// With a timeout below the ping interval the log says whose it is.
#[test]
fn a_timeout_of_the_proxy_that_is_too_short_is_named() {
    let test = "a_timeout_of_the_proxy_that_is_too_short_is_named";
    for_each_proxy(&[Kind::Nginx, Kind::HaProxy, Kind::Apache], |kind| {
        let server = server(&[]);
        let Some(proxy) = Proxy::start(test, kind, server.addr(), 1) else { return };
        let mut polling = Polling::open(proxy.addr);
        polling.start_poll();
        let status = polling.get.try_response(TIMEOUT).map(|response| response.status);
        assert!(matches!(status, Ok(502 | 504) | Err(_)), "{kind:?}: {status:?}");
        eventually("the cause", || {
            server.log().contains("the connection of a held GET was closed")
        });
    });
}

pub(crate) fn run(mut command: Command) {
    if let Err(error) = foreign::run(&mut command, CLIENT_LIMIT, |_| {}) {
        panic!("{error}");
    }
}
