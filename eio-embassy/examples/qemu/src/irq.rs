//! Interrupt handlers by number. cortex-m-rt for thumbv6m supports 32 interrupts, and the Ethernet MAC is number 42. So
//! the vector table is copied to RAM, and the VTOR of the Cortex-M3 points to it.

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::{NVIC, SCB};

#[repr(C, align(256))]
struct Vectors([u32; 64]);

static mut VECTORS: Vectors = Vectors([0; 64]);

/// An interrupt number of the LM3S6965.
#[derive(Clone, Copy)]
pub struct Irq(pub u16);

// SAFETY: this crate uses numbers of the data sheet, all below 48.
unsafe impl InterruptNumber for Irq {
    fn number(self) -> u16 {
        self.0
    }
}

/// Copies the 16 system vectors. Call it once, before [`hook`].
pub fn init() {
    // SAFETY: the interrupts of the NVIC are masked, and no other code writes the table or VTOR.
    unsafe {
        let vtor = &(*SCB::PTR).vtor;
        let (from, to) = (vtor.read() as *const u32, (&raw mut VECTORS).cast::<u32>());
        for i in 0..16 {
            to.add(i).write_volatile(from.add(i).read_volatile());
        }
        vtor.write(to as u32);
        cortex_m::asm::dsb();
    }
}

/// Sets the handler of `irq` and enables it.
pub fn hook(irq: Irq, handler: extern "C" fn()) {
    // SAFETY: the table has 64 entries, and the interrupt is masked until its entry is written.
    unsafe {
        let entry = (&raw mut VECTORS).cast::<u32>().add(16 + usize::from(irq.0));
        entry.write_volatile(handler as *const () as u32);
        NVIC::unmask(irq);
    }
}
