// The closure of `serve` is not `async`.
//~ error
//: type annotations needed
//~ explained by src/server/mod.rs
//= Write `async |socket, message|`

fn main() {
    eio_monoio::serve("127.0.0.1:0", |socket, message| {
        socket.try_send(&message).ok();
    })
    .unwrap();
}
