//! Parts that both boards share: the log, the thermometer in the chip, the watchdog, and the sensor application.

#![no_std]

use core::cell::RefCell;
use core::fmt;
use core::fmt::Write as _;

use defmt_rtt as _;
use eio_embassy::tcp::TcpConnector;
use eio_embassy::{Buffers, Config};
use eio_embassy_sensor::health::{Health, watch};
use eio_embassy_sensor::settings::SERVER;
use eio_embassy_sensor::{Board, Memory};
use embassy_net::Stack;
use embassy_rp::adc::{Adc, Blocking, Channel};
use embassy_rp::clocks::RoscRng;
use embassy_rp::flash::Flash;
use embassy_rp::peripherals::{ADC, ADC_TEMP_SENSOR, FLASH, PIN_0, UART0, WATCHDOG};
use embassy_rp::uart::{self, UartTx};
use embassy_rp::watchdog::Watchdog;
use embassy_rp::{Peri, adc};
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::{Duration, with_timeout};
use static_cell::ConstStaticCell;

static TCP_RX: ConstStaticCell<[u8; 1536]> = ConstStaticCell::new([0; 1536]);
static TCP_TX: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);
static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Buffers::new());

/// For the supervisor of the radio and for the watchdog.
pub static HEALTH: Health = Health::new();

/// The longest timeout of the watchdog of an RP2040 is 8.3 s.
const WATCHDOG_TIMEOUT: Duration = Duration::from_secs(8);

type Serial = UartTx<'static, uart::Blocking>;

static SERIAL: Mutex<CriticalSectionRawMutex, RefCell<Option<Serial>>> =
    Mutex::new(RefCell::new(None));

/// Opens the serial line: UART0 on GPIO 0, 115200 baud.
pub fn open_serial(uart: Peri<'static, UART0>, tx: Peri<'static, PIN_0>) {
    let serial = UartTx::new_blocking(uart, tx, uart::Config::default());
    SERIAL.lock(|shared| *shared.borrow_mut() = Some(serial));
}

/// Writes a line to the debug probe (RTT) and to the serial line.
pub fn log(what: fmt::Arguments<'_>) {
    struct Line<'s>(&'s mut Serial);

    impl fmt::Write for Line<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.blocking_write(text.as_bytes()).map_err(|_| fmt::Error)
        }
    }

    defmt::info!("{}", defmt::Display2Format(&what));
    SERIAL.lock(|shared| {
        if let Some(serial) = shared.borrow_mut().as_mut() {
            let _ = writeln!(Line(serial), "{what}");
        }
    });
}

/// The identifier of the flash chip, unique to the board.
pub fn flash_id(flash: Peri<'static, FLASH>) -> [u8; 8] {
    let mut id = [0; 8];
    let mut flash = Flash::<_, _, { 2 * 1024 * 1024 }>::new_blocking(flash);
    let _ = flash.blocking_unique_id(&mut id);
    id
}

/// The light of a board, which the radio controls on a Pico W.
pub trait Light {
    /// Switches the light.
    fn set(&mut self, on: bool) -> impl Future<Output = ()>;
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
        log(what);
    }
}

/// Starts the watchdog, and feeds it as long as the application makes progress.
#[embassy_executor::task]
pub async fn watchdog(watchdog: Peri<'static, WATCHDOG>) -> ! {
    let mut watchdog = Watchdog::new(watchdog);
    watchdog.pause_on_debug(true);
    watchdog.start(WATCHDOG_TIMEOUT);
    watch(&HEALTH, || watchdog.feed(WATCHDOG_TIMEOUT)).await
}

/// Runs the sensor forever.
pub async fn run(stack: Stack<'static>, thermometer: Thermometer, light: impl Light) -> ! {
    // Without an address the attempts fail, and the supervisor of a radio joins again.
    let _ = with_timeout(Duration::from_secs(30), stack.wait_config_up()).await;
    match stack.config_v4() {
        Some(config) => log(format_args!("address {}", config.address)),
        None => log(format_args!("no address yet")),
    }
    let network = TcpConnector::new(stack, TCP_RX.take(), TCP_TX.take());
    let board = Pico { thermometer, light };
    let random = || RoscRng.next_u32();
    let config = Config::new(SERVER);
    eio_embassy_sensor::run(network, &config, MEMORY.take(), board, random, &HEALTH).await
}

/// A panic is a bug of the program: it is logged, and the board restarts.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    cortex_m::peripheral::SCB::sys_reset()
}
