//! The sensor on a Pico W.

#![no_std]
#![no_main]

use cyw43::{A4, Aligned, Control, JoinOptions, SpiBus};
use cyw43_firmware::{CYW43_43439A0, CYW43_43439A0_CLM};
use cyw43_pio::{DEFAULT_CLOCK_DIVIDER, PioSpi};
use eio_embassy_rp2040::{Light, Serial, Thermometer, run};
use embassy_executor::Spawner;
use embassy_net::{Config, StackResources};
use embassy_rp::clocks::RoscRng;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{DMA_CH0, PIO0};
use embassy_rp::pio::{InterruptHandler, Pio};
use embassy_rp::{bind_interrupts, dma};
use embassy_time::Timer;
use static_cell::StaticCell;

bind_interrupts!(struct Interrupts {
    PIO0_IRQ_0 => InterruptHandler<PIO0>;
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>;
});

type Bus = SpiBus<Output<'static>, PioSpi<'static, PIO0, 0>>;

/// `WIFI_SSID` and `WIFI_PASSWORD` at compile time.
const SSID: &str = match option_env!("WIFI_SSID") {
    Some(ssid) => ssid,
    None => "ssid",
};
const PASSWORD: &str = match option_env!("WIFI_PASSWORD") {
    Some(password) => password,
    None => "password",
};

static FIRMWARE: Aligned<A4, [u8; CYW43_43439A0.len()]> = Aligned(*CYW43_43439A0);
const NVRAM_BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/nvram.bin"));
static NVRAM: Aligned<A4, [u8; NVRAM_BYTES.len()]> = Aligned({
    let mut bytes = [0; NVRAM_BYTES.len()];
    bytes.copy_from_slice(NVRAM_BYTES);
    bytes
});

static STATE: StaticCell<cyw43::State> = StaticCell::new();
static RESOURCES: StaticCell<StackResources<3>> = StaticCell::new();

/// The light is on a pin of the radio.
struct Led(Control<'static>);

impl Light for Led {
    async fn set(&mut self, on: bool) {
        self.0.gpio_set(0, on).await;
    }
}

#[embassy_executor::task]
async fn radio(runner: cyw43::Runner<'static, Bus>) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn network(mut runner: embassy_net::Runner<'static, cyw43::NetDriver<'static>>) -> ! {
    runner.run().await
}

#[embassy_executor::main(executor = "embassy_rp::executor::Executor", entry = "cortex_m_rt::entry")]
async fn main(spawner: Spawner) {
    let p = embassy_rp::init(Default::default());
    let mut serial = Serial::new(p.UART0, p.PIN_0);
    serial.log(format_args!("boot"));
    if NVRAM_BYTES.is_empty() {
        serial.log(format_args!("built without CYW43_NVRAM: the radio does not start"));
    }

    let power = Output::new(p.PIN_23, Level::Low);
    let select = Output::new(p.PIN_25, Level::High);
    let mut pio = Pio::new(p.PIO0, Interrupts);
    let bus = PioSpi::new(
        &mut pio.common,
        pio.sm0,
        DEFAULT_CLOCK_DIVIDER,
        pio.irq0,
        select,
        p.PIN_24,
        p.PIN_29,
        dma::Channel::new(p.DMA_CH0, Interrupts),
    );
    let state = STATE.init(cyw43::State::new());
    let (device, mut control, runner) = cyw43::new(state, power, bus, &FIRMWARE, &NVRAM).await;
    spawner.spawn(radio(runner).expect("spawned once"));
    control.init(CYW43_43439A0_CLM).await;

    let resources = RESOURCES.init(StackResources::new());
    let dhcp = Config::dhcpv4(Default::default());
    let (stack, runner) = embassy_net::new(device, dhcp, resources, RoscRng.next_u64());
    spawner.spawn(network(runner).expect("spawned once"));

    while control.join(SSID, JoinOptions::new(PASSWORD.as_bytes())).await.is_err() {
        serial.log(format_args!("cannot join {SSID}"));
        Timer::after_secs(5).await;
    }
    let thermometer = Thermometer::new(p.ADC, p.ADC_TEMP_SENSOR);
    run(stack, serial, thermometer, Led(control)).await
}
