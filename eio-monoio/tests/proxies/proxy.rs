//! Reverse proxies in processes of their own, with the configurations of `docs/proxies.md`.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::skip::skip;
use crate::support::temp_dir::TempDir;

/// A kind of proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With the settings of the distribution and `Host` passed on: HTTP/1.0, `Connection: close`.
    NginxDefaults,
    Nginx,
    HaProxy,
    Apache,
    Caddy,
    /// A TCP balancer with the PROXY protocol, version 1.
    HaProxyV1,
    HaProxyV2,
    NginxStream,
}

impl Kind {
    pub(crate) const RECOMMENDED: [Self; 4] =
        [Self::Nginx, Self::HaProxy, Self::Apache, Self::Caddy];

    pub(crate) const TCP: [Self; 3] = [Self::HaProxyV1, Self::HaProxyV2, Self::NginxStream];

    const fn program(self) -> &'static str {
        match self {
            Self::NginxDefaults | Self::Nginx | Self::NginxStream => "/usr/sbin/nginx",
            Self::HaProxy | Self::HaProxyV1 | Self::HaProxyV2 => "/usr/sbin/haproxy",
            Self::Apache => "/usr/sbin/apache2",
            Self::Caddy => "/usr/bin/caddy",
        }
    }
}

/// Of the package libnginx-mod-stream.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A running proxy.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) tls_addr: SocketAddr,
    directory: TempDir,
}

impl Proxy {
    /// Starts a proxy in front of `server`. `timeout` replaces the recommended 60 s. `None`: the test is skipped.
    pub(crate) fn start(test: &str, kind: Kind, server: SocketAddr, timeout: u64) -> Option<Self> {
        if !Path::new(kind.program()).is_file() {
            skip(test, format!("{} is not installed", kind.program()));
            return None;
        }
        if kind == Kind::NginxStream && !Path::new(STREAM_MODULE).is_file() {
            skip(test, format!("{STREAM_MODULE} is not installed"));
            return None;
        }
        let directory = TempDir::new();
        certify(&directory);
        let [addr, tls_addr] = free_addresses();
        let place = Place { directory: directory.path(), server, addr, tls_addr, timeout };
        let mut command = command(kind, &place);
        let log = File::create(directory.join("output")).expect("a file");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a copy")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut proxy = Self { child, addr, tls_addr, directory };
        proxy.wait_until_ready(kind);
        Some(proxy)
    }

    fn wait_until_ready(&mut self, kind: Kind) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while [self.addr, self.tls_addr].iter().any(|addr| TcpStream::connect(addr).is_err()) {
            let ended = self.child.try_wait().expect("a child");
            let output = || fs::read_to_string(self.directory.join("output")).unwrap_or_default();
            assert!(ended.is_none(), "{kind:?} has ended ({ended:?}):\n{}", output());
            assert!(Instant::now() < deadline, "{kind:?} does not listen:\n{}", output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/engine.io/", self.addr)
    }

    pub(crate) fn tls_url(&self) -> String {
        format!("https://{}/engine.io/", self.tls_addr)
    }

    /// The certificate that clients must trust.
    pub(crate) fn certificate(&self) -> std::path::PathBuf {
        self.directory.join("app.pem")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Apache and HAProxy end their children.
        crate::support::process::signal("-TERM", &self.child.id().to_string());
        if crate::support::process::wait(&mut self.child, Duration::from_secs(2)).is_none() {
            _ = self.child.kill();
            _ = self.child.wait();
        }
        if std::thread::panicking() {
            for name in ["output", "error.log"] {
                let text = fs::read_to_string(self.directory.join(name)).unwrap_or_default();
                eprintln!("{name} of the proxy:\n{text}");
            }
        }
    }
}

/// The addresses and files of one run.
struct Place<'a> {
    directory: &'a Path,
    server: SocketAddr,
    addr: SocketAddr,
    tls_addr: SocketAddr,
    timeout: u64,
}

impl Place<'_> {
    /// The configuration in `docs/proxies.md` in this language, with the server's address.
    fn documented(&self, language: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/proxies.md");
        let text = fs::read_to_string(path).expect("docs/proxies.md");
        let (_, rest) = text.split_once(&format!("```{language}\n")).expect("the configuration");
        let (block, _) = rest.split_once("```").expect("its end");
        block.replace("127.0.0.1:3000", &self.server.to_string())
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.directory.join(name), text).expect("a file");
        self.file(name)
    }
}

/// Replaces a part that must be there.
#[track_caller]
fn replace(text: &str, part: &str, by: &str) -> String {
    assert!(text.contains(part), "docs/proxies.md has no {part:?}: {text}");
    text.replace(part, by)
}

