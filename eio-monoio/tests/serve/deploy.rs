//! The files in `deploy/`: they fit the program, its options and its metrics.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::options::drivers;
use super::server::{admin, command, end, start};
use crate::support::connection::Connection;
use crate::support::foreign;
use crate::support::polling::Polling;
use crate::support::process::ServerProcess;
use crate::support::prometheus::scrape;
use crate::support::request::Request;
use crate::support::skip::skip;
use crate::support::temp_dir::TempDir;
use crate::support::wait::TIMEOUT;
use crate::support::websocket::WebSocket;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

fn read(name: &str) -> String {
    let path = path(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn output(arguments: &[&str]) -> String {
    let output = command(arguments).env_remove("EIO_DRAIN_TIME").output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The example file with every option set.
fn all_options() -> String {
    let text = read("eio-server.toml");
    let lines = text.lines().map(|line| {
        let option = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        format!("{}\n", option.unwrap_or(line))
    });
    lines.collect()
}

/// The value of an option in a file, or its default.
fn option(text: &str, name: &str) -> String {
    let of = |text: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} = ")));
        line.map(|line| line.split(" = ").nth(1).expect("a value").trim_matches('"').to_owned())
    };
    of(text).or_else(|| of(&all_options())).expect("an option")
}

#[test]
fn example_file_is_that_of_the_program_and_is_valid() {
    let text = output(&["--example-config"]);
    assert_eq!(
        text,
        read("eio-server.toml"),
        "eio-server --example-config >deploy/eio-server.toml"
    );
    let directory = TempDir::new();
    let file = directory.write("all.toml", all_options());
    let checked = output(&["--check", "--config", file.to_str().expect("text")]);
    assert_eq!(checked, "the options are valid\n");
}

#[test]
fn service_waits_for_the_drain() {
    let unit = read("systemd/eio-server.service");
    let seconds = |text: &str| text.trim_end_matches('s').parse::<u64>().expect("seconds");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let needed: u64 = ["drain_wait", "drain_time", "shutdown_timeout", "shutdown_grace"]
        .map(|name| seconds(&option("", name)))
        .iter()
        .sum();
    assert!(seconds(stop.expect("a timeout")) > needed, "{needed}");
}

/// The names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric = |word: &&str| {
        // `tests/cluster` checks those of a cluster, which eio-server is not a node of.
        (word.starts_with("eio_") || word.starts_with("process_"))
            && *word != "eio_monoio"
            && !word.starts_with("eio_cluster_")
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

#[test]
fn metrics_of_the_dashboard_and_the_alerts_exist() {
    // On epoll, which one of the alerts is about.
    let server = start(&["--max-handshakes-per-second", "1000", "--driver", "epoll"]);
    let admin = admin(&server);
    let (_websocket, _polling) = (WebSocket::open(server.addr()), Polling::open(server.addr()));
    let series = scrape(admin);
    let mut published: BTreeSet<_> =
        series.keys().map(|key| key.split('{').next().expect("a name").to_owned()).collect();
    // A histogram as a whole.
    let histograms = published.iter().filter_map(|name| name.strip_suffix("_bucket"));
    let histograms: Vec<_> = histograms.map(str::to_owned).collect();
    published.extend(histograms);
    let mut named = BTreeSet::new();
    for file in ["grafana/dashboard.json", "prometheus/alerts.yml"] {
        let metrics = metrics_in(&read(file));
        let missing: Vec<_> = metrics.difference(&published).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}");
        named.extend(metrics);
    }
    assert!(named.len() > 20, "{named:?}");
    // Labels too: a selector that matches nothing never fires.
    let text = Connection::open(admin).request(&Request::get("/metrics")).text().to_owned();
    for selector in
        read("prometheus/alerts.yml").split('{').skip(1).filter_map(|s| s.split('}').next())
    {
        let equals =
            selector.split(',').filter(|label| label.contains("=\"") && !label.contains("job="));
        for label in equals {
            assert!(text.contains(label.trim()), "no series has {label}");
        }
        // One of several values: `reason=~"a|b"`.
        for (name, values) in selector.split(',').filter_map(|label| label.split_once("=~")) {
            for value in values.trim_matches('"').split('|') {
                let label = format!("{}=\"{value}\"", name.trim());
                assert!(text.contains(&label), "no series has {label}");
            }
        }
    }
    end(server);
}

