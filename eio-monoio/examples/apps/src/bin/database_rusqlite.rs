//! A pool of SQLite connections, queried from a handler with `eio_monoio::blocking`: for rusqlite, and for every other
//! driver that blocks. Each message is a word; the answer is how often all clients have sent it.

#[path = "../../../log/mod.rs"]
mod log;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eio_monoio::{AsyncHandler, Config, OwnedMessage, Server, Socket, blocking};
use rusqlite::Connection;

/// Connections that no query uses. `Config::blocking_threads` limits the queries at once, and so the connections.
#[derive(Clone)]
struct Pool {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Pool {
    async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<T> {
        let pool = self.clone();
        blocking(move || {
            // The lock is not held while the query runs.
            let idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = idle.map_or_else(|| pool.connect(), Ok)?;
            let result = query(&connection);
            pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result
        })
        .await
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL;
             CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY, count INTEGER NOT NULL);",
        )?;
        Ok(connection)
    }
}

struct Words {
    pool: Pool,
}

impl Words {
    async fn count(&self, word: String) -> rusqlite::Result<i64> {
        let upsert = "INSERT INTO words VALUES (?1, 1)
                      ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count";
        self.pool.run(move |database| database.query_row(upsert, [word], |row| row.get(0))).await
    }
}

impl AsyncHandler for Words {
    type Session = ();

    async fn message(&self, socket: Socket<()>, message: OwnedMessage) {
        let OwnedMessage::Text(word) = message else { return };
        match self.count(word).await {
            Ok(count) => socket.send(count.to_string()).await.ok(),
            Err(error) => {
                tracing::error!(%error, "a word is not counted");
                socket.send("error").await.ok()
            }
        };
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    log::start(tracing::Level::INFO);
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: database_rusqlite DATABASE [ADDRESS]")?.into();
    let address = arguments.next().unwrap_or("127.0.0.1:3000".into());
    let pool = Pool { path, idle: Arc::default() };
    pool.connect()?; // an unusable database ends the program here, not in the first query
    let config = Config::new().blocking_threads(4).handle_signals(true);
    let running = Server::new(move || Words { pool: pool.clone() }).config(config).bind(address)?;
    println!("listening on http://{}/engine.io/", running.local_addr());
    running.join()?;
    Ok(())
}
