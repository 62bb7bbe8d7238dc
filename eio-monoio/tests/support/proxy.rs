//! An HTTP proxy that serves CONNECT, and forwards requests for absolute URLs.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Starts a proxy: its URL, and the heads of the requests that it receives.
pub(crate) fn start() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (heads, received) = channel();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let heads = heads.clone();
            // Either peer may disconnect at any time.
            thread::spawn(move || _ = serve(client, &heads));
        }
    });
    (url, received)
}

fn serve(mut client: TcpStream, heads: &Sender<String>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let url = target.strip_prefix("http://");
    let authority = url.map_or(target, |url| url.split('/').next().unwrap_or_default()).to_owned();
    heads.send(head.clone()).ok();
    let mut server = TcpStream::connect(authority)?;
    match url {
        // Every server accepts an absolute URL (RFC 9112 section 3.2.2).
        Some(_) => server.write_all(head.as_bytes())?,
        None => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?,
    }
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        _ = io::copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Both)
    });
    _ = io::copy(&mut server, &mut client);
    client.shutdown(Shutdown::Both)
}
