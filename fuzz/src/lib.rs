//! The fuzz targets of eio-core as functions: one for each parser or state machine that processes a peer's bytes.
//!
//! `laws` states the properties of any input. `peers` passes the same input to another implementation of the format,
//! and names and explains each allowed difference. The binaries for libFuzzer are in `targets/`, their seeds in
//! `corpus/`; see README.md.

#![forbid(unused_must_use)]

mod laws;
mod peers;

macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident: $($check:path),+;)*) => {
        $($(#[$doc])* pub fn $name(data: &[u8]) { $($check(data);)+ })*

        /// Every target by name.
        #[cfg(test)]
        const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name)),*];
    };
}

targets! {
    /// One packet, as text or binary.
    packet: laws::packet::run, peers::engineioxide::packet;
    /// A polling body.
    payload: laws::payload::run, peers::engineioxide::payload;
    /// WebSocket frames from a client.
    ws_server: laws::ws::server, peers::tungstenite::server;
    /// WebSocket frames from a server.
    ws_client: laws::ws::client, peers::tungstenite::client;
    /// Compressed messages, and the negotiation of compression.
    deflate: laws::deflate::run, peers::deflate::payload;
    /// HTTP requests on one connection.
    http_request: laws::http::requests, peers::picohttpparser::request;
    /// HTTP responses on one connection.
    http_response: laws::http::responses, peers::picohttpparser::response;
    /// A response head with any number of lines.
    response_lines: laws::response_lines::run, peers::picohttpparser::response;
    /// A body without its head.
    chunked_body: laws::chunked_body::run, peers::picohttpparser::chunked;
    /// A query, a request target and a URL.
    query: laws::query::run, peers::web::query, peers::web::target, peers::web::url;
    /// The path of a static file.
    file_path: laws::file_path::run, peers::web::file_path;
    /// The JSON of an open packet.
    open_json: laws::open_json::run, peers::json::open;
    /// The header of the PROXY protocol.
    proxy_protocol: laws::proxy_protocol::run;
    /// Any sequence of calls of a server session.
    server_session: laws::server_session::run;
    /// Any sequence of calls of a client session.
    client_session: laws::client_session::run;
    /// The hello of a node of a cluster.
    cluster_hello: laws::cluster_hello::run;
    /// The handshake and the preamble of a link between nodes.
    cluster_link: laws::cluster_link::run;
    /// A message on the bus of a cluster.
    cluster_bus: laws::cluster_bus::run;
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// With the other implementations; eio-core's own tests replay the seeds without them.
    #[test]
    fn seeds_keep_the_laws_and_agree_with_other_implementations() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        for (name, run) in super::TARGETS {
            let seeds = fs::read_dir(corpus.join(name)).expect("every target has seeds");
            let paths: Vec<_> = seeds.map(|seed| seed.expect("a seed").path()).collect();
            assert!(paths.len() > 2, "{name} has too few seeds");
            for path in paths {
                eprintln!("{}", path.display());
                run(&fs::read(path).expect("a seed"));
            }
        }
    }
}
