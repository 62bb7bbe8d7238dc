//! TLS: a server from a file of ten lines, and a reload of its certificate.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::options::drivers;
use super::server::{admin, command, end};
use crate::support::connection::Connection;
use crate::support::foreign;
use crate::support::polling::sid_of;
use crate::support::process::{ServerProcess, signal};
use crate::support::prometheus::{scrape, sum};
use crate::support::request::{POLLING, Request};
use crate::support::skip::skip;
use crate::support::tls::{Identity, originate, write_identity};
use crate::support::wait::{TIMEOUT, eventually};

/// The limit for all scenarios of one client.
const CLIENT_LIMIT: Duration = Duration::from_secs(60);

/// The file of ten lines in docs/operations.md, with the files and free ports of the test.
fn start(identity: &Identity, driver: &str) -> ServerProcess {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let document = fs::read_to_string(document).expect("the document");
    let (_, listing) = document.split_once("```toml\n").expect("a listing");
    let (listing, _) = listing.split_once("```").expect("its end");
    assert_eq!(listing.lines().count(), 10);
    let mut text = listing.to_owned();
    for (shown, used) in [
        ("0.0.0.0:3000", "127.0.0.1:0".to_owned()),
        ("127.0.0.1:9600", "127.0.0.1:0".to_owned()),
        ("/etc/ssl/app.pem", identity.certificate.display().to_string()),
        ("/etc/ssl/private/app.key", identity.key.display().to_string()),
        ("drain_time = \"5s\"", "drain_time = \"200ms\"".to_owned()),
    ] {
        assert!(text.contains(shown), "no {shown} in\n{text}");
        text = text.replace(shown, &used);
    }
    let file = identity.directory.write("eio.toml", text);
    let mut command = command(&["--config", file.to_str().expect("text"), "--workers", "2"]);
    // The clients' scenarios send U+001E.
    command.env("EIO_SEPARATOR_OVER_WEBSOCKET", "true");
    command.env("EIO_DRIVER", driver).env_remove("EIO_DRAIN_TIME");
    ServerProcess::run(command)
}

/// A foreign client that trusts the authority of the test.
fn run_client(
    client: &foreign::Program,
    server: &ServerProcess,
    identity: &Identity,
    scenarios: &[&str],
) {
    let authority = identity.directory.write("authority.pem", identity.pki.pem());
    let mut command = client.client_command(server.url(), scenarios);
    for variable in
        ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "WEBSOCKET_CLIENT_CA_BUNDLE"]
    {
        command.env(variable, &authority);
    }
    if let Err(error) = foreign::run(&mut command, CLIENT_LIMIT, |_| {}) {
        panic!("{error}\n{}", server.log());
    }
}

#[test]
fn ten_lines_serve_foreign_clients_over_tls() {
    let test = "ten_lines_serve_foreign_clients_over_tls";
    for driver in drivers() {
        let identity = Identity::new();
        let server = start(&identity, driver);
        assert!(server.url().starts_with("https://"), "{}", server.url());
        let admin = admin(&server);
        for path in ["/healthz", "/readyz"] {
            let response = Connection::open(admin).request(&Request::get(path));
            assert_eq!(response.status, 200, "{path}");
        }
        if let Some(client) = foreign::javascript(test) {
            run_client(client, &server, &identity, &["polling-keep-alive", "websocket", "upgrade"]);
        }
        if let Some(client) = foreign::python(test) {
            let scenarios = ["async-upgrade"];
            run_client(client, &server, &identity, &scenarios);
        }
        curl(test, &server, &identity);
        let series = scrape(admin);
        assert!(sum(&series, "eio_sessions_opened_total", "") >= 3.0, "{series:?}");
        assert_eq!(sum(&series, "eio_tls_failures_total", ""), 0.0);
        end(server);
    }
}

fn curl(test: &str, server: &ServerProcess, identity: &Identity) {
    if let Err(error) = foreign::run(Command::new("curl").arg("--version"), TIMEOUT, |_| {}) {
        return skip(test, error);
    }
    let authority = identity.directory.write("authority.pem", identity.pki.pem());
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", "--cacert"]);
    curl.arg(&authority).arg(format!("https://{}{POLLING}", server.addr()));
    let open = foreign::run(&mut curl, TIMEOUT * 2, |_| {}).expect("an answer");
    sid_of(open.trim());
}

/// Whether a handshake over TLS succeeds for a client that trusts `identity`.
fn trusted(server: &ServerProcess, identity: &Identity) -> bool {
    let relay = originate(identity.pki.client(None), server.addr());
    let mut conn = Connection::open(relay);
    conn.try_write(Request::get(POLLING).bytes()).is_ok()
        && conn.try_response(TIMEOUT).is_ok_and(|response| response.status == 200)
}

#[test]
fn sighup_reloads_the_certificate_and_keeps_it_if_the_new_one_is_broken() {
    let identity = Identity::new();
    let server = start(&identity, "auto");
    let pid = server.pid().to_string();
    assert!(trusted(&server, &identity));
    fs::write(&identity.certificate, "broken").expect("a file");
    signal("-HUP", &pid);
    eventually("the refusal", || server.log().contains("the previous certificate stays"));
    assert!(server.log().contains("tls.certificate"), "{}", server.log());
    assert!(trusted(&server, &identity));

    // Another authority's.
    let other = Identity::new();
    write_identity(&identity.directory, &other.pki.certify("127.0.0.1"));
    signal("-HUP", &pid);
    eventually("the reload", || server.log().contains("certificate reloaded"));
    assert!(trusted(&server, &other));
    assert!(!trusted(&server, &identity));
    end(server);
}
