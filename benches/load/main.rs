//! `eio-load` puts load on an Engine.IO server (`EIO=4`) from one thread, and measures the cost for the server.
//!
//! Every echo is compared byte for byte with the message, in order. The result is one JSON line on stdout; `--help` and
//! `benches/README.md` describe its fields.

mod args;
mod broadcast;
mod cycle;
mod echo;
mod idle;
mod net;
mod payload;
mod polling;
mod procfs;
mod proto;
mod report;
mod tls;
mod window;
mod ws;

use args::{Args, Mode};
use clap::Parser;

fn main() {
    let args = Args::parse();
    match args.mode {
        Mode::WsEcho | Mode::RawWsEcho | Mode::TcpEcho | Mode::Mixed => echo::run(args),
        Mode::PollingEcho | Mode::HttpHello => polling::run(args),
        Mode::Connect | Mode::Upgrade => cycle::run(args),
        Mode::Idle | Mode::IdleRaw => idle::run(args),
        Mode::Broadcast => broadcast::run(args),
    }
}

/// Ends the run and discards its figures.
fn die(message: &str) -> ! {
    eprintln!("eio-load: {message}");
    println!("{}", report::Report::new().text("fatal", message));
    std::process::exit(2);
}
