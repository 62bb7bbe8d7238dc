//! The balancers of `deploy/balancers` that Debian has, in front of three servers with tags.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::reverse_proxies::{run, server};
use crate::support::connection::Connection;
use crate::support::foreign;
use crate::support::parallel;
use crate::support::polling::{Polling, sid_of};
use crate::support::process::{ServerProcess, signal, wait};
use crate::support::request::{POLLING, Request, target};
use crate::support::skip::skip;
use crate::support::temp_dir::TempDir;
use crate::support::wait::eventually;

const TAGS: [&str; 3] = ["web-0", "web-1", "web-2"];

#[derive(Clone, Copy, Debug)]
enum Kind {
    HaProxy,
    Nginx,
}

impl Kind {
    const fn program(self) -> &'static str {
        match self {
            Self::HaProxy => "/usr/sbin/haproxy",
            Self::Nginx => "/usr/sbin/nginx",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::HaProxy => "haproxy.cfg",
            Self::Nginx => "nginx.conf",
        }
    }
}

struct Balancer {
    child: Child,
    addr: SocketAddr,
    directory: TempDir,
}

impl Balancer {
    /// Starts the documented configuration, with the addresses of this run.
    fn start(kind: Kind, servers: &[ServerProcess]) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/balancers").join(kind.file());
        let mut config = fs::read_to_string(path).expect("the recipe");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let addr = free.expect("a free port");
        let mut replace = |part: &str, by: &str| {
            assert!(config.contains(part), "{} has no {part:?}", kind.file());
            config = config.replace(part, by);
        };
        for (n, server) in servers.iter().enumerate() {
            replace(&format!("10.0.0.1{n}:3000"), &server.addr().to_string());
        }
        let directory = TempDir::new();
        let mut command = Command::new(kind.program());
        match kind {
            Kind::HaProxy => {
                replace("bind :80\n", &format!("bind {addr}\n"));
                command.arg("-db").arg("-f").arg(directory.write(kind.file(), config));
            }
            Kind::Nginx => {
                replace("listen 80;", &format!("listen {addr};"));
                let place = directory.path().display();
                let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .map(|name| format!("{name}_temp_path {place}/{name};\n"));
                let config = format!(
                    "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
                     events {{}}\nhttp {{ access_log off;\n{}{config}\n}}\n",
                    temporary.concat()
                );
                command.args(["-p", &place.to_string(), "-e", &format!("{place}/error.log")]);
                command.arg("-c").arg(directory.write(kind.file(), config));
            }
        }
        let log = File::create(directory.join("output")).expect("a file");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a copy")).stderr(log);
        let mut balancer =
            Self { child: command.spawn().expect("the balancer starts"), addr, directory };
        eventually("the balancer listens", || {
            let ended = balancer.child.try_wait().expect("a child");
            let output =
                || fs::read_to_string(balancer.directory.join("output")).unwrap_or_default();
            assert!(ended.is_none(), "{kind:?} has ended:\n{}", output());
            TcpStream::connect(addr).is_ok()
        });
        balancer
    }

    fn url(&self) -> String {
        format!("http://{}/engine.io/", self.addr)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        signal("-TERM", &self.child.id().to_string());
        if wait(&mut self.child, Duration::from_secs(2)).is_none() {
            _ = self.child.kill();
            _ = self.child.wait();
        }
    }
}

/// Runs `body` with each balancer in front of servers of its own.
fn for_each_balancer(test: &str, body: impl Fn(&Balancer, &mut Vec<ServerProcess>) + Sync) {
    parallel::for_each(
        [Kind::HaProxy, Kind::Nginx].map(|kind| (format!("{kind:?}"), kind)),
        |kind| {
            if !Path::new(kind.program()).is_file() {
                skip(test, format!("{} is not installed", kind.program()));
                return;
            }
            let mut servers: Vec<_> = TAGS.iter().map(|tag| server(&["--tag", tag])).collect();
            let balancer = Balancer::start(kind, &servers);
            body(&balancer, &mut servers);
        },
    );
}

fn tag_of(sid: &str) -> String {
    sid.split('.').next().unwrap_or_default().to_owned()
}

/// The scenario is 100 sessions at a time, over polling, WebSocket and upgrades. A server that does not know the sid of a
/// request answers 400, which ends the client's session and fails the scenario. A line of the server's log would prove
/// less: a poll that crosses the end of its session is refused at the right server, too.
#[test]
fn balancers_that_route_by_tag_send_every_request_to_the_server_of_its_session() {
    let test = "balancers_that_route_by_tag_send_every_request_to_the_server_of_its_session";
    let Some(client) = foreign::javascript(test) else { return };
    for_each_balancer(test, |balancer, _| {
        run(client.client_command(&balancer.url(), &["crowd", "upgrade"]));
        let opened = (0..9).map(|_| Polling::open(balancer.addr)).collect::<Vec<_>>();
        let tags: BTreeSet<_> = opened.iter().map(|session| tag_of(&session.sid)).collect();
        assert!(tags.len() > 1, "the handshakes of {tags:?}");
    });
}

/// A request of its sessions is answered by another server, without a wait, and handshakes go on.
#[test]
fn a_server_that_is_down_is_passed_over() {
    let test = "a_server_that_is_down_is_passed_over";
    for_each_balancer(test, |balancer, servers| {
        let session = Polling::open(balancer.addr);
        let tag = tag_of(&session.sid);
        let number = TAGS.iter().position(|known| *known == tag).expect("a known tag");
        drop(servers.remove(number));
        let ask = |path: &str| Connection::open(balancer.addr).request(&Request::get(path));
        eventually("another server answers", || ask(&target(&session.sid)).status == 400);
        for _ in 0..6 {
            let response = ask(POLLING);
            assert_eq!(response.status, 200, "{response:?}");
            assert_ne!(tag_of(&sid_of(response.text())), tag);
        }
        // A forged sid names no server.
        for forged in ["web-9.abc", "elsewhere.example", "..", "web-0"] {
            assert_eq!(ask(&target(forged)).status, 400, "{forged}");
        }
    });
}
