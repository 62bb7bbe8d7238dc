//! The sizes of TLS records that the server sends.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use eio_monoio::{ConnectRequest, Handler, Message, Refusal, Server, Socket};
use http::{Request, Response};
use rustls::{ClientConnection, StreamOwned};

use crate::support::configs::default_config;
use crate::support::tls::Identity;
use crate::support::wait::TIMEOUT;

/// A stream that keeps the bytes it received.
struct Recorded {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Read for Recorded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(into)?;
        self.received.extend_from_slice(&into[..n]);
        Ok(n)
    }
}

impl Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Answers 3,000 bytes.
struct Long;

impl Handler for Long {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(&'s self, _: &Socket<()>, _: Message<'_>) -> impl Future<Output = ()> + use<'s> {
        async {}
    }

    async fn request(&self, _: Request<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
        Response::new(Cow::Owned(vec![b'x'; 3_000]))
    }
}

#[test]
fn record_size_limits_every_record() {
    // A record has 17 bytes more than its plain text. The head of the response is in the first one.
    for (limit, longest) in [(512, 512 + 17..=512 + 17), (16_384, 3_000..=3_300)] {
        let identity = Identity::new();
        let tls = identity.tls().record_size(limit);
        let server = Server::new(|| Long).config(default_config()).tls(tls);
        let running = server.bind("127.0.0.1:0").expect("the server starts");
        let name = "127.0.0.1".try_into().expect("a name");
        let client =
            ClientConnection::new(Arc::new(identity.pki.client(None)), name).expect("a client");
        let stream = TcpStream::connect(running.local_addr()).expect("a connection");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        let mut stream = StreamOwned::new(client, Recorded { stream, received: Vec::new() });
        let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("a response");
        assert!(answer.ends_with(&"x".repeat(3_000)), "{answer}");
        let mut rest = stream.sock.received.as_slice();
        let mut largest = 0;
        while let [_, _, _, high, low, ..] = *rest {
            let length = usize::from(u16::from_be_bytes([high, low]));
            largest = largest.max(length);
            rest = &rest[5 + length..];
        }
        assert!(longest.contains(&largest), "{largest} bytes, with a limit of {limit}");
    }
}
