//! Relays that add TLS to connections or remove it, by rustls alone: the other peer is not our own code.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

/// Accepts TLS and forwards to `target` without it.
pub(crate) fn terminate(config: ServerConfig, target: SocketAddr) -> SocketAddr {
    let config = Arc::new(config);
    start(move |outside| {
        let tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        forward(outside, TcpStream::connect(target)?, tls.into())
    })
}

/// Accepts connections without TLS and forwards with it to `target`, whose certificate must be for `127.0.0.1`.
pub(crate) fn originate(config: ClientConfig, target: SocketAddr) -> SocketAddr {
    let config = Arc::new(config);
    start(move |outside| {
        let name = "127.0.0.1".try_into().map_err(io::Error::other)?;
        let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        forward(TcpStream::connect(target)?, outside, tls.into())
    })
}

fn start(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for outside in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            // Either peer may disconnect at any time.
            thread::spawn(move || _ = serve(outside));
        }
    });
    address
}

fn forward(mut secure: TcpStream, mut plain: TcpStream, mut tls: Connection) -> io::Result<()> {
    tls.set_buffer_limit(None);
    for stream in [&secure, &plain] {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
    }
    let mut memory = [0; 32 * 1024];
    let would_block = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
    loop {
        let mut idle = true;
        while tls.wants_write() {
            match tls.write_tls(&mut secure) {
                Ok(_) => idle = false,
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        match tls.read_tls(&mut secure) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                idle = false;
                if let Err(error) = tls.process_new_packets() {
                    _ = tls.write_tls(&mut secure);
                    return Err(io::Error::other(error));
                }
            }
            Err(error) if would_block(&error) => {}
            Err(error) => return Err(error),
        }
        match tls.reader().read(&mut memory) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                plain.set_nonblocking(false)?;
                plain.write_all(&memory[..n])?;
                plain.set_nonblocking(true)?;
                idle = false;
            }
            Err(error) if would_block(&error) => {}
            Err(error) => return Err(error),
        }
        if !tls.is_handshaking() {
            match plain.read(&mut memory) {
                Ok(0) => {
                    tls.send_close_notify();
                    tls.write_tls(&mut secure)?;
                    return Ok(());
                }
                Ok(n) => {
                    tls.writer().write_all(&memory[..n])?;
                    idle = false;
                }
                Err(error) if would_block(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if idle {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
