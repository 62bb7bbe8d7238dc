//! Foreign clients against the server over TLS.

use std::time::Duration;

use eio_monoio::{Driver, Server};

use crate::support::configs::{default_config, drivers};
use crate::support::echo::Echo;
use crate::support::foreign;
use crate::support::tls::Identity;

/// The limit for all scenarios of one client.
const CLIENT_LIMIT: Duration = Duration::from_secs(180);

fn client_gets_every_echo(client: &foreign::Program, scenarios: &[&str]) {
    for driver in drivers() {
        let workers = if driver == Driver::IoUring { 3 } else { 1 };
        let identity = Identity::new();
        let authority = identity.directory.write("authority.pem", identity.pki.pem());
        // The JavaScript client sends text with U+001E over WebSockets, too.
        let config =
            default_config().driver(driver).workers(workers).separator_over_websocket(true);
        let server = Server::new(Echo::<()>::new).config(config).tls(identity.tls());
        let running = server.bind("127.0.0.1:0").expect("the server starts");
        let url = format!("https://{}/engine.io/", running.local_addr());
        let mut command = client.client_command(&url, scenarios);
        // Node, OpenSSL, requests and websocket-client, in this order.
        for variable in [
            "NODE_EXTRA_CA_CERTS",
            "SSL_CERT_FILE",
            "REQUESTS_CA_BUNDLE",
            "WEBSOCKET_CLIENT_CA_BUNDLE",
        ] {
            command.env(variable, &authority);
        }
        if let Err(error) = foreign::run(&mut command, CLIENT_LIMIT, |_| {}) {
            panic!("{driver}, workers: {workers}: {error}");
        }
    }
}

#[test]
fn javascript_client_gets_every_echo() {
    if let Some(client) = foreign::javascript("javascript_client_gets_every_echo") {
        // Not the scenarios with thousands of connections: Node reads all its authorities for each.
        let scenarios =
            ["polling-keep-alive", "websocket", "upgrade", "large-across-upgrade", "close"];
        client_gets_every_echo(client, &scenarios);
    }
}

#[test]
fn python_clients_get_every_echo() {
    if let Some(client) = foreign::python("python_clients_get_every_echo") {
        client_gets_every_echo(client, &[]);
    }
}
