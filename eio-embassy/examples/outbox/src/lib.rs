//! Delivery with acknowledgements, and a queue for the time without a connection.
//!
//! Engine.IO delivers in order while a session lasts, and says nothing about messages in flight when it ends. A message
//! that must not be lost is kept until the application of the server acknowledges it, and is sent again in the next
//! session. So it may arrive twice: the server remembers the last number of each device, and ignores a number that is not
//! higher.
//!
//! | direction | message |
//! |---|---|
//! | device to server | binary: the number of the message (4 bytes, big-endian), then its data |
//! | server to device | text `ack <number>`: this message and all before it are processed |
//!
//! Numbers begin at 1 after a restart of the device, which loses the queue: the server begins again at 1 when the first
//! number of a session is 1. A device with free flash stores queue and number there.

#![no_std]
#![forbid(unsafe_code)]

mod queue;

pub use queue::{Entry, Outbox};

use eio_embassy::{Backoff, Buffers, Config, Connector, Error, Message, connect};
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::channel::Receiver;

/// The data of a message: at most 32 bytes.
pub type Data = heapless::Vec<u8, 32>;

/// The memory of the client.
pub type Memory = Buffers<1024, 512>;

/// Delivers all that `readings` receives, forever, over each loss of the connection. Without one, the last `N` messages
/// are kept.
///
/// `log` is called with the end of each session.
pub async fn run<M: RawMutex, const N: usize, const Q: usize>(
    mut network: impl Connector,
    config: &Config<'_>,
    memory: &mut Memory,
    mut random: impl FnMut() -> u32,
    readings: Receiver<'_, M, Data, Q>,
    outbox: &mut Outbox<N>,
    mut log: impl FnMut(Error),
) -> ! {
    let mut backoff = Backoff::default();
    loop {
        // The queue is filled while the network is dialled, too.
        let session =
            session(&mut network, config, memory, &mut random, readings, outbox, &mut backoff);
        log(session.await);
        network.close().await;
        collect(backoff.wait(&mut random), readings, outbox).await;
    }
}

/// Runs one session until it ends.
async fn session<M: RawMutex, const N: usize, const Q: usize>(
    network: &mut impl Connector,
    config: &Config<'_>,
    memory: &mut Memory,
    random: &mut impl FnMut() -> u32,
    readings: Receiver<'_, M, Data, Q>,
    outbox: &mut Outbox<N>,
    backoff: &mut Backoff,
) -> Error {
    let connecting = connect(network, config, memory, random);
    let mut client = match collect(connecting, readings, outbox).await {
        Ok(client) => client,
        Err(error) => return error,
    };
    backoff.opened();
    outbox.rewind();
    loop {
        while let Some(message) = outbox.unsent() {
            if let Err(error) = client.send(message.as_slice()).await {
                return error;
            }
            outbox.mark_sent();
        }
        match select(client.recv(), readings.receive()).await {
            Either::First(Ok(Message::Text(text))) => {
                if let Some(number) = text.strip_prefix("ack ").and_then(|text| text.parse().ok()) {
                    outbox.acknowledge(number);
                }
            }
            Either::First(Ok(Message::Binary(_))) => {}
            Either::First(Err(error)) => return error,
            Either::Second(data) => outbox.push(&data),
        }
    }
}

/// Awaits `future`, and puts readings into the queue until then.
async fn collect<F: Future, M: RawMutex, const N: usize, const Q: usize>(
    future: F,
    readings: Receiver<'_, M, Data, Q>,
    outbox: &mut Outbox<N>,
) -> F::Output {
    let collecting = async {
        loop {
            let data = readings.receive().await;
            outbox.push(&data);
        }
    };
    match select(future, collecting).await {
        Either::First(output) => output,
        Either::Second(never) => never,
    }
}
