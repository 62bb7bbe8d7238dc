// A client belongs to its worker.
//~ error
//: Client` which is not `Send`
//~ explained by src/client/mod.rs
//= Other threads use a [`RemoteClient`].

use eio_monoio::client::Client;

/// Stands for `tokio::spawn`.
fn spawn(_: impl Future<Output = ()> + Send + 'static) {}

fn main() {
    spawn(async {
        let client = Client::connect("http://127.0.0.1:3000").await.unwrap();
        client.send("hello").await.ok();
    });
}
