//! curl against a server on a Unix socket.

use std::process::Command;

use eio_monoio::Server;

use crate::support::configs::default_config;
use crate::support::echo::Echo;
use crate::support::foreign;
use crate::support::polling::sid_of;
use crate::support::request::POLLING;
use crate::support::skip::skip;
use crate::support::temp_dir::TempDir;
use crate::support::wait::TIMEOUT;

#[test]
fn curl_connects_to_a_unix_socket() {
    let version = foreign::run(Command::new("curl").arg("--version"), TIMEOUT, |_| {});
    if let Err(error) = version {
        return skip("curl_connects_to_a_unix_socket", error);
    }
    let directory = TempDir::new();
    let path = directory.join("socket");
    let server = Server::new(Echo::<()>::new).config(default_config());
    let running = server.bind_unix(&path).expect("the server starts");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "10", "--unix-socket"]);
    curl.arg(&path).arg(format!("http://localhost{POLLING}"));
    let open = foreign::run(&mut curl, TIMEOUT * 2, |_| {}).expect("an answer");
    sid_of(open.trim());
    assert_eq!(running.remote().sessions(), 1);
}
