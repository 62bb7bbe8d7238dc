//! The smallest server: sends each message back to its session.

fn main() -> Result<(), eio_monoio::ServeError> {
    eio_monoio::serve("127.0.0.1:3000", |socket, message| {
        socket.try_send(message).ok(); // an error means that the session has ended
        async {}
    })
}
