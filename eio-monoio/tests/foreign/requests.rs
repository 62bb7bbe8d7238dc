//! The JavaScript client and the requests that an application reads and answers: rows of its own server's test suite.

use std::time::Duration;

use eio_monoio::{
    AsyncHandler, ConnectRequest, OwnedMessage, Refusal, RequestInfo, Server, Socket, sleep,
};

use crate::support::configs::default_config;
use crate::support::foreign;

/// The session that a cookie names, as a middleware finds it.
#[derive(Clone)]
struct Visitor(u32);

/// Answers a message with the parameter or header field of the handshake that it names.
struct Requests;

impl AsyncHandler for Requests {
    type Session = Visitor;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<Visitor, Refusal> {
        match request.query("refuse") {
            Some(_) => Err(Refusal::forbidden().message("Thou shall not pass")),
            None => request.get().ok_or(Refusal::unauthorized()),
        }
    }

    async fn message(&self, socket: Socket<Visitor>, message: OwnedMessage) {
        let OwnedMessage::Text(name) = message else { return };
        let request = socket.request().expect("it is kept");
        let answer = match name.as_str() {
            "visitor" => socket.data().0.to_string(),
            name => match request.query(name) {
                Some(value) => value.into_owned(),
                None => request.header(name).unwrap_or("none").to_owned(),
            },
        };
        socket.send(answer.as_str()).await.ok();
    }
}

/// A session by cookie: the handshake creates it, and every later request must have it.
async fn find_visitor(request: &RequestInfo<'_>) -> Result<(), Refusal> {
    sleep(Duration::from_millis(1)).await;
    let has_cookie = request.header("cookie").is_some_and(|cookie| cookie.contains("visitor=1"));
    if !has_cookie && request.query("sid").is_some() {
        return Err(Refusal::unauthorized());
    }
    request.add_response_header("set-cookie", "visitor=1");
    request.insert(Visitor(1));
    Ok(())
}

#[test]
fn javascript_client_reaches_the_application_with_its_requests() {
    let test = "javascript_client_reaches_the_application_with_its_requests";
    let Some(client) = foreign::javascript(test) else { return };
    let server = Server::new(|| Requests).config(default_config().workers(3).keep_request(true));
    let running = server.middleware_async(find_visitor).bind("127.0.0.1:0");
    let running = running.expect("the server starts");
    let url = format!("http://{}/engine.io/", running.local_addr());
    let mut command = client.client_command(&url, &["requests"]);
    foreign::run(&mut command, Duration::from_secs(60), |_| {})
        .unwrap_or_else(|error| panic!("{error}"));
}