fn command(kind: Kind, place: &Place<'_>) -> Command {
    let mut command = Command::new(kind.program());
    match kind {
        Kind::NginxDefaults => {
            let site = format!(
                "server {{ listen {}; listen {} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
                 location / {{ proxy_pass http://{}; proxy_set_header Host $http_host; }} }}",
                place.addr,
                place.tls_addr,
                place.file("app.pem"),
                place.file("app.key"),
                place.server
            );
            nginx(&mut command, place, &site);
        }
        Kind::Nginx => {
            let mut site = place.documented("nginx");
            for (part, by) in [
                ("listen 80;", format!("listen {};", place.addr)),
                ("listen 443 ssl;", format!("listen {} ssl;", place.tls_addr)),
                ("/etc/ssl/app.pem", place.file("app.pem")),
                ("/etc/ssl/app.key", place.file("app.key")),
                ("proxy_read_timeout 60s", format!("proxy_read_timeout {}s", place.timeout)),
            ] {
                site = replace(&site, part, &by);
            }
            nginx(&mut command, place, &site);
        }
        Kind::HaProxy => {
            let mut config = place.documented("haproxy");
            for (part, by) in [
                ("bind :80\n", format!("bind {}\n", place.addr)),
                ("bind :443", format!("bind {}", place.tls_addr)),
                ("/etc/haproxy/app.pem", place.file("both.pem")),
                ("timeout server 60s", format!("timeout server {}s", place.timeout)),
                ("timeout tunnel 60s", format!("timeout tunnel {}s", place.timeout)),
            ] {
                config = replace(&config, part, &by);
            }
            command.args(["-db", "-f", &place.write("haproxy.cfg", &config)]);
        }
        Kind::HaProxyV1 | Kind::HaProxyV2 => {
            let listen = format!("bind {}\n    bind {}\n", place.addr, place.tls_addr);
            let mut config = replace(&place.documented("haproxy tcp"), "bind :80\n", &listen);
            if kind == Kind::HaProxyV1 {
                config = replace(&config, "send-proxy-v2", "send-proxy");
            }
            command.args(["-db", "-f", &place.write("haproxy.cfg", &config)]);
        }
        Kind::NginxStream => {
            let listen = format!("listen {};\n        listen {};", place.addr, place.tls_addr);
            let stream = replace(&place.documented("nginx stream"), "listen 80;", &listen);
            let config = format!(
                "load_module {STREAM_MODULE};\n{}\nevents {{}}\n{stream}",
                nginx_process(&mut command, place)
            );
            command.args(["-c", &place.write("nginx.conf", &config)]);
        }
        Kind::Apache => apache(&mut command, place),
        Kind::Caddy => caddy(&mut command, place),
    }
    command
}

fn nginx(command: &mut Command, place: &Place<'_>, site: &str) {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {};\n", place.file(name)));
    let config = format!(
        "{}\nevents {{}}\nhttp {{ access_log off;\n{}{site}\n}}\n",
        nginx_process(command, place),
        temporary.concat()
    );
    command.args(["-c", &place.write("nginx.conf", &config)]);
}

/// The directives about the process, which is one of this user.
fn nginx_process(command: &mut Command, place: &Place<'_>) -> String {
    command.args(["-p", &place.file(""), "-e", &place.file("error.log")]);
    let (pid, log) = (place.file("pid"), place.file("error.log"));
    format!("daemon off; master_process off; pid {pid}; error_log {log};")
}

fn apache(command: &mut Command, place: &Place<'_>) {
    let modules = ["mpm_event", "authz_core", "proxy", "proxy_http", "headers", "ssl"];
    let modules = modules
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
    let documented = place.documented("apache");
    let limit = format!("timeout={}", place.timeout);
    let documented = replace(&documented, "timeout=60", &limit);
    let plain =
        replace(&documented, "<VirtualHost *:80>", &format!("<VirtualHost {}>", place.addr));
    let tls = format!(
        "<VirtualHost {}>\nSSLEngine on\nSSLCertificateFile {}\nSSLCertificateKeyFile {}",
        place.tls_addr,
        place.file("app.pem"),
        place.file("app.key")
    );
    let tls = replace(&documented, "<VirtualHost *:80>", &tls);
    // The standard has 100 requests on a connection and 5 s between two, which is Apache's own.
    let config = format!(
        "ServerName app.example\nServerRoot {}\nPidFile {}\nErrorLog {}\nMutex posixsem\n\
         User nobody\nGroup nogroup\nMaxRequestWorkers 400\nServerLimit 16\nListen {}\nListen {}\n\
         {}{plain}{tls}",
        place.file(""),
        place.file("pid"),
        place.file("error.log"),
        place.addr,
        place.tls_addr,
        modules.concat()
    );
    command.args(["-DFOREGROUND", "-f", &place.write("apache.conf", &config)]);
}

fn caddy(command: &mut Command, place: &Place<'_>) {
    let documented = place.documented("caddyfile");
    let plain = replace(&documented, "app.example {", &format!("http://:{} {{", place.addr.port()));
    let tls = format!(
        "https://:{} {{\n    tls {} {}",
        place.tls_addr.port(),
        place.file("app.pem"),
        place.file("app.key")
    );
    let tls = replace(&documented, "app.example {", &tls);
    let config = format!("{{\n    admin off\n    auto_https disable_redirects\n}}\n{plain}\n{tls}");
    command.args(["run", "--adapter", "caddyfile"]);
    command.args(["--config", &place.write("Caddyfile", &config)]);
    command.env("HOME", place.directory).env("XDG_DATA_HOME", place.directory);
    command.env("XDG_CONFIG_HOME", place.directory);
}

/// A certificate for the loopback address.
fn certify(directory: &TempDir) {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a key");
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    directory.write("app.pem", &certificate);
    directory.write("app.key", &key);
    directory.write("both.pem", certificate + &key);
}

/// Two addresses that are free now.
fn free_addresses() -> [SocketAddr; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address"))
}
