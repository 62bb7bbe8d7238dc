//! A pool of sqlx, queried from a handler through a tokio runtime next to the server: for every database driver that
//! needs tokio. Each message is a word; the answer is how often all clients have sent it.

#[path = "../../../log/mod.rs"]
mod log;

use eio_monoio::{AsyncHandler, Config, OwnedMessage, Server, Socket};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use tokio::runtime::{Builder, Handle};

struct Words {
    tokio: Handle,
    pool: SqlitePool,
}

impl Words {
    async fn count(&self, word: String) -> Result<i64, Box<dyn std::error::Error>> {
        let pool = self.pool.clone();
        // The query runs on a thread of tokio, which has the timers and sockets that sqlx needs. This worker awaits its
        // end and handles other sessions in the meantime.
        let query = self.tokio.spawn(async move {
            let upsert = "INSERT INTO words VALUES (?1, 1)
                          ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count";
            sqlx::query_scalar(upsert).bind(word).fetch_one(&pool).await
        });
        Ok(query.await??)
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
    let path = arguments.next().ok_or("usage: database_sqlx DATABASE [ADDRESS]")?;
    let address = arguments.next().unwrap_or("127.0.0.1:3000".into());

    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let pool = runtime.block_on(async {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        let create =
            "CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY, count INTEGER NOT NULL)";
        sqlx::query(create).execute(&pool).await?;
        Ok::<_, sqlx::Error>(pool)
    })?;

    let (tokio, sessions) = (runtime.handle().clone(), pool.clone());
    let new_handler = move || Words { tokio: tokio.clone(), pool: sessions.clone() };
    let config = Config::new().handle_signals(true);
    let running = Server::new(new_handler).config(config).bind(address)?;
    println!("listening on http://{}/engine.io/", running.local_addr());
    running.join()?;
    // After the last handler: the pool's connections write what they have.
    runtime.block_on(pool.close());
    Ok(())
}
