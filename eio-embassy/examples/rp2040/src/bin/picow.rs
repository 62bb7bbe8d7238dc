//! The sensor on a Pico W. Not run on hardware: no emulator has its radio.

#![no_std]
#![no_main]

use cyw43::{A4, Aligned, Control, JoinError, JoinOptions, PowerManagementMode, SpiBus};
use cyw43_firmware::{CYW43_43439A0, CYW43_43439A0_CLM};
use cyw43_pio::{DEFAULT_CLOCK_DIVIDER, PioSpi};
use eio_embassy_rp2040::{HEALTH, Light, Thermometer, log, open_serial, run, watchdog};
use eio_embassy_sensor::radio::{Radio, supervise};
use eio_embassy_sensor::settings::{self, PASSWORD, SSID};
use embassy_executor::Spawner;
use embassy_net::{Stack, StackResources};
use embassy_rp::clocks::RoscRng;
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{DMA_CH0, PIO0};
use embassy_rp::pio::{InterruptHandler, Pio};
use embassy_rp::{bind_interrupts, dma};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use static_cell::StaticCell;

bind_interrupts!(struct Interrupts {
    PIO0_IRQ_0 => InterruptHandler<PIO0>;
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>;
});

type Bus = SpiBus<Output<'static>, PioSpi<'static, PIO0, 0>>;

static FIRMWARE: Aligned<A4, [u8; CYW43_43439A0.len()]> = Aligned(*CYW43_43439A0);
const NVRAM_BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/nvram.bin"));
static NVRAM: Aligned<A4, [u8; NVRAM_BYTES.len()]> = Aligned({
    let mut bytes = [0; NVRAM_BYTES.len()];
    bytes.copy_from_slice(NVRAM_BYTES);
    bytes
});

static STATE: StaticCell<cyw43::State> = StaticCell::new();
static RESOURCES: StaticCell<StackResources<3>> = StaticCell::new();

/// The controller of the radio, for the supervisor and for the light.
type Shared = Mutex<NoopRawMutex, Control<'static>>;

static CONTROL: StaticCell<Shared> = StaticCell::new();

/// The light is on a pin of the radio. It waits while the radio joins.
struct Led(&'static Shared);

impl Light for Led {
    async fn set(&mut self, on: bool) {
        self.0.lock().await.gpio_set(0, on).await;
    }
}

struct Station {
    control: &'static Shared,
    stack: Stack<'static>,
}

impl Radio for Station {
    type Error = JoinError;

    async fn join(&mut self) -> Result<(), JoinError> {
        let options = match PASSWORD {
            "" => JoinOptions::new_open(),
            password => JoinOptions::new(password.as_bytes()),
        };
        self.control.lock().await.join(SSID, options).await
    }

    /// cyw43 0.7 does not report that an access point has dropped the station (it ignores DEAUTH_IND and DISASSOC_IND), so
    /// failed attempts of the application are the other reason to join again.
    async fn lost(&mut self) {
        self.stack.wait_link_down().await;
    }

    async fn leave(&mut self) {
        self.control.lock().await.leave().await;
    }
}

#[embassy_executor::task]
async fn station(station: Station) -> ! {
    supervise(station, &HEALTH, log).await
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
    open_serial(p.UART0, p.PIN_0);
    log(format_args!("boot"));
    spawner.spawn(watchdog(p.WATCHDOG).expect("spawned once"));

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
    control.set_power_management(PowerManagementMode::PowerSave).await;

    let resources = RESOURCES.init(StackResources::new());
    let seed = RoscRng.next_u64();
    let (stack, runner) = embassy_net::new(device, settings::network(), resources, seed);
    spawner.spawn(network(runner).expect("spawned once"));

    let control = CONTROL.init(Mutex::new(control));
    spawner.spawn(station(Station { control, stack }).expect("spawned once"));
    run(stack, Thermometer::new(p.ADC, p.ADC_TEMP_SENSOR), Led(control)).await
}
