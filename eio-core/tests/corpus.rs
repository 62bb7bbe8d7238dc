//! The seeds of the fuzz targets, replayed: each is an example of the protocol, a nasty case, or what a fuzzer
//! once found.
//!
//! The laws and the seeds live in `fuzz/`, which is a workspace of its own and not part of this package.

#[path = "../../fuzz/src/laws/mod.rs"]
mod laws;

use std::{fs, path::Path};

/// Runs one target over its seeds; the one that breaks a law is the last that is named.
fn replay(target: &str, run: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut count = 0;
    for seed in fs::read_dir(&seeds).expect("every target has seeds") {
        let path = seed.expect("a seed").path();
        eprintln!("{}", path.display());
        run(&fs::read(&path).expect("a seed"));
        count += 1;
    }
    assert!(count > 10, "{target} has hardly a seed");
}

macro_rules! replay {
    ($($test:ident: $target:literal, $run:path;)*) => {
        $(#[test] fn $test() { replay($target, $run); })*
    };
}

replay! {
    no_packet_breaks_a_law: "packet", laws::packet::run;
    no_payload_breaks_a_law: "payload", laws::payload::run;
    no_frame_from_a_client_breaks_a_law: "ws_server", laws::ws::server;
    no_frame_from_a_server_breaks_a_law: "ws_client", laws::ws::client;
    no_compressed_message_breaks_a_law: "deflate", laws::deflate::run;
    no_request_breaks_a_law: "http_request", laws::http::requests;
    no_response_breaks_a_law: "http_response", laws::http::responses;
    no_body_breaks_a_law: "chunked_body", laws::chunked_body::run;
    no_query_breaks_a_law: "query", laws::query::run;
    no_path_leads_out: "file_path", laws::file_path::run;
    no_handshake_breaks_a_law: "open_json", laws::open_json::run;
    no_calls_of_a_server_session_break_a_law: "server_session", laws::server_session::run;
    no_calls_of_a_client_session_break_a_law: "client_session", laws::client_session::run;
}
