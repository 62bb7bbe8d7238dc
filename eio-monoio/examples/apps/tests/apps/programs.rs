//! A database, an HTTP client and axum next to a server.

use eio_monoio::blocking;
use eio_monoio::client::{Client, spawn};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Program, TempDir, ask, block_on, next_text};

const BOTH_DATABASES: [&str; 2] =
    [env!("CARGO_BIN_EXE_database_rusqlite"), env!("CARGO_BIN_EXE_database_sqlx")];

#[test]
fn handlers_query_a_database_pool() {
    for path in BOTH_DATABASES {
        let directory = TempDir::new();
        let server = Program::start(path, &[&directory.file("words.db"), "127.0.0.1:0"]);
        block_on(async {
            let one = Client::connect(&server.url("")).await.expect("connects");
            let two = Client::connect(&server.url("")).await.expect("connects");
            assert_eq!(ask(&one, "rust").await, "1");
            assert_eq!(ask(&two, "rust").await, "2");
            assert_eq!(ask(&two, "ring").await, "1");
        });
        server.terminate();

        let server = Program::start(path, &[&directory.file("words.db"), "127.0.0.1:0"]);
        block_on(async {
            let client = Client::connect(&server.url("")).await.expect("connects");
            assert_eq!(ask(&client, "rust").await, "3", "{path}");
        });
        server.terminate();
    }
}

#[test]
fn concurrent_queries_of_many_sessions_are_all_counted() {
    const SESSIONS: usize = 20;
    const EACH: usize = 10;
    for path in BOTH_DATABASES {
        let directory = TempDir::new();
        let server = Program::start(path, &[&directory.file("words.db"), "127.0.0.1:0"]);
        block_on(async {
            let mut clients = Vec::new();
            for _ in 0..SESSIONS {
                clients.push(Client::connect(&server.url("")).await.expect("connects"));
            }
            for client in &clients {
                for _ in 0..EACH {
                    client.send("word").await.expect("the session is open");
                }
            }
            let mut counts = Vec::new();
            for client in &clients {
                let mut last = 0;
                for _ in 0..EACH {
                    let count: usize = next_text(client).await.parse().expect("a number");
                    assert!(count > last, "{path}: answers are out of order");
                    last = count;
                    counts.push(count);
                }
            }
            counts.sort_unstable();
            assert!(counts.into_iter().eq(1..=SESSIONS * EACH), "{path}");
        });
        server.terminate();
    }
}

/// An axum server with one route, on a thread of its own; it ends with the process.
fn start_http() -> String {
    use axum::{Router, extract::Path, routing::get};
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
            sender.send(listener.local_addr().expect("an address")).expect("the test waits");
            let greet = async |Path(name): Path<String>| format!("hello, {name}");
            let app = Router::new().route("/greet/{name}", get(greet));
            axum::serve(listener, app).await
        })
    });
    format!("http://{}", address.recv().expect("an address"))
}

#[test]
fn handlers_call_an_http_client() {
    let base = start_http();
    let server = Program::start(env!("CARGO_BIN_EXE_http_client"), &[&base, "127.0.0.1:0"]);
    block_on(async {
        let client = Client::connect(&server.url("")).await.expect("connects");
        assert_eq!(ask(&client, "greet/ada").await, "hello, ada");
        let error = ask(&client, "missing").await;
        assert!(error.starts_with("error: ") && error.contains("404"), "{error}");
    });
    server.terminate();
}

/// A POST by tokio's reqwest from the thread of a test: the status and the body.
fn post(url: &str, body: &'static str) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let response =
            reqwest::Client::new().post(url).body(body).send().await.expect("a response");
        (response.status().as_u16(), response.text().await.expect("text"))
    })
}

#[test]
fn axum_handlers_send_to_sessions_and_get_an_answer() {
    let server = Program::start(env!("CARGO_BIN_EXE_axum_ask"), &["127.0.0.1:0", "127.0.0.1:0"]);
    let http = format!("http://{}", server.address(1));
    assert_eq!(post(&format!("{http}/ask/ada"), "hello?").0, 404);
    block_on(async {
        let ada = Client::connect(&server.url("?name=ada")).await.expect("connects");
        let eve = Client::connect(&server.url("?name=eve")).await.expect("connects");
        assert_eq!(next_text(&ada).await, "ready");
        assert_eq!(next_text(&eve).await, "ready");

        let say = format!("{http}/say");
        assert_eq!(blocking(move || post(&say, "news").0).await, 204);
        assert_eq!(next_text(&ada).await, "news");
        assert_eq!(next_text(&eve).await, "news");

        let url = format!("{http}/ask/ada");
        let asking = spawn(blocking(move || post(&url, "6 * 7?")));
        let question: Value = serde_json::from_str(&next_text(&ada).await).expect("JSON");
        assert_eq!(question["question"], "6 * 7?");
        let answer = |text: &str| json!({ "id": question["id"], "answer": text }).to_string();
        // Another session cannot answer.
        eve.send(answer("41")).await.expect("the session is open");
        eve.disconnect().await;
        ada.send(answer("42")).await.expect("the session is open");
        assert_eq!(asking.await, Some((200, "42".into())));

        // The end of the session ends the request.
        let url = format!("{http}/ask/ada");
        let asking = spawn(blocking(move || post(&url, "still there?")));
        next_text(&ada).await;
        ada.disconnect().await;
        assert_eq!(asking.await.expect("no panic").0, 502);
    });
    server.terminate();
}
