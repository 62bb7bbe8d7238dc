//! A NATS server of Debian as a child process, and the text protocol of its clients.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::process::signal;
use crate::support::skip::skip;
use crate::support::wait::{TIMEOUT, eventually};

/// A server on a port of its own; dropping it kills it.
pub(crate) struct NatsServer {
    port: u16,
    /// Tells it from servers of other tests.
    name: String,
    args: Vec<String>,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server; `None`, which is reported, if the machine has no such program.
    pub(crate) fn start(test: &str) -> Option<Self> {
        Self::start_with(test, &[])
    }

    /// Starts a server with further arguments.
    pub(crate) fn start_with(test: &str, args: &[&str]) -> Option<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let name = format!("test-{}-{number}", std::process::id());
        let mut server = Self { port: 0, name, args, child: None };
        // Another test may take the port before the server does.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
            server.port = port.expect("a free port").port();
            match server.spawn() {
                Ok(true) => return Some(server),
                Ok(false) => server.kill(),
                Err(error) => {
                    skip(test, format_args!("nats-server cannot be started: {error}"));
                    return None;
                }
            }
        }
        panic!("nats-server ends, or its port is taken each time");
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts the process. Returns false if it does not have the port.
    fn spawn(&mut self) -> std::io::Result<bool> {
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-n", &self.name]);
        command.args(&self.args).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut has_ended = || !matches!(child.try_wait(), Ok(None));
        eventually("nats-server listens", || self.listens() || has_ended());
        self.child = Some(child);
        Ok(self.listens())
    }

    /// Whether this server, not another one, has the port: its first line states its name.
    fn listens(&self) -> bool {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut line = String::new();
        let read = BufReader::new(stream).read_line(&mut line);
        read.is_ok() && line.contains(&format!("\"server_name\":\"{}\"", self.name))
    }

    /// Ends the process without a word.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            _ = child.kill();
            _ = child.wait();
        }
    }

    /// Sends a signal: `-STOP` makes it silent without an end of its connections, until `-CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("it runs");
        signal(name, &child.id().to_string());
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.spawn().expect("it started before"), "its port is taken");
    }

    /// A client that speaks the text protocol, as a program in any language does.
    pub(crate) fn client(&self) -> NatsClient {
        NatsClient::connect(self.port, "")
    }

    /// [`client`](Self::client) as a user of the server.
    #[cfg(feature = "tls")]
    pub(crate) fn client_as(&self, user: &str, password: &str) -> NatsClient {
        NatsClient::connect(self.port, &format!(",\"user\":\"{user}\",\"pass\":\"{password}\""))
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) struct NatsClient {
    stream: BufReader<TcpStream>,
}

impl NatsClient {
    fn connect(port: u16, more: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("nats-server accepts");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a read timeout");
        let mut client = Self { stream: BufReader::new(stream) };
        assert!(client.line().starts_with("INFO "));
        client.write(&format!("CONNECT {{\"verbose\":false,\"headers\":true{more}}}\r\nPING\r\n"));
        assert_eq!(client.line(), "PONG");
        client
    }

    fn write(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("nats-server reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line of nats-server");
        line.trim_end().to_owned()
    }

    /// Sends a command that the server must refuse, and returns its error.
    #[cfg(feature = "tls")]
    pub(crate) fn refused(&mut self, command: &str) -> String {
        self.write(&format!("{command}\r\nPING\r\n"));
        let error = self.line();
        assert_eq!(self.line(), "PONG", "{error}");
        error
    }

    /// Publishes, and waits until the server has the message.
    pub(crate) fn publish(&mut self, subject: &str, payload: &str) {
        self.write(&format!("PUB {subject} {}\r\n{payload}\r\nPING\r\n", payload.len()));
        assert_eq!(self.line(), "PONG");
    }

    /// [`publish`](Self::publish) with a header field.
    pub(crate) fn publish_with(&mut self, subject: &str, field: &str, payload: &str) {
        let head = format!("NATS/1.0\r\n{field}\r\n\r\n");
        let (head_len, len) = (head.len(), head.len() + payload.len());
        self.write(&format!("HPUB {subject} {head_len} {len}\r\n{head}{payload}\r\nPING\r\n"));
        assert_eq!(self.line(), "PONG");
    }
}
