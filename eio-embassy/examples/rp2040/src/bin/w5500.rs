//! The sensor on a Pico with a W5500.

#![no_std]
#![no_main]

use eio_embassy_rp2040::{Light, Thermometer, flash_id, log, open_serial, run, watchdog};
use eio_embassy_sensor::settings;
use embassy_executor::Spawner;
use embassy_net::StackResources;
use embassy_net_wiznet::chip::W5500;
use embassy_net_wiznet::{Device, Runner, State};
use embassy_rp::clocks::RoscRng;
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, SPI0};
use embassy_rp::spi::{self, Async, Spi};
use embassy_rp::{bind_interrupts, dma};
use embassy_time::{Delay, Timer};
use embedded_hal_bus::spi::ExclusiveDevice;
use static_cell::StaticCell;

bind_interrupts!(struct Interrupts {
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>;
});

type Bus = ExclusiveDevice<Spi<'static, SPI0, Async>, Output<'static>, Delay>;

static STATE: StaticCell<State<4, 4>> = StaticCell::new();
static RESOURCES: StaticCell<StackResources<3>> = StaticCell::new();

struct Led(Output<'static>);

impl Light for Led {
    async fn set(&mut self, on: bool) {
        self.0.set_level(on.into());
    }
}

#[embassy_executor::task]
async fn ethernet(runner: Runner<'static, W5500, Bus, Input<'static>, Output<'static>>) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn network(mut runner: embassy_net::Runner<'static, Device<'static>>) -> ! {
    runner.run().await
}

#[embassy_executor::main(executor = "embassy_rp::executor::Executor", entry = "cortex_m_rt::entry")]
async fn main(spawner: Spawner) {
    let p = embassy_rp::init(Default::default());
    open_serial(p.UART0, p.PIN_0);
    log(format_args!("boot"));
    spawner.spawn(watchdog(p.WATCHDOG).expect("spawned once"));

    let mut config = spi::Config::default();
    config.frequency = 20_000_000;
    let bus =
        Spi::new(p.SPI0, p.PIN_18, p.PIN_19, p.PIN_16, p.DMA_CH0, p.DMA_CH1, Interrupts, config);
    let select = Output::new(p.PIN_17, Level::High);
    let Ok(bus) = ExclusiveDevice::new(bus, select, Delay);
    let interrupt = Input::new(p.PIN_21, Pull::Up);
    let reset = Output::new(p.PIN_20, Level::High);
    // A W5500 has no address of its own.
    let [_, _, id @ ..] = flash_id(p.FLASH);
    let mac = settings::mac(id);
    log(format_args!("MAC {mac:02x?}"));
    let made = embassy_net_wiznet::new(mac, STATE.init(State::new()), bus, interrupt, reset).await;
    let (device, runner) = match made {
        Ok(made) => made,
        Err(_) => {
            log(format_args!("the W5500 does not answer: check the wiring"));
            Timer::after_secs(5).await;
            cortex_m::peripheral::SCB::sys_reset()
        }
    };
    spawner.spawn(ethernet(runner).expect("spawned once"));

    let resources = RESOURCES.init(StackResources::new());
    let seed = RoscRng.next_u64();
    let (stack, runner) = embassy_net::new(device, settings::network(), resources, seed);
    spawner.spawn(network(runner).expect("spawned once"));

    let thermometer = Thermometer::new(p.ADC, p.ADC_TEMP_SENSOR);
    let light = Led(Output::new(p.PIN_25, Level::Low));
    run(stack, thermometer, light).await
}
