//! Parts that both boards share: the serial line, the thermometer in the chip, and the sensor application.

#![no_std]

use core::fmt;
use core::fmt::Write as _;

use eio_embassy::tcp::TcpConnector;
use eio_embassy::{Buffers, Config};
use eio_embassy_sensor::{Board, Memory};
use embassy_net::Stack;
use embassy_rp::adc::{Adc, Blocking, Channel};
use embassy_rp::clocks::RoscRng;
use embassy_rp::peripherals::{ADC, ADC_TEMP_SENSOR, PIN_0, UART0};
use embassy_rp::uart::{self, UartTx};
use embassy_rp::{Peri, adc};
use static_cell::ConstStaticCell;

/// The server's address: `EIO_SERVER` at compile time.
const SERVER: &str = match option_env!("EIO_SERVER") {
    Some(server) => server,
    None => "192.168.1.10:3000",
};

static TCP_RX: ConstStaticCell<[u8; 1536]> = ConstStaticCell::new([0; 1536]);
static TCP_TX: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);
static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Buffers::new());

/// The light of a board, which the radio controls on a Pico W.
pub trait Light {
    /// Switches the light.
    fn set(&mut self, on: bool) -> impl Future<Output = ()>;
}

/// UART0, 115200 baud, on GPIO 0.
pub struct Serial(UartTx<'static, uart::Blocking>);

impl Serial {
    /// Opens the serial line.
    pub fn new(uart: Peri<'static, UART0>, tx: Peri<'static, PIN_0>) -> Self {
        Self(UartTx::new_blocking(uart, tx, uart::Config::default()))
    }

    /// Writes a line.
    pub fn log(&mut self, what: fmt::Arguments<'_>) {
        let _ = writeln!(self, "{what}");
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.blocking_write(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// The thermometer in the chip.
pub struct Thermometer {
    adc: Adc<'static, Blocking>,
    channel: Channel<'static>,
}

impl Thermometer {
    /// Opens the converter.
    pub fn new(adc: Peri<'static, ADC>, sensor: Peri<'static, ADC_TEMP_SENSOR>) -> Self {
        let adc = Adc::new_blocking(adc, adc::Config::default());
        Self { adc, channel: Channel::new_temp_sensor(sensor) }
    }

    /// > T = 27 - (ADC_voltage - 0.706)/0.001721 (RP2040 datasheet, section 4.9.5), in thousandths of a degree.
    fn read(&mut self) -> i32 {
        let raw = i32::from(self.adc.blocking_read(&mut self.channel).unwrap_or(0));
        // 3.3 V is 4096. The factors are split so that no product exceeds 31 bits.
        let microvolts = raw * 103_125 / 128;
        27_000 - (microvolts - 706_000) * 250 / 1721 * 4
    }
}

struct Pico<L> {
    serial: Serial,
    thermometer: Thermometer,
    light: L,
}

impl<L: Light> Board for Pico<L> {
    async fn temperature(&mut self) -> i32 {
        self.thermometer.read()
    }

    async fn led(&mut self, on: bool) {
        self.light.set(on).await;
    }

    fn log(&mut self, what: fmt::Arguments<'_>) {
        self.serial.log(what);
    }
}

/// Runs the sensor forever.
pub async fn run(
    stack: Stack<'static>,
    mut serial: Serial,
    thermometer: Thermometer,
    light: impl Light,
) -> ! {
    stack.wait_config_up().await;
    if let Some(config) = stack.config_v4() {
        serial.log(format_args!("address {}", config.address));
    }
    let network = TcpConnector::new(stack, TCP_RX.take(), TCP_TX.take());
    let board = Pico { serial, thermometer, light };
    eio_embassy_sensor::run(network, &Config::new(SERVER), MEMORY.take(), board, || {
        RoscRng.next_u32()
    })
    .await
}

/// A panic is a bug of the program: the board restarts.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