#[test]
fn metrics_pass_promtool() {
    let test = "metrics_pass_promtool";
    if let Err(error) = foreign::run(Command::new("promtool").arg("--version"), TIMEOUT, |_| {}) {
        return skip(test, error);
    }
    let server = start(&[]);
    let _polling = Polling::open(server.addr());
    let metrics = Connection::open(admin(&server)).request(&Request::get("/metrics"));
    let directory = TempDir::new();
    let file = directory.write("metrics", metrics.text());
    let check = format!("promtool check metrics < {}", file.display());
    let said = foreign::run(Command::new("sh").args(["-c", &check]), TIMEOUT, |_| {});
    assert_eq!(said.as_deref().map(str::trim), Ok(""));
    end(server);
}

#[test]
fn server_runs_with_the_filter_and_limits_of_the_unit() {
    let test = "server_runs_with_the_filter_and_limits_of_the_unit";
    // Debian's interpreter: another one does not see Debian's modules.
    let python = "/usr/bin/python3";
    let mut modules = Command::new(python);
    if let Err(error) = foreign::run(modules.args(["-c", "import seccomp"]), TIMEOUT, |_| {}) {
        return skip(test, error);
    }
    // The build directory may be closed to the user that the program runs as.
    let directory = TempDir::new();
    let program = directory.join("eio-server");
    fs::copy(env!("CARGO_BIN_EXE_eio-server"), &program).expect("a copy");
    for driver in drivers() {
        let mut command = Command::new(python);
        command.arg(path("check/as-service.py")).arg(path("systemd/eio-server.service"));
        command.arg(&program).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--driver", driver, "--workers", "4", "--drain-time", "0"]);
        let mut server = ServerProcess::run(command);
        WebSocket::open(server.addr()).0.assert_alive();
        Polling::open(server.addr()).assert_alive();
        assert!(!scrape(admin(&server)).is_empty());
        server.terminate();
        let status = server.wait(Duration::from_secs(20)).expect("it ends");
        assert!(status.success(), "{driver}: {status}\n{}", server.log());
    }
}

/// The names of other servers that the documentation of each option of `Config` has.
fn names_of_others() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/config");
    let mut names = Vec::new();
    for file in fs::read_dir(folder).expect("the folder") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("text");
        let mut comment = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("/// ") {
                comment.push(text.to_owned());
            } else if let Some((name, _)) =
                line.strip_prefix("pub fn ").and_then(|rest| rest.split_once(['(', '<']))
            {
                let lines = comment.drain(..).filter(|text| {
                    text.starts_with("Engine.IO") || text.starts_with("python-engineio")
                });
                // The words in backquotes, except those of the library.
                for text in lines {
                    let words = text.split('`').skip(1).step_by(2);
                    let others = words.filter(|word| !word.contains("::"));
                    names.extend(others.map(|other| (name.to_owned(), other.to_owned())));
                }
            } else if line.is_empty() {
                comment.clear();
            }
        }
    }
    assert!(names.len() > 20, "{names:?}");
    names
}

#[test]
fn names_of_other_servers_are_in_the_table() {
    let document = path("../docs/operations.md");
    let document = fs::read_to_string(document).expect("the document");
    for (option, other) in names_of_others() {
        let mut rows = document.lines().filter(|line| line.starts_with(&format!("| `{option}` |")));
        let found = rows.any(|row| row.contains(&format!("`{other}`")));
        assert!(found, "no row of docs/operations.md has {option} and {other}");
    }
}
