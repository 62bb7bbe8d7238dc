//! The sensor on an ESP32-C3 with Wi-Fi. Not run on hardware: no emulator has its radio.

#![no_std]
#![no_main]

use core::fmt;

use defmt_rtt as _;
use eio_embassy::tcp::TcpConnector;
use eio_embassy::{Buffers, Config};
use eio_embassy_sensor::health::{Health, watch};
use eio_embassy_sensor::radio::{Radio, supervise};
use eio_embassy_sensor::settings::{self, PASSWORD, SERVER, SSID};
use eio_embassy_sensor::{Board, Memory};
use embassy_executor::Spawner;
use embassy_net::StackResources;
use embassy_time::with_timeout;
use esp_hal::clock::CpuClock;
use esp_hal::efuse;
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_hal::peripherals::TIMG1;
use esp_hal::ram;
use esp_hal::rng::Rng;
use esp_hal::time::Duration;
use esp_hal::timer::timg::{MwdtStage, TimerGroup, Wdt};
#[cfg(feature = "esp32c3")]
use esp_hal::tsens::{self, TemperatureSensor};
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{
    self, AuthenticationMethodConfig, ConnectionError, ControllerConfig, Interface, WifiController,
};
use static_cell::{ConstStaticCell, StaticCell};

esp_bootloader_esp_idf::esp_app_desc!();

static TCP_RX: ConstStaticCell<[u8; 1536]> = ConstStaticCell::new([0; 1536]);
static TCP_TX: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);
static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Buffers::new());
static RESOURCES: StaticCell<StackResources<3>> = StaticCell::new();

static HEALTH: Health = Health::new();

struct C3 {
    #[cfg(feature = "esp32c3")]
    thermometer: Option<TemperatureSensor<'static>>,
    light: Output<'static>,
}

impl Board for C3 {
    #[cfg(feature = "esp32c3")]
    async fn temperature(&mut self) -> i32 {
        let celsius = self.thermometer.as_ref().map(|sensor| sensor.get_temperature().to_celsius());
        celsius.map_or(0, |celsius| (celsius * 1000.0) as i32)
    }

    /// Other chips have other thermometers.
    #[cfg(not(feature = "esp32c3"))]
    async fn temperature(&mut self) -> i32 {
        0
    }

    async fn led(&mut self, on: bool) {
        self.light.set_level(on.into());
    }

    fn log(&mut self, what: fmt::Arguments<'_>) {
        log(what);
    }
}

/// Writes a line to the debug probe (RTT).
fn log(what: fmt::Arguments<'_>) {
    defmt::info!("{}", defmt::Display2Format(&what));
}

struct Station(WifiController<'static>);

impl Radio for Station {
    type Error = ConnectionError;

    async fn join(&mut self) -> Result<(), ConnectionError> {
        self.0.connect_async().await.map(drop)
    }

    async fn lost(&mut self) {
        let _ = self.0.wait_for_disconnect_async().await;
    }

    async fn leave(&mut self) {
        let _ = self.0.disconnect_async().await;
    }
}

#[embassy_executor::task]
async fn station(station: Station) -> ! {
    supervise(station, &HEALTH, log).await
}

#[embassy_executor::task]
async fn watchdog(mut watchdog: Wdt<TIMG1<'static>>) -> ! {
    watchdog.set_timeout(MwdtStage::Stage0, Duration::from_secs(10));
    watchdog.enable();
    watch(&HEALTH, || watchdog.feed()).await
}

#[embassy_executor::task]
async fn network(mut runner: embassy_net::Runner<'static, Interface>) -> ! {
    runner.run().await
}

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    let p = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 36 * 1024);
    let timers = TimerGroup::new(p.TIMG0);
    esp_rtos::start(timers.timer0, p.FROM_CPU_INTR0);
    log(format_args!("boot, MAC {}", efuse::base_mac_address()));
    spawner.spawn(watchdog(TimerGroup::new(p.TIMG1).wdt).expect("spawned once"));

    let authentication = match PASSWORD {
        "" => AuthenticationMethodConfig::Open,
        // WPA3 alone is not an option of esp-radio 1.0.0-beta.1.
        password => AuthenticationMethodConfig::Wpa2Personal(
            password.try_into().expect("a password has at most 64 bytes"),
        ),
    };
    let config = StationConfig::default()
        .with_ssid(SSID.try_into().expect("a name has at most 32 bytes"))
        .with_authentication(authentication);
    let config = ControllerConfig::default().with_initial_config(wifi::Config::Station(config));
    let controller = WifiController::new(p.WIFI, config).expect("the radio starts");

    // The random generator of the chip is a true one while the radio runs.
    let rng = Rng::new();
    let seed = u64::from(rng.random()) << 32 | u64::from(rng.random());
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) =
        embassy_net::new(Interface::station(), settings::network(), resources, seed);
    spawner.spawn(network(runner).expect("spawned once"));
    spawner.spawn(station(Station(controller)).expect("spawned once"));
    // Without an address the attempts fail, and the supervisor of the radio joins again.
    let _ = with_timeout(embassy_time::Duration::from_secs(30), stack.wait_config_up()).await;
    match stack.config_v4() {
        Some(config) => log(format_args!("address {}", config.address)),
        None => log(format_args!("no address yet")),
    }

    let board = C3 {
        #[cfg(feature = "esp32c3")]
        thermometer: TemperatureSensor::new(p.TSENS, tsens::Config::default()).ok(),
        light: Output::new(p.GPIO8, Level::Low, OutputConfig::default()),
    };
    let connector = TcpConnector::new(stack, TCP_RX.take(), TCP_TX.take());
    let (config, random) = (Config::new(SERVER), move || rng.random());
    eio_embassy_sensor::run(connector, &config, MEMORY.take(), board, random, &HEALTH).await
}

/// A panic is a bug of the program: it is logged, and the board restarts.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    esp_hal::system::software_reset()
}
