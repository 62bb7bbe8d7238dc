//! The cost of the client: the size of this firmware with the feature `client`, less its size over a bare socket.

#![no_std]
#![no_main]

use eio_embassy_qemu::{network, run};
use embassy_executor::Spawner;
use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, Ticker};
use static_cell::ConstStaticCell;

static TCP_RX: ConstStaticCell<[u8; 1536]> = ConstStaticCell::new([0; 1536]);
static TCP_TX: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);

#[cortex_m_rt::entry]
fn start() -> ! {
    run(|spawner| main(spawner).expect("spawned once"))
}

#[embassy_executor::task]
async fn main(spawner: Spawner) {
    let stack = network(spawner).await;
    let mut socket = TcpSocket::new(stack, TCP_RX.take(), TCP_TX.take());
    let gateway = stack.config_v4().and_then(|config| config.gateway);
    let Some(gateway) = gateway else { return };
    if socket.connect((gateway, 3000)).await.is_err() {
        return;
    }
    let (reader, writer) = socket.split();
    let ticker = Ticker::every(Duration::from_secs(1));
    let _ = session(reader, writer, ticker).await;
}

#[cfg(feature = "client")]
async fn session(
    reader: embassy_net::tcp::TcpReader<'_>,
    writer: embassy_net::tcp::TcpWriter<'_>,
    mut ticker: Ticker,
) -> Result<(), eio_embassy::Error> {
    use eio_embassy::{Buffers, Client, Config, Message};
    use eio_embassy_qemu::toy;
    use embassy_futures::select::{Either, select};

    static BUFFERS: ConstStaticCell<Buffers<1536, 512>> = ConstStaticCell::new(Buffers::new());

    let config = Config::new("192.0.2.2:3000");
    let mut client = Client::connect(reader, writer, &config, BUFFERS.take(), toy()).await?;
    loop {
        match select(client.recv(), ticker.next()).await {
            Either::First(message) => {
                if let Message::Text("stop") = message? {
                    return client.disconnect().await;
                }
            }
            Either::Second(()) => client.send(&[1, 2, 3]).await?,
        }
    }
}

#[cfg(not(feature = "client"))]
async fn session(
    mut reader: embassy_net::tcp::TcpReader<'_>,
    mut writer: embassy_net::tcp::TcpWriter<'_>,
    mut ticker: Ticker,
) -> Result<(), embassy_net::tcp::Error> {
    use embassy_futures::select::{Either, select};

    let mut buffer = [0; 16];
    loop {
        match select(reader.read(&mut buffer), ticker.next()).await {
            Either::First(n) => {
                if buffer.get(..n?) == Some(b"stop") {
                    return writer.flush().await;
                }
            }
            Either::Second(()) => {
                writer.write(&[1, 2, 3]).await?;
            }
        }
    }
}
