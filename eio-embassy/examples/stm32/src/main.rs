//! The sensor on a Nucleo-H743ZI2 with Ethernet. Not run on hardware: no emulator has its MAC.

#![no_std]
#![no_main]

#[cfg(feature = "tls")]
mod tls;

use core::cell::RefCell;
use core::fmt;

use defmt_rtt as _;
use eio_embassy::tcp::TcpConnector;
#[cfg(feature = "tls")]
use eio_embassy::tls::TlsConnector;
use eio_embassy::{Buffers, Config};
use eio_embassy_sensor::health::{Health, watch};
use eio_embassy_sensor::settings::{self, SERVER};
use eio_embassy_sensor::{Board, Memory};
use embassy_executor::Spawner;
#[cfg(feature = "tls")]
use embassy_futures::select::{Either3, select3};
use embassy_net::StackResources;
use embassy_stm32::adc::{Adc, SampleTime, Temperature};
use embassy_stm32::eth::{self, Ethernet, GenericPhy, PacketQueue, Sma};
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::peripherals::{ADC3, ETH, ETH_SMA, IWDG1, RNG};
use embassy_stm32::rng::{self, Rng};
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_stm32::{bind_interrupts, uid};
use embassy_time::{Duration, with_timeout};
use static_cell::{ConstStaticCell, StaticCell};

bind_interrupts!(struct Interrupts {
    ETH => eth::InterruptHandler;
    RNG => rng::InterruptHandler<RNG>;
});

type Device = Ethernet<'static, ETH, GenericPhy<Sma<'static, ETH_SMA>>>;

static TCP_RX: ConstStaticCell<[u8; 1536]> = ConstStaticCell::new([0; 1536]);
static TCP_TX: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; 1024]);
static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Buffers::new());
static RESOURCES: StaticCell<StackResources<4>> = StaticCell::new();
static PACKETS: StaticCell<PacketQueue<4, 4>> = StaticCell::new();

static HEALTH: Health = Health::new();

struct Nucleo {
    adc: Adc<'static, ADC3>,
    thermometer: Temperature,
    light: Output<'static>,
}

impl Board for Nucleo {
    /// Without the calibration of the chip: the typical values of the data sheet (DS12110, table 94) are 620 mV at 30
    /// degrees and 2 mV for each degree.
    async fn temperature(&mut self) -> i32 {
        let raw = i32::from(self.adc.blocking_read(&mut self.thermometer, SampleTime::CYCLES810_5));
        // 3.3 V is 65,536.
        let microvolts = raw * 12_890 / 256;
        30_000 + (microvolts - 620_000) / 2
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

#[embassy_executor::task]
async fn watchdog(mut watchdog: IndependentWatchdog<'static, IWDG1>) -> ! {
    watchdog.unleash();
    watch(&HEALTH, || watchdog.pet()).await
}

#[embassy_executor::task]
async fn network(mut runner: embassy_net::Runner<'static, Device>) -> ! {
    runner.run().await
}

/// 400 MHz from the internal oscillator. The random generator needs HSI48, the converter a clock of its own.
fn clocks() -> embassy_stm32::Config {
    use embassy_stm32::rcc::*;

    let pll = |divp| Pll {
        source: PllSource::HSI,
        prediv: PllPreDiv::DIV4,
        mul: PllMul::MUL50,
        fracn: None,
        divp: Some(divp),
        divq: None,
        divr: None,
    };
    let mut config = embassy_stm32::Config::default();
    config.rcc.hsi = Some(HSIPrescaler::DIV1);
    config.rcc.csi = true;
    config.rcc.hsi48 = Some(Default::default());
    config.rcc.pll1 = Some(pll(PllDiv::DIV2));
    config.rcc.pll2 = Some(pll(PllDiv::DIV8));
    config.rcc.sys = Sysclk::PLL1_P;
    config.rcc.ahb_pre = AHBPrescaler::DIV2;
    config.rcc.apb1_pre = APBPrescaler::DIV2;
    config.rcc.apb2_pre = APBPrescaler::DIV2;
    config.rcc.apb3_pre = APBPrescaler::DIV2;
    config.rcc.apb4_pre = APBPrescaler::DIV2;
    config.rcc.voltage_scale = VoltageScale::Scale1;
    config.rcc.mux.adcsel = mux::Adcsel::PLL2_P;
    config
}

#[embassy_executor::main]
async fn main(spawner: Spawner) -> ! {
    let p = embassy_stm32::init(clocks());
    // The chip's identifier: its position on a wafer, and the number of the lot.
    let [a, b, c, d, e, f, ..] = uid::uid();
    let mac = settings::mac([a, b, c, d, e, f]);
    log(format_args!("boot, MAC {mac:02x?}"));
    let iwdg = IndependentWatchdog::new(p.IWDG1, 8_000_000);
    spawner.spawn(watchdog(iwdg).expect("spawned once"));

    let device = Ethernet::new(
        PACKETS.init(PacketQueue::new()),
        p.ETH,
        Interrupts,
        p.PA1,
        p.PA7,
        p.PC4,
        p.PC5,
        p.PG13,
        p.PB13,
        p.PG11,
        mac,
        p.ETH_SMA,
        p.PA2,
        p.PC1,
    );
    let mut rng = Rng::new(p.RNG, Interrupts);
    let seed = rng.next_u64();
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) = embassy_net::new(device, settings::network(), resources, seed);
    spawner.spawn(network(runner).expect("spawned once"));
    let _ = with_timeout(Duration::from_secs(30), stack.wait_config_up()).await;
    match stack.config_v4() {
        Some(config) => log(format_args!("address {}", config.address)),
        None => log(format_args!("no address yet")),
    }

    let adc = Adc::new(p.ADC3);
    let thermometer = adc.enable_temperature();
    let light = Output::new(p.PB0, Level::Low, Speed::Low);
    let board = Nucleo { adc, thermometer, light };
    let connector = TcpConnector::new(stack, TCP_RX.take(), TCP_TX.take());
    let rng = RefCell::new(rng);
    let random = || rng.borrow_mut().next_u32();
    #[cfg(feature = "tls")]
    let (connector, mut runner) =
        TlsConnector::new(connector, tls::MEMORY.take(), tls::CONFIG, random);
    let config = Config::new(SERVER);
    let sensor = eio_embassy_sensor::run(connector, &config, MEMORY.take(), board, random, &HEALTH);
    #[cfg(feature = "tls")]
    let sensor = async {
        // All of them run forever.
        match select3(sensor, runner.run(), tls::clock(stack, random)).await {
            Either3::First(never) | Either3::Second(never) | Either3::Third(never) => never,
        }
    };
    sensor.await
}

/// A panic is a bug of the program: it is logged, and the board restarts.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("{}", defmt::Display2Format(info));
    cortex_m::peripheral::SCB::sys_reset()
}
