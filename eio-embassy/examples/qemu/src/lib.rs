//! Board support for QEMU's `lm3s6965evb`, whose Cortex-M3 runs code of a Cortex-M0+: startup, network, clock, stack
//! usage.

#![no_std]

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};

use embassy_executor::{SpawnToken, Spawner};
use embassy_net::{Config, Stack, StackResources};
use semihosting::process;
use static_cell::StaticCell;

mod executor;
mod irq;
mod stellaris_eth;
mod time_driver;

use stellaris_eth::Stellaris;
pub use stellaris_eth::set_link;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(feature = "messages")]
    semihosting::eprintln!("{_info}");
    process::exit(101)
}

// SAFETY: it only prints and ends the emulator.
#[cortex_m_rt::exception]
unsafe fn HardFault(_frame: &cortex_m_rt::ExceptionFrame) -> ! {
    #[cfg(feature = "messages")]
    semihosting::eprintln!("{_frame:?}");
    process::exit(102)
}

/// Starts the board and runs one task.
pub fn run<S>(main: impl FnOnce(Spawner) -> SpawnToken<S>) -> ! {
    let peripherals = cortex_m::Peripherals::take().expect("called once");
    irq::init();
    time_driver::init(peripherals.SYST);
    executor::run(|spawner| spawner.spawn(main(spawner)))
}

#[embassy_executor::task]
async fn net_task(mut runner: embassy_net::Runner<'static, &'static mut Stellaris>) -> ! {
    runner.run().await
}

/// Starts the network, with an address by DHCP.
pub async fn network(spawner: Spawner) -> Stack<'static> {
    static NIC: StaticCell<Stellaris> = StaticCell::new();
    static RESOURCES: StaticCell<StackResources<5>> = StaticCell::new();

    let nic = NIC.init(Stellaris::new([0x02, 0, 0, 0, 0, 1]));
    nic.start();
    // The emulator has no source of entropy. A real board takes the seed from one.
    let seed = 0x1234_5678_9abc_def0;
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) =
        embassy_net::new(nic, Config::dhcpv4(Default::default()), resources, seed);
    spawner.spawn(net_task(runner).expect("spawned once"));
    stack.wait_config_up().await;
    stack
}

/// The most stack used so far, in bytes. The feature `paint-stack` of cortex-m-rt filled the stack at startup.
pub fn stack_used() -> usize {
    unsafe extern "C" {
        static _stack_start: u32;
        static _stack_end: u32;
    }
    let top = &raw const _stack_start as usize;
    let mut at = &raw const _stack_end as usize;
    // SAFETY: the memory between the two symbols of the linker script is RAM.
    while at < top
        && unsafe { (at as *const u32).read_volatile() } == cortex_m_rt::STACK_PAINT_VALUE
    {
        at += size_of::<u32>();
    }
    top - at
}

/// XorShift, whose masks are predictable. A real board must use its random generator.
pub fn toy() -> impl FnMut() -> u32 {
    let mut state = 0x2545_f491_u32;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    }
}

/// Awaits `future` in a stack frame of its own. Inlined, its temporaries would be in the frame of the task for as long as the
/// task runs, next to those of a client that connects, which moves several copies of its state.
pub async fn apart<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    #[inline(never)]
    fn poll<F: Future>(future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        future.poll(cx)
    }
    poll_fn(|cx| poll(future.as_mut(), cx)).await
}
