//! The device on Linux: a reading each 100 ms, also while there is no connection.

use std::thread;
use std::time::Duration;

use eio_embassy::Config;
use eio_embassy::edge::EdgeConnector;
use eio_embassy_outbox::{Data, Memory, Outbox, run};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;

static READINGS: Channel<CriticalSectionRawMutex, Data, 4> = Channel::new();

fn main() {
    let Some(host) = std::env::args().nth(1) else {
        eprintln!("usage: outbox HOST[:PORT]");
        std::process::exit(64);
    };
    thread::spawn(|| {
        for reading in 1_u32.. {
            let data = Data::from_slice(reading.to_string().as_bytes()).unwrap_or_default();
            async_io::block_on(READINGS.send(data));
            thread::sleep(Duration::from_millis(100));
        }
    });
    let stack = edge_nal_std::Stack::new();
    let network = EdgeConnector::new(&stack);
    let (mut memory, mut outbox) = (Memory::new(), Outbox::<256>::new());
    let readings = READINGS.receiver();
    let log = |error| println!("lost: {error}");
    async_io::block_on(run(
        network,
        &Config::new(&host),
        &mut memory,
        rand::random,
        readings,
        &mut outbox,
        log,
    ));
}
