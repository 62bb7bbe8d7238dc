//! The sensor on an ESP32-C3 with Wi-Fi.

#![no_std]
#![no_main]

use core::fmt;

use eio_embassy::tcp::TcpConnector;
use eio_embassy::{Buffers, Config};
use eio_embassy_sensor::{Board, Memory};
use embassy_executor::Spawner;
use embassy_net::StackResources;
use embassy_time::Timer;
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_hal::ram;
use esp_hal::rng::Rng;
use esp_hal::timer::timg::TimerGroup;
use esp_hal::tsens::{self, TemperatureSensor};
use esp_println::println;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{self, AuthenticationMethodConfig, Interface, WifiController};
use static_cell::{ConstStaticCell, StaticCell};

esp_bootloader_esp_idf::esp_app_desc!();

/// `EIO_SERVER`, `WIFI_SSID` and `WIFI_PASSWORD` at compile time.
const SERVER: &str = match option_env!("EIO_SERVER") {
    Some(server) => server,
    None => "192.168.1.10:3000",
};
const SSID: &str = match option_env!("WIFI_SSID") {
    Some(ssid) => ssid,
    None => "ssid",
};
const PASSWORD: &str = match option_env!("WIFI_PASSWORD") {
    Some(password) => password,
    None => "password",
};

static TCP_RX: ConstStaticCell<[u8; 1536]> = ConstStaticCell::new([0; 1536]);
static TCP_TX: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);
static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Buffers::new());
static RESOURCES: StaticCell<StackResources<3>> = StaticCell::new();

struct C3 {
    thermometer: Option<TemperatureSensor<'static>>,
    light: Output<'static>,
}

impl Board for C3 {
    async fn temperature(&mut self) -> i32 {
        let celsius = self.thermometer.as_ref().map(|sensor| sensor.get_temperature().to_celsius());
        celsius.map_or(0, |celsius| (celsius * 1000.0) as i32)
    }

    async fn led(&mut self, on: bool) {
        self.light.set_level(on.into());
    }

    fn log(&mut self, what: fmt::Arguments<'_>) {
        println!("{what}");
    }
}

#[embassy_executor::task]
async fn network(mut runner: embassy_net::Runner<'static, Interface>) -> ! {
    runner.run().await
}

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    let p = esp_hal::init(esp_hal::Config::default());
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 36 * 1024);
    let timers = TimerGroup::new(p.TIMG0);
    esp_rtos::start(timers.timer0, p.FROM_CPU_INTR0);

    let mut radio = WifiController::new(p.WIFI, Default::default()).expect("the radio starts");
    let authentication =
        AuthenticationMethodConfig::Wpa2Personal(PASSWORD.try_into().expect("at most 64 bytes"));
    let station = StationConfig::default()
        .with_ssid(SSID.try_into().expect("at most 32 bytes"))
        .with_authentication(authentication);
    radio.set_config(&wifi::Config::Station(station)).expect("the configuration is valid");
    while radio.connect_async().await.is_err() {
        println!("cannot join {SSID}");
        Timer::after_secs(5).await;
    }

    // The random generator of the chip is a true one while the radio runs.
    let rng = Rng::new();
    let seed = u64::from(rng.random()) << 32 | u64::from(rng.random());
    let dhcp = embassy_net::Config::dhcpv4(Default::default());
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) = embassy_net::new(Interface::station(), dhcp, resources, seed);
    spawner.spawn(network(runner).expect("spawned once"));
    stack.wait_config_up().await;
    if let Some(config) = stack.config_v4() {
        println!("address {}", config.address);
    }

    let board = C3 {
        thermometer: TemperatureSensor::new(p.TSENS, tsens::Config::default()).ok(),
        light: Output::new(p.GPIO8, Level::Low, OutputConfig::default()),
    };
    let connector = TcpConnector::new(stack, TCP_RX.take(), TCP_TX.take());
    eio_embassy_sensor::run(connector, &Config::new(SERVER), MEMORY.take(), board, move || {
        rng.random()
    })
    .await
}

/// A panic is a bug of the program: it is printed, and the board restarts.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    println!("{info}");
    esp_hal::system::software_reset()
}
