//! An executor that idles in WFI. That of embassy idles in WFE, which is a no-op in QEMU, so an idle firmware would use
//! a whole core of the host.

use core::sync::atomic::{AtomicBool, Ordering};

use embassy_executor::{Spawner, raw};
use static_cell::StaticCell;

static WOKEN: AtomicBool = AtomicBool::new(false);

// SAFETY: the one definition of the function embassy-executor calls when a task is to be polled.
#[unsafe(export_name = "__pender")]
fn pender(_: *mut ()) {
    WOKEN.store(true, Ordering::Release);
}

/// Runs the tasks that `init` spawns, forever.
pub fn run(init: impl FnOnce(Spawner)) -> ! {
    static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();
    let executor: &'static raw::Executor = EXECUTOR.init(raw::Executor::new(core::ptr::null_mut()));
    init(executor.spawner());
    loop {
        WOKEN.store(false, Ordering::Release);
        // SAFETY: this is the only place that polls it, and it does not reenter.
        unsafe { executor.poll() };
        // With interrupts disabled, an interrupt after the test still ends the WFI, and is handled when they are
        // enabled.
        cortex_m::interrupt::disable();
        if !WOKEN.load(Ordering::Acquire) {
            cortex_m::asm::wfi();
        }
        // SAFETY: no critical section is open here.
        unsafe { cortex_m::interrupt::enable() };
    }
}
