//! Replays the seeds of the fuzz targets: examples of the protocol, edge cases, and inputs that a fuzzer found.
//!
//! The laws and the seeds are in `fuzz/`, which is a workspace of its own and not part of this package.

#[path = "../../fuzz/src/laws/mod.rs"]
mod laws;

use std::{fs, path::Path};

/// Runs one target over its seeds. The last path printed is that of the seed that breaks a law.
fn replay(target: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut count = 0;
    for seed in fs::read_dir(&seeds).expect("every target has seeds") {
        let path = seed.expect("a seed").path();
        eprintln!("{}", path.display());
        run(&fs::read(&path).expect("a seed"));
        count += 1;
    }
    assert!(count > 10, "{target} has too few seeds");
}

macro_rules! replay {
    ($($test:ident: $target:literal, $run:path;)*) => {
        $(#[test] fn $test() { replay($target, $run); })*
    };
}

replay! {
    packet_obeys_the_laws: "packet", laws::packet::run;
    payload_obeys_the_laws: "payload", laws::payload::run;
    frame_from_a_client_obeys_the_laws: "ws_server", laws::ws::server;
    frame_from_a_server_obeys_the_laws: "ws_client", laws::ws::client;
    compressed_message_obeys_the_laws: "deflate", laws::deflate::run;
    request_obeys_the_laws: "http_request", laws::http::requests;
    response_obeys_the_laws: "http_response", laws::http::responses;
    lines_of_a_response_obey_the_laws: "response_lines", laws::response_lines::run;
    body_obeys_the_laws: "chunked_body", laws::chunked_body::run;
    query_obeys_the_laws: "query", laws::query::run;
    path_stays_inside_the_root: "file_path", laws::file_path::run;
    handshake_obeys_the_laws: "open_json", laws::open_json::run;
    proxy_header_obeys_the_laws: "proxy_protocol", laws::proxy_protocol::run;
    server_session_obeys_the_laws: "server_session", laws::server_session::run;
    client_session_obeys_the_laws: "client_session", laws::client_session::run;
    hello_of_a_node_obeys_the_laws: "cluster_hello", laws::cluster_hello::run;
    link_between_nodes_obeys_the_laws: "cluster_link", laws::cluster_link::run;
    message_on_the_bus_obeys_the_laws: "cluster_bus", laws::cluster_bus::run;
}
