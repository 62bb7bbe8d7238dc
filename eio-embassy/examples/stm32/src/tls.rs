//! The requirements of TLS besides the connector: the authority of the server, and the time.

use core::sync::atomic::{AtomicU32, Ordering};

use eio_embassy::tls::{TlsConfig, TlsMemory};
use eio_embassy_sensor::sntp;
use embassy_net::Stack;
use embassy_time::{Instant, Timer};
use static_cell::ConstStaticCell;

/// `EIO_AUTHORITY`: the file of the authority's certificate, in DER.
const AUTHORITY: &[u8] = include_bytes!(env!(
    "EIO_AUTHORITY",
    "set EIO_AUTHORITY to the absolute path of the authority's certificate in DER"
));

// The tag of a sequence.
const _: () = assert!(
    matches!(AUTHORITY, [0x30, ..]),
    "EIO_AUTHORITY is not DER: openssl x509 -in authority.pem -outform der -out authority.der"
);

/// `EIO_NTP`: the server of the time, by default a public one.
const NTP: &str = match option_env!("EIO_NTP") {
    Some(host) => host,
    None => "pool.ntp.org",
};

/// A record of 4,096 bytes holds the chain of a public authority.
pub static MEMORY: ConstStaticCell<TlsMemory<4352>> = ConstStaticCell::new(TlsMemory::new());

pub const CONFIG: TlsConfig<'_> = TlsConfig::new(&[AUTHORITY], unix_time);

/// The time of the start in seconds since 1970, or 0 as long as it is not known.
static STARTED: AtomicU32 = AtomicU32::new(0);

fn unix_time() -> Option<u64> {
    match STARTED.load(Ordering::Relaxed) {
        0 => None,
        started => Some(u64::from(started) + Instant::now().as_secs()),
    }
}

/// Asks for the time until a server answers, and then each day, because a crystal is late by seconds a day.
pub async fn clock(stack: Stack<'_>, mut random: impl FnMut() -> u32) -> ! {
    loop {
        let nonce = u64::from(random()) << 32 | u64::from(random());
        let time = sntp::ask(stack, NTP, nonce).await;
        let started = time.and_then(|now| now.checked_sub(Instant::now().as_secs()));
        match started.and_then(|started| u32::try_from(started).ok()) {
            Some(started) => {
                STARTED.store(started, Ordering::Relaxed);
                Timer::after_secs(86_400).await;
            }
            None => Timer::after_secs(5).await,
        }
    }
}
