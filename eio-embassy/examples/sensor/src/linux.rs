//! The sensor on Linux, with a simulated thermometer and a light that is a line on the terminal.

use std::fmt;
use std::time::SystemTime;

use eio_embassy::Config;
use eio_embassy::edge::EdgeConnector;
use eio_embassy_sensor::health::Health;
use eio_embassy_sensor::{Board, Memory, run};

struct Terminal;

impl Board for Terminal {
    async fn temperature(&mut self) -> i32 {
        // Between 20 and 22 degrees, once a minute up and down.
        let seconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64());
        21_000 + (1_000.0 * (seconds * std::f64::consts::TAU / 60.0).sin()) as i32
    }

    async fn led(&mut self, on: bool) {
        println!("the light is {}", if on { "on" } else { "off" });
    }

    fn log(&mut self, what: fmt::Arguments<'_>) {
        println!("{what}");
    }
}

fn main() {
    let Some(host) = std::env::args().nth(1) else {
        eprintln!("usage: sensor HOST[:PORT]");
        std::process::exit(64);
    };
    let stack = edge_nal_std::Stack::new();
    let network = EdgeConnector::new(&stack);
    let mut memory = Memory::new();
    let (config, health) = (Config::new(&host), Health::new());
    async_io::block_on(run(network, &config, &mut memory, Terminal, rand::random, &health));
}
