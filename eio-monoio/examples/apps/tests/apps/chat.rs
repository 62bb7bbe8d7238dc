//! The chat: accounts, rooms, history, the rate limit, and 1,000 sessions on three workers.

use std::process::Command;
use std::sync::Barrier;

use eio_monoio::Transport;
use eio_monoio::client::{Client, ConnectError};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{Program, TempDir, ask, block_on, next_text};

/// A chat with a database of its own.
pub struct Chat {
    directory: TempDir,
    pub server: Option<Program>,
}

impl Chat {
    pub fn admin(&self, kind: &str, name: &str) -> String {
        let database = self.directory.file("chat.db");
        let mut command = Command::new(env!("CARGO_BIN_EXE_chat_admin"));
        let output = command.args([&database, kind, name]).output().expect("it starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    pub fn new(rooms: &[&str]) -> Self {
        let chat = Self { directory: TempDir::new(), server: None };
        for room in rooms {
            chat.admin("room", room);
        }
        chat
    }

    pub fn start(&mut self) {
        self.start_on("auto");
    }

    fn start_on(&mut self, driver: &str) {
        let arguments = [&*self.directory.file("chat.db"), "127.0.0.1:0", driver];
        self.server = Some(Program::start(env!("CARGO_BIN_EXE_chat"), &arguments));
    }

    pub fn stop(&mut self) {
        self.server.take().expect("it runs").terminate();
    }

    fn url(&self, room: &str, token: &str) -> String {
        let server = self.server.as_ref().expect("it runs");
        server.url(&format!("?room={room}&token={token}"))
    }

    /// Joins a room; returns the client and the history.
    async fn join(&self, room: &str, token: &str) -> (Client, Vec<Value>) {
        let client = Client::connect(&self.url(room, token)).await.expect("connects");
        let history = json(&next_text(&client).await)["history"].take();
        (client, history.as_array().expect("a history").clone())
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn accounts_and_rooms_are_checked_before_a_session_opens() {
    let mut chat = Chat::new(&["lobby"]);
    let token = chat.admin("account", "ada");
    chat.start();
    let late = chat.admin("account", "grace");
    block_on(async {
        let refusal = async |url: String, status: u16| {
            let refused = Client::connect(&url).await;
            let Err(ConnectError::Failed(fault)) = refused else { panic!("{refused:?}") };
            assert!(fault.to_string().contains(&status.to_string()), "{fault}");
        };
        refusal(chat.url("lobby", "wrong"), 401).await;
        refusal(chat.url("cellar", &token), 403).await;
        let (ada, _) = chat.join("lobby", &token).await;
        let (grace, _) = chat.join("lobby", &late).await;
        let line = ask(&ada, "hello").await;
        assert_eq!(json(&line), json(r#"{"from":"ada","text":"hello"}"#));
        assert_eq!(next_text(&grace).await, line);
    });
    chat.stop();
}

#[test]
fn history_outlives_the_server_and_rooms_are_separate() {
    let mut chat = Chat::new(&["lobby", "attic"]);
    let token = chat.admin("account", "ada");
    chat.start();
    block_on(async {
        let (ada, history) = chat.join("lobby", &token).await;
        assert!(history.is_empty(), "{history:?}");
        for text in ["one", "two \n \"quoted\""] {
            assert_eq!(json(&ask(&ada, text).await)["text"], text);
        }
        let (_attic, history) = chat.join("attic", &token).await;
        assert!(history.is_empty(), "{history:?}");
    });
    for _ in 0..2 {
        block_on(async {
            let (_ada, history) = chat.join("lobby", &token).await;
            let texts: Vec<_> = history.iter().map(|line| line["text"].as_str()).collect();
            assert_eq!(texts, [Some("one"), Some("two \n \"quoted\"")]);
        });
        chat.stop();
        chat.start();
    }
    chat.stop();
}

#[test]
fn messages_above_the_rate_limit_are_refused() {
    let mut chat = Chat::new(&["lobby"]);
    let token = chat.admin("account", "ada");
    chat.start();
    block_on(async {
        let (ada, _) = chat.join("lobby", &token).await;
        let mut accepted = 0;
        let sent = 200;
        for number in 0..sent {
            ada.send(number.to_string()).await.expect("the session is open");
        }
        for _ in 0..sent {
            let line = json(&next_text(&ada).await);
            accepted += usize::from(line["error"].is_null());
        }
        // At most 20 at once and 5 per second: 200 would take 36 s.
        assert!((20..sent).contains(&accepted), "{accepted}");
    });
    chat.stop();
}

const THREADS: usize = 4;
const CLIENTS: usize = 1_000;
const ROOMS: usize = 50;
const MESSAGES: usize = 10;

#[test]
fn messages_of_a_thousand_clients_arrive_complete_and_in_one_order() {
    // One after the other: each takes two cores.
    for driver in ["auto", "epoll"] {
        serve_a_thousand_clients(driver);
    }
}

fn serve_a_thousand_clients(driver: &str) {
    let rooms: Vec<String> = (0..ROOMS).map(|room| format!("room{room}")).collect();
    let mut chat = Chat::new(&[]);
    // By SQL: a process for each account would take long.
    chat.admin("room", &rooms[0]);
    let mut database = Connection::open(chat.directory.file("chat.db")).expect("opens");
    let transaction = database.transaction().expect("begins");
    for room in &rooms[1..] {
        transaction.execute("INSERT INTO rooms VALUES (?1)", [room]).expect("inserts");
    }
    for user in 0..CLIENTS {
        let row = (format!("token{user}"), format!("user{user}"));
        transaction.execute("INSERT INTO accounts VALUES (?1, ?2)", row).expect("inserts");
    }
    transaction.commit().expect("commits");
    chat.start_on(driver);

    let joined = Barrier::new(THREADS);
    let seen: Vec<Vec<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (chat, joined) = (&chat, &joined);
                scope.spawn(move || block_on(use_a_share_of_the_clients(chat, thread, joined)))
            })
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        let mut seen = vec![Vec::new(); CLIENTS];
        results.flatten().for_each(|(user, lines)| seen[user] = lines);
        seen
    });

    for (room, name) in rooms.iter().enumerate() {
        let first = &seen[room];
        // Nothing is lost, doubled or out of the order of its sender.
        for user in (room..CLIENTS).step_by(ROOMS) {
            let name = format!("user{user}");
            let lines = first.iter().map(|line| json(line)).filter(|line| line["from"] == *name);
            let texts: Vec<_> =
                lines.map(|line| line["text"].as_str().map(str::to_owned)).collect();
            let expected: Vec<_> = (0..MESSAGES).map(|n| Some(n.to_string())).collect();
            assert_eq!(texts, expected, "{driver}: {name}");
            assert_eq!(&seen[user], first, "{driver}: {name}: the order of {room} differs");
        }
        let count = "SELECT count(*) FROM messages WHERE room = ?1";
        let stored: usize = database.query_row(count, [name], |row| row.get(0)).expect("counts");
        assert_eq!(stored, CLIENTS / ROOMS * MESSAGES);
    }
    chat.stop();
}

/// Connects each fourth client, over each transport, sends its messages, and returns the lines that each has received.
async fn use_a_share_of_the_clients(
    chat: &Chat,
    thread: usize,
    joined: &Barrier,
) -> Vec<(usize, Vec<String>)> {
    let mut clients = Vec::new();
    for user in (thread..CLIENTS).step_by(THREADS) {
        let url = chat.url(&format!("room{}", user % ROOMS), &format!("token{user}"));
        let connect = match user / THREADS % 10 {
            0 => Client::connect(&url).upgrade(false),
            1 | 2 => Client::connect(&url),
            _ => Client::connect(&url).transports([Transport::WebSocket]),
        };
        let client = connect.await.expect("connects");
        assert!(next_text(&client).await.starts_with(r#"{"history":["#));
        clients.push((user, client));
    }
    joined.wait();
    for text in 0..MESSAGES {
        for (_, client) in &clients {
            client.send(text.to_string()).await.expect("the session is open");
        }
    }
    let mut seen = Vec::new();
    for (user, client) in clients {
        let mut lines = Vec::new();
        for _ in 0..CLIENTS / ROOMS * MESSAGES {
            lines.push(next_text(&client).await);
        }
        client.disconnect().await;
        seen.push((user, lines));
    }
    seen
}

/// The promises of the documentation: no loop that asks again, at most 200 lines.
#[test]
fn source_is_short_and_does_not_poll() {
    let source = include_str!("../../src/bin/chat.rs");
    assert!(source.lines().count() <= 200, "{} lines", source.lines().count());
    for word in ["sleep", "loop", "while", "try_lock", "yield"] {
        assert!(!source.contains(word), "{word}");
    }
}
