//! An echo test over TLS, with the certificate of the server checked: over a WebSocket (`websocket`), over HTTP
//! long-polling on two connections (`polling`), over a WebSocket after an upgrade (`upgrade`), or against a server that
//! says nothing (`silent`), which ends within the number of milliseconds.
//!
//! `-semihosting-config enable=on,target=native,arg=tls,arg=<port>,arg=<scenario>,arg=<number>,arg=<authority.der>`

#![no_std]
#![no_main]

use core::fmt::Write as _;
use core::sync::atomic::{AtomicU32, Ordering};

use eio_embassy::tcp::TcpConnector;
use eio_embassy::tls::{TlsConfig, TlsConnector, TlsMemory, TlsRunner};
use eio_embassy::{
    Buffers, Config, Connector, Error, Message, PollingClient, Timeout, connect,
    connect_and_upgrade,
};
use eio_embassy_qemu::{network, run, stack_used};
use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_time::{Duration, Instant};
use semihosting::io::Read as _;
use semihosting::{fs::File, println, process, sys::arm_compat::sys_time};
use static_cell::{ConstStaticCell, StaticCell};

/// Chains of two certificates on P-256.
type Tls = TlsMemory<2304>;
type Runner = TlsRunner<'static, TcpConnector<'static>, fn() -> u32>;

/// TCP buffers, TLS memory, and buffers of the client, for each of two connections.
struct Memory {
    rx: [u8; 1536],
    tx: [u8; 1024],
    tls: Tls,
}

impl Memory {
    const fn new() -> Self {
        Self { rx: [0; 1536], tx: [0; 1024], tls: Tls::new() }
    }
}

static DOWN: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
static UP: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
static RECEIVE: ConstStaticCell<Buffers<1536, 384>> = ConstStaticCell::new(Buffers::new());
static SEND: ConstStaticCell<Buffers<512, 1536>> = ConstStaticCell::new(Buffers::new());
static AUTHORITY: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);
static AUTHORITIES: StaticCell<[&[u8]; 1]> = StaticCell::new();

/// The emulator has no source of entropy, so its keys are predictable. A board must use its random generator.
fn random() -> u32 {
    static STATE: AtomicU32 = AtomicU32::new(0x2545_f491);
    let mut state = STATE.load(Ordering::Relaxed);
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    STATE.store(state, Ordering::Relaxed);
    state
}

/// The clock of the host. A board has a clock with a battery, or asks by SNTP.
fn unix_time() -> Option<u64> {
    sys_time().ok().map(|seconds| seconds as u64)
}

#[cortex_m_rt::entry]
fn start() -> ! {
    run(|spawner| main(spawner).expect("spawned once"))
}

#[embassy_executor::task(pool_size = 2)]
async fn tls_task(mut runner: Runner) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn main(spawner: Spawner) {
    let code = match scenario(spawner).await {
        Ok(()) => 0,
        Err(Failure::Differs(number)) => {
            println!("message {number} differs from its echo");
            1
        }
        Err(Failure::Session(error)) => {
            println!("failed: {error}");
            2
        }
        Err(Failure::Setup) => 3,
    };
    println!(
        "exit {code} at {} ms, stack {} bytes, TLS {} + {} bytes a connection",
        Instant::now().as_millis(),
        stack_used(),
        size_of::<Tls>(),
        size_of::<Runner>() - size_of::<TcpConnector<'_>>(),
    );
    process::exit(code)
}

enum Failure {
    Setup,
    Session(Error),
    Differs(u32),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Session(error)
    }
}

/// Sends `$count` messages, each after the echo of the one before. All clients have the same methods.
macro_rules! talk {
    ($client:expr, $count:ident) => {{
        let mut client = $client;
        println!("open {} at {} ms", client.sid(), Instant::now().as_millis());
        let began = Instant::now();
        let bytes = [b'x'; 900];
        for number in 0..$count {
            let part = bytes.get(..number as usize * 37 % 900).unwrap_or_default();
            client.send(part).await?;
            if client.recv().await? != Message::Binary(part) {
                return Err(Failure::Differs(number));
            }
        }
        println!("echoed {} messages in {} ms", $count, began.elapsed().as_millis());
        client.disconnect().await?;
    }};
}

async fn scenario(spawner: Spawner) -> Result<(), Failure> {
    let arguments = semihosting::experimental::env::args::<256>().map_err(|_| Failure::Setup)?;
    let mut arguments = &arguments;
    let mut next = || arguments.next().and_then(Result::ok).ok_or(Failure::Setup);
    let _ = next()?;
    let port: u16 = next()?.parse().map_err(|_| Failure::Setup)?;
    let name = next()?;
    let number: u32 = next()?.parse().map_err(|_| Failure::Setup)?;
    let authority = read(next()?).ok_or(Failure::Setup)?;

    let stack = network(spawner).await;
    let gateway = stack.config_v4().and_then(|config| config.gateway).ok_or(Failure::Setup)?;
    let mut host = heapless::String::<24>::new();
    write!(host, "{gateway}:{port}").map_err(|_| Failure::Setup)?;
    let timeout = if name == "silent" { number.into() } else { 15_000 };
    let config = TlsConfig::new(AUTHORITIES.init([authority]), unix_time)
        .server_name("localhost")
        .timeout(Duration::from_millis(timeout));
    let mut down = connector(spawner, stack, DOWN.take(), config)?;
    let mut up = connector(spawner, stack, UP.take(), config)?;
    let (receive, send) = (RECEIVE.take(), SEND.take());
    let config = Config::new(&host);
    match name {
        "websocket" => {
            // Twice: a connection after another one.
            for _ in 0..2 {
                talk!(connect(&mut down, &config, receive, random).await?, number);
                down.close().await;
            }
        }
        "upgrade" => talk!(connect_and_upgrade(&mut down, &config, receive, random).await?, number),
        "polling" => {
            let (down, up) = ((&mut down, receive), (&mut up, send));
            talk!(PollingClient::connect(down, up, &config).await?, number);
        }
        _ => {
            let began = Instant::now();
            let error = connect(&mut down, &config, receive, random).await.err();
            println!("{:?} after {} ms", error, began.elapsed().as_millis());
            let in_time = began.elapsed().as_millis() < u64::from(number) + 1_000;
            if error != Some(Error::TimedOut(Timeout::Tls)) || !in_time {
                return Err(Failure::Differs(0));
            }
        }
    }
    Ok(())
}

fn connector(
    spawner: Spawner,
    stack: Stack<'static>,
    memory: &'static mut Memory,
    config: TlsConfig<'static>,
) -> Result<TlsConnector<'static>, Failure> {
    let tcp = TcpConnector::new(stack, &mut memory.rx, &mut memory.tx);
    let random: fn() -> u32 = random;
    let (connector, runner) = TlsConnector::new(tcp, &mut memory.tls, config, random);
    spawner.spawn(tls_task(runner).map_err(|_| Failure::Setup)?);
    Ok(connector)
}

/// A file of the host.
fn read(path: &str) -> Option<&'static [u8]> {
    let mut name = [0; 128];
    name.get_mut(..path.len())?.copy_from_slice(path.as_bytes());
    let name = core::ffi::CStr::from_bytes_until_nul(&name).ok()?;
    let mut file = File::open(name).ok()?;
    let bytes = AUTHORITY.take();
    let mut length = 0;
    loop {
        match file.read(bytes.get_mut(length..)?).ok()? {
            0 => return bytes.get(..length),
            n => length += n,
        }
    }
}
