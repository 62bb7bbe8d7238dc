//! Requests for proxies that cannot run here: Traefik, and the balancers of clouds. They are written by hand, in the
//! forms of header fields that these proxies are known for; none is a captured request.

use eio_monoio::ConnectRequest;

use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::describing::Describing;
use crate::support::polling::sid_of;
use crate::support::request::{POLLING, WEBSOCKET, target};
use crate::support::test_server::TestServer;

fn address(request: &ConnectRequest<'_>) -> String {
    request.peer_addr().map_or_else(String::new, |peer| peer.ip().to_string())
}

struct Forwarded {
    proxy: &'static str,
    /// Of every request.
    fields: &'static [&'static str],
    /// Of requests that ask for a WebSocket, instead of those with the same name.
    upgrade: &'static [&'static str],
    /// `trusted_proxies`, besides the loopback network that stands for the proxy's own address here.
    trusted: &'static [&'static str],
}

const PROXIES: [Forwarded; 5] = [
    Forwarded {
        proxy: "Traefik 3",
        fields: &[
            "Host: app.example",
            "X-Forwarded-For: 198.51.100.7",
            "X-Forwarded-Host: app.example",
            "X-Forwarded-Port: 443",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Server: traefik-1",
            "X-Real-Ip: 198.51.100.7",
        ],
        upgrade: &["X-Forwarded-Proto: wss"],
        trusted: &[],
    },
    Forwarded {
        proxy: "AWS Application Load Balancer",
        fields: &[
            "X-Forwarded-For: 198.51.100.7",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Port: 443",
            "Host: app.example",
            "X-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678",
        ],
        upgrade: &[],
        trusted: &[],
    },
    Forwarded {
        proxy: "Google Cloud external Application Load Balancer",
        fields: &[
            "Host: app.example",
            "Via: 1.1 google",
            "X-Forwarded-For: 198.51.100.7,203.0.113.80",
            "X-Forwarded-Proto: https",
            "X-Cloud-Trace-Context: 105445aa7843bc8bf206b12000100000/1;o=1",
        ],
        upgrade: &[],
        // The second address is the balancer's own.
        trusted: &["203.0.113.80"],
    },
    Forwarded {
        proxy: "Azure Application Gateway",
        fields: &[
            "Host: app.example",
            "X-Forwarded-For: 198.51.100.7:50871",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Port: 443",
            "X-Original-Host: app.example",
        ],
        upgrade: &[],
        trusted: &[],
    },
    Forwarded {
        proxy: "Cloudflare",
        fields: &[
            "Host: app.example",
            "Accept-Encoding: gzip, br",
            "CF-Ray: 230b030023ae2822-SJC",
            "CF-Visitor: {\"scheme\":\"https\"}",
            "CDN-Loop: cloudflare; loops=1",
            "X-Forwarded-For: 198.51.100.7",
            "X-Forwarded-Proto: https",
            "CF-Connecting-IP: 198.51.100.7",
        ],
        upgrade: &[],
        trusted: &[],
    },
];

impl Forwarded {
    fn request(&self, method: &str, target: &str, more: &[&str], body: &str) -> String {
        let name = |field: &str| field.split(':').next().unwrap_or_default().to_owned();
        let replaced = |field: &&&str| !more.iter().any(|other| name(other) == name(field));
        let fields = self.fields.iter().filter(replaced).chain(more);
        let fields: String = fields.map(|field| format!("{field}\r\n")).collect();
        let origin = "Origin: https://app.example\r\n";
        format!(
            "{method} {target} HTTP/1.1\r\n{fields}{origin}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

#[test]
fn pages_behind_proxies_reach_polling_and_websocket_with_their_address() {
    for forwarded in &PROXIES {
        let trusted = ["127.0.0.0/8"].iter().chain(forwarded.trusted);
        let server =
            TestServer::run(default_config().trusted_proxies(trusted), |_| Describing(address));
        let mut conn = Connection::open(server.addr());
        let mut ask = |method, target: &str, body| {
            conn.write(forwarded.request(method, target, &[], body));
            let response = conn.response();
            assert_eq!(response.status, 200, "{}: {response:?}", forwarded.proxy);
            response.text().to_owned()
        };
        let sid = sid_of(&ask("GET", POLLING, ""));
        assert_eq!(ask("GET", &target(&sid), ""), "4198.51.100.7", "{}", forwarded.proxy);
        assert_eq!(ask("POST", &target(&sid), "4hello"), "ok");
        assert_eq!(ask("GET", &target(&sid), ""), "4hello");

        let upgrade = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        let more: Vec<&str> = upgrade.iter().chain(forwarded.upgrade).copied().collect();
        let mut conn = Connection::open(server.addr());
        conn.write(forwarded.request("GET", WEBSOCKET, &more, ""));
        let response = conn.response();
        assert_eq!(response.status, 101, "{}: {response:?}", forwarded.proxy);
    }
}
