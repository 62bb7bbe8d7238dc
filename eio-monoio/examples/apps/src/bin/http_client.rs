//! An HTTP client called from a handler: reqwest, on a tokio runtime next to the server. Each message is a path below the
//! base URL; the answer is the body of the response, or the error.

#[path = "../../../log/mod.rs"]
mod log;

use std::time::Duration;

use eio_monoio::{AsyncHandler, Config, OwnedMessage, Server, Socket};
use tokio::runtime::{Builder, Handle};

struct Fetch {
    tokio: Handle,
    http: reqwest::Client,
    base: String,
}

impl Fetch {
    async fn get(&self, path: &str) -> Result<String, Box<dyn std::error::Error>> {
        let request = self.http.get(format!("{}/{path}", self.base));
        // reqwest needs tokio's sockets and timers: it runs there, and this worker awaits its end.
        let response =
            self.tokio.spawn(async move { request.send().await?.error_for_status()?.text().await });
        Ok(response.await??)
    }
}

impl AsyncHandler for Fetch {
    type Session = ();

    async fn message(&self, socket: Socket<()>, message: OwnedMessage) {
        let OwnedMessage::Text(path) = message else { return };
        let answer = self.get(&path).await.unwrap_or_else(|error| format!("error: {error}"));
        socket.send(answer).await.ok(); // an error means that the session has ended
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    log::start(tracing::Level::INFO);
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().ok_or("usage: http_client BASE_URL [ADDRESS]")?;
    let address = arguments.next().unwrap_or("127.0.0.1:3000".into());

    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let tokio = runtime.handle().clone();
    let new_handler =
        move || Fetch { tokio: tokio.clone(), http: http.clone(), base: base.clone() };
    let config = Config::new().handle_signals(true);
    let running = Server::new(new_handler).config(config).bind(address)?;
    println!("listening on http://{}/engine.io/", running.local_addr());
    running.join()?;
    Ok(())
}
