//! The balancers of `deploy/balancers` that Debian has, with the files of the repository.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::process::{signal, wait};
use super::skip::skip;
use super::temp_dir::TempDir;
use super::wait::eventually;

/// The tags of the servers in the files.
pub(crate) const TAGS: [&str; 3] = ["web-0", "web-1", "web-2"];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    HaProxy,
    Nginx,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::HaProxy, Self::Nginx];

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

/// A running balancer; dropping it ends it.
pub(crate) struct Balancer {
    child: Child,
    pub(crate) addr: SocketAddr,
    directory: TempDir,
}

impl Balancer {
    /// Starts the documented configuration, with the addresses of this run. `None`, which is reported: the program is
    /// missing.
    pub(crate) fn start(
        test: &str,
        kind: Kind,
        servers: impl IntoIterator<Item = SocketAddr>,
    ) -> Option<Self> {
        if !Path::new(kind.program()).is_file() {
            skip(test, format!("{} is not installed", kind.program()));
            return None;
        }
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/balancers").join(kind.file());
        let mut config = fs::read_to_string(path).expect("the recipe");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let addr = free.expect("a free port");
        let mut replace = |part: &str, by: &str| {
            assert!(config.contains(part), "{} has no {part:?}", kind.file());
            config = config.replace(part, by);
        };
        for (n, server) in servers.into_iter().enumerate() {
            replace(&format!("10.0.0.1{n}:3000"), &server.to_string());
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
        Some(balancer)
    }

    pub(crate) fn url(&self) -> String {
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
