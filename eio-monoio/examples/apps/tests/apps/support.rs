//! Starting the programs, connecting to them, and directories for their databases.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use eio_monoio::Driver;
use eio_monoio::client::{self, Client, Event};

/// The time that any step of a test may take on a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// A running server; dropping it kills it.
pub struct Program {
    child: Child,
    line: String,
}

impl Program {
    /// Starts the program at `path`, and waits for the line in which it says where it listens.
    pub fn start(path: &str, arguments: &[&str]) -> Self {
        allow_many_descriptors();
        let mut child = Command::new(path)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("text");
        assert!(line.starts_with("listening on http://"), "{path}: {line:?}");
        Self { child, line }
    }

    /// The address and port number `index` of the line.
    pub fn address(&self, index: usize) -> &str {
        let (_, rest) = self.line.split_once("http://").expect("an address");
        let address = rest.split("http://").nth(index).expect("an address with this index");
        address.split(['/', '\n', ' ']).next().expect("an address")
    }

    pub fn url(&self, query: &str) -> String {
        format!("http://{}/engine.io/{query}", self.address(0))
    }

    /// Sends SIGTERM; the program must end with success.
    pub fn terminate(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        let status = self.child.wait().expect("it is a child");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The logs of the programs appear with `EIO_LOG=1`.
fn log() -> Stdio {
    if std::env::var_os("EIO_LOG").is_some() { Stdio::inherit() } else { Stdio::null() }
}

/// Raises the limit of this process and its children to the hard limit: 1,000 sessions are above the usual 1,024.
fn allow_many_descriptors() {
    static RAISED: Once = Once::new();
    RAISED.call_once(|| {
        let pid = std::process::id().to_string();
        let limit = Command::new("sh").args(["-c", "ulimit -Hn"]).output().expect("a shell").stdout;
        let limit = String::from_utf8(limit).expect("text");
        let limit = format!("--nofile={}", limit.trim());
        let raised = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(raised.expect("prlimit of util-linux").success());
    });
}

/// A new directory, removed when it is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("eio-apps-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Runs the future of a client on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    client::block_on(Driver::Auto, async move {
        let timeout = client::spawn(async {
            client::sleep(TIMEOUT).await;
            eprintln!("the test takes too long");
            std::process::abort();
        });
        let output = future.await;
        timeout.cancel();
        output
    })
    .expect("a worker")
}

/// The next text message.
pub async fn next_text(client: &Client) -> String {
    loop {
        match client.next().await.expect("the session is open") {
            Event::Message(message) => return message.text().expect("text").to_owned(),
            Event::Closed(closed) => panic!("{closed}"),
            _ => {}
        }
    }
}

/// Sends a text and returns the next one.
pub async fn ask(client: &Client, text: &str) -> String {
    client.send(text).await.expect("the session is open");
    next_text(client).await
}
