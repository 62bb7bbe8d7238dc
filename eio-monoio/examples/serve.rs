//! The smallest server: sends each message back to its session.

fn main() -> Result<(), eio_monoio::ServeError> {
    eio_monoio::serve("127.0.0.1:3000", async |socket, message| {
        socket.send(message).await.ok(); // an error means that the session has ended
    })
}
