//! The `tokio_client` example against our own server.

use std::process::Command;

use crate::support::configs::epoll_config;
use crate::support::process::example_path;
use crate::support::test_server::TestServer;

#[test]
fn client_in_a_tokio_program_receives_its_echoes() {
    let server = TestServer::start(epoll_config());
    let mut command = Command::new(example_path("tokio_client"));
    let output = command.args([&server.url(), "one", "two"]).output().expect("the example runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        ["Text(\"one\")", "Text(\"two\")", "client disconnect"]
    );
}
