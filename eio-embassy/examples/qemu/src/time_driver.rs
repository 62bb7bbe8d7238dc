//! embassy-time driver without a tick: SysTick runs freely as the clock (a counter that is read, so an emulator that
//! runs late loses no time), and general-purpose timer 0 is the alarm.
use core::cell::{Cell, RefCell};
use core::task::Waker;
use cortex_m::peripheral::{SCB, SYST, syst::SystClkSource};
use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use crate::irq::{Irq, hook};

const CORE_HZ: u64 = 12_500_000; // lm3s6965evb out of reset, in QEMU
const WRAP: u32 = 0x00ff_ffff;
const TIMER0: usize = 0x4003_0000;
const TIMER1: usize = 0x4003_1000;
const TIMER0_IRQ: Irq = Irq(19);

fn write(address: usize, v: u32) {
    // SAFETY: the callers pass registers of the two timers.
    unsafe { (address as *mut u32).write_volatile(v) }
}
fn timer0(register: usize, v: u32) {
    write(TIMER0 + register, v)
}

/// Timer 1 runs without an interrupt, for QEMU only. While the core is halted, QEMU's main loop sleeps in poll() on a
/// list of sockets made earlier, so its user-mode network would notice a new connection one second late. An emulated
/// timer that expires makes QEMU poll again.
fn wake_qemu() {
    write(TIMER1, 0);
    write(TIMER1 + 0x04, 2); // periodic
    write(TIMER1 + 0x28, (CORE_HZ / 500) as u32); // 2 ms
    write(TIMER1 + 0x0c, 1);
}

struct Clock {
    wraps: Mutex<Cell<u32>>,
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static CLOCK: Clock = Clock {
    wraps: Mutex::new(Cell::new(0)),
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Clock {
    fn micros(&self, cs: CriticalSection) -> u64 {
        let (mut wraps, mut left) = (self.wraps.borrow(cs).get(), SYST::get_current());
        if SCB::is_pendst_pending() {
            wraps += 1; // the counter wrapped, and its handler did not run yet
            left = SYST::get_current();
        }
        let cycles = wraps as u64 * (WRAP as u64 + 1) + (WRAP - left) as u64;
        cycles * 2 / (CORE_HZ * 2 / 1_000_000)
    }
    fn arm(&self, cs: CriticalSection) {
        let mut queue = self.queue.borrow_ref_mut(cs);
        let now = self.micros(cs);
        let next = queue.next_expiration(now);
        timer0(0x0c, 0); // off
        if next != u64::MAX {
            let us = next.saturating_sub(now).clamp(1, 60_000_000);
            timer0(0x28, (us * (CORE_HZ * 2 / 1_000_000) / 2) as u32); // load
            timer0(0x0c, 1); // on
        }
    }
}

impl Driver for Clock {
    fn now(&self) -> u64 {
        critical_section::with(|cs| self.micros(cs))
    }
    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let changed = self.queue.borrow_ref_mut(cs).schedule_wake(at, waker);
            if changed {
                self.arm(cs)
            }
        })
    }
}

/// Starts the clock.
pub fn init(mut syst: SYST) {
    syst.set_clock_source(SystClkSource::Core);
    syst.set_reload(WRAP);
    syst.clear_current();
    syst.enable_interrupt();
    syst.enable_counter();
    while SYST::get_current() == 0 {} // it reads 0, the end of a period, until its first clock cycle
    timer0(0x00, 0); // one 32-bit timer
    timer0(0x04, 1); // one-shot
    timer0(0x18, 1); // interrupt on timeout
    hook(TIMER0_IRQ, on_alarm);
    wake_qemu();
}

#[cortex_m_rt::exception]
fn SysTick() {
    critical_section::with(|cs| CLOCK.wraps.borrow(cs).set(CLOCK.wraps.borrow(cs).get() + 1));
}

extern "C" fn on_alarm() {
    timer0(0x24, 1); // acknowledge
    critical_section::with(|cs| CLOCK.arm(cs));
}
