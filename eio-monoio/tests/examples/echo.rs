//! The `echo` example.

use crate::support::connection::Connection;
use crate::support::process::ServerProcess;
use crate::support::request::Request;

#[test]
fn other_paths_are_echoed_on_request_only() {
    for (arguments, status, body) in [(&[][..], 404, "Not Found"), (&["--echo-http"], 200, "hello")]
    {
        let mut command = ServerProcess::command("echo");
        command.args(arguments);
        let server = ServerProcess::run(command);
        let mut conn = Connection::open(server.addr());
        conn.request(&Request::post("/elsewhere", "hello")).assert(status, body);
    }
}
