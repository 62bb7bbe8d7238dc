//! A chat with accounts, rooms, history and a rate limit. SQLite has the tokens and messages; the members of a room are
//! on all workers. A client connects with `?room=ROOM&token=TOKEN` and sends text. It receives JSON:
//! `{"history":[...]}` first, then `{"from":"ada","text":"hello"}` for each message of the room, its own included, in the
//! same order as every other member, and `{"error":"..."}` for a refused message. `chat_admin` adds rooms and accounts.

#[path = "../../../log/mod.rs"]
mod log;

use std::cell::Cell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use eio_monoio::{
    AsyncHandler, CloseReason, Config, ConnectRequest, OwnedMessage, Refusal, Remote, Server, Sid,
    Socket, blocking,
};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

/// The number of messages that a new member receives.
const HISTORY: usize = 50;

/// The database. Its connection is locked only on threads that may block.
#[derive(Clone)]
struct Database(Arc<Mutex<Connection>>);

impl Database {
    fn open(path: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(include_str!("../chat.sql"))?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Runs `query` on a thread that may block. The worker handles other sessions until it is done.
    async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<T> {
        let connection = self.0.clone();
        blocking(move || query(&lock(&connection))).await
    }
}

/// Locks for a call that does not await. The values are valid even if a thread panicked with the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Room {
    members: HashSet<Sid>,
    history: VecDeque<String>,
}

/// The rooms, which all workers share.
#[derive(Clone)]
struct Rooms(Arc<Mutex<HashMap<String, Room>>>);

impl Rooms {
    /// Reads the rooms and the end of their histories.
    fn load(database: &Database) -> rusqlite::Result<Self> {
        let connection = lock(&database.0);
        let mut names = connection.prepare("SELECT name FROM rooms")?;
        let select = "SELECT line FROM messages WHERE room = ?1 ORDER BY id DESC LIMIT ?2";
        let mut lines = connection.prepare(select)?;
        let mut rooms = HashMap::new();
        for name in names.query_map([], |row| row.get::<_, String>(0))? {
            let (name, mut room) = (name?, Room::default());
            for line in lines.query_map((&name, HISTORY), |row| row.get(0))? {
                room.history.push_front(line?);
            }
            rooms.insert(name, room);
        }
        Ok(Self(Arc::new(Mutex::new(rooms))))
    }

    /// Adds a member and sends it the history. The rooms stay locked, so that it misses no message between the two.
    fn join(&self, socket: &Socket<Member>) {
        if let Some(room) = lock(&self.0).get_mut(&socket.data().room) {
            room.members.insert(socket.sid().clone());
            let history = room.history.make_contiguous().join(",");
            socket.try_send(format!(r#"{{"history":[{history}]}}"#)).ok();
        }
    }

    /// Sends a line to every member. The rooms stay locked, so that all members receive the lines in the same order.
    fn publish(&self, name: &str, line: String, server: &Remote) {
        if let Some(room) = lock(&self.0).get_mut(name) {
            if let Err(error) = server.send_many(room.members.iter().cloned(), &line) {
                tracing::warn!(room = name, %error, "some members miss a message");
            }
            room.history.push_back(line);
            if room.history.len() > HISTORY {
                room.history.pop_front();
            }
        }
    }
}

/// Permits 20 messages at once, and 5 per second after that.
struct RateLimit(Cell<(f64, Instant)>);

impl RateLimit {
    fn permits(&self) -> bool {
        let (left, since) = self.0.get();
        let left = (left + since.elapsed().as_secs_f64() * 5.0).min(20.0);
        self.0.set((if left < 1.0 { left } else { left - 1.0 }, Instant::now()));
        left >= 1.0
    }
}

/// The data of a session.
struct Member {
    name: String,
    room: String,
    rate: RateLimit,
}

struct Chat {
    database: Database,
    rooms: Rooms,
}

impl Chat {
    /// Stores a message, then sends it to the room. The next message of the session waits for that.
    async fn say(&self, socket: &Socket<Member>, message: OwnedMessage) -> Result<(), &str> {
        let Member { name, room, rate } = socket.data();
        let OwnedMessage::Text(text) = message else { return Err("text only") };
        if !rate.permits() {
            return Err("too many messages");
        }
        let line = json!({ "from": name, "text": text }).to_string();
        let row = (room.clone(), line.clone());
        let insert = "INSERT INTO messages (room, line) VALUES (?1, ?2)";
        if let Err(error) = self.database.run(move |database| database.execute(insert, row)).await {
            tracing::error!(%error, "a message is not stored");
            return Err("not stored");
        }
        self.rooms.publish(room, line, &socket.server().remote());
        Ok(())
    }
}

impl AsyncHandler for Chat {
    type Session = Member;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<Member, Refusal> {
        let token = request.query("token").ok_or(Refusal::unauthorized())?.into_owned();
        let room = request.query("room").ok_or(Refusal::bad_request())?.into_owned();
        let select = "SELECT name FROM accounts WHERE token = ?1";
        let query = move |database: &Connection| {
            database.query_row(select, [token], |row| row.get(0)).optional()
        };
        let name = self.database.run(query).await.map_err(|error| {
            tracing::error!(%error, "the accounts cannot be read");
            Refusal::unavailable()
        })?;
        let name = name.ok_or(Refusal::unauthorized())?;
        if !lock(&self.rooms.0).contains_key(&room) {
            return Err(Refusal::forbidden());
        }
        Ok(Member { name, room, rate: RateLimit(Cell::new((20.0, Instant::now()))) })
    }

    async fn open(&self, socket: Socket<Member>) {
        self.rooms.join(&socket);
    }

    async fn message(&self, socket: Socket<Member>, message: OwnedMessage) {
        if let Err(error) = self.say(&socket, message).await {
            socket.send(json!({ "error": error }).to_string()).await.ok();
        }
    }

    async fn disconnect(&self, socket: Socket<Member>, _: CloseReason) {
        if let Some(room) = lock(&self.rooms.0).get_mut(&socket.data().room) {
            room.members.remove(socket.sid());
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    log::start(tracing::Level::INFO);
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: chat DATABASE [ADDRESS [DRIVER]]")?;
    let address = arguments.next().unwrap_or("127.0.0.1:3000".into());
    let driver = arguments.next().unwrap_or("auto".into()).parse()?; // io-uring, or epoll
    let database = Database::open(&path)?;
    let rooms = Rooms::load(&database)?;
    let config = Config::new().workers(3).driver(driver).max_payload(4_000).handle_signals(true);
    let new_handler = move || Chat { database: database.clone(), rooms: rooms.clone() };
    let running = Server::new(new_handler).config(config).bind(address)?;
    println!("listening on http://{}/engine.io/", running.local_addr());
    running.join()?;
    Ok(())
}
