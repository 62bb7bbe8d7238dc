//! embassy-net driver for the Ethernet MAC of the LM3S6965, which QEMU's lm3s6965evb emulates.
use core::ptr::{read_volatile, write_volatile};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Context;
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_sync::waitqueue::AtomicWaker;

use crate::irq::{Irq, hook};

const BASE: usize = 0x4004_8000;
const RIS: usize = 0x00; // read: raw status, write: acknowledge
const IM: usize = 0x04;
const RCTL: usize = 0x08;
const TCTL: usize = 0x0c;
const DATA: usize = 0x10;
const IA0: usize = 0x14;
const IA1: usize = 0x18;
const NP: usize = 0x34;
const TR: usize = 0x38;
const MTU: usize = 1514;

fn rd(r: usize) -> u32 {
    // SAFETY: `r` is one of the registers above.
    unsafe { read_volatile((BASE + r) as *const u32) }
}

fn wr(r: usize, v: u32) {
    // SAFETY: `r` is one of the registers above.
    unsafe { write_volatile((BASE + r) as *mut u32, v) }
}

static WAKER: AtomicWaker = AtomicWaker::new();
static LINK_DOWN: AtomicBool = AtomicBool::new(false);

/// Takes the link down or up, as a radio does that loses its access point: it neither sends nor receives.
pub fn set_link(up: bool) {
    LINK_DOWN.store(!up, Ordering::Relaxed);
    WAKER.wake();
}

extern "C" fn on_irq() {
    wr(RIS, rd(RIS));
    WAKER.wake();
}

/// The MAC, with a buffer for one frame in each direction.
pub struct Stellaris {
    mac: [u8; 6],
    rx: [u8; MTU],
    tx: [u8; MTU],
}

impl Stellaris {
    /// A stopped MAC with this address.
    pub const fn new(mac: [u8; 6]) -> Self {
        Self { mac, rx: [0; MTU], tx: [0; MTU] }
    }
    /// Starts the MAC.
    pub fn start(&mut self) {
        let m = self.mac;
        wr(IA0, u32::from_le_bytes([m[0], m[1], m[2], m[3]]));
        wr(IA1, u32::from_le_bytes([m[4], m[5], 0, 0]));
        wr(TCTL, 0b1_0111); // full duplex, CRC, pad, enable
        wr(RCTL, 0b1_0000); // flush
        wr(RCTL, 0b0_0011); // multicast, enable
        wr(IM, 0x1); // receive interrupt
        hook(Irq(42), on_irq);
    }
    /// Reads one frame from the FIFO; the first word contains its length.
    fn pop(&mut self) -> usize {
        let first = rd(DATA).to_le_bytes();
        let total = u16::from_le_bytes([first[0], first[1]]) as usize; // length + frame + FCS
        let n = total.saturating_sub(6);
        let mut put = |i: usize, b: u8| {
            if i < n.min(MTU) {
                self.rx[i] = b
            }
        };
        put(0, first[2]);
        put(1, first[3]);
        let mut at = 2;
        while at + 2 < total {
            for b in rd(DATA).to_le_bytes() {
                put(at, b);
                at += 1;
            }
        }
        n
    }
}

/// A received frame.
pub struct Rx<'a>(&'a mut [u8]);
/// The buffer of a frame to send.
pub struct Tx<'a>(&'a mut [u8]);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}
impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let frame = &mut self.0[..len];
        let r = f(frame);
        while rd(TR) & 1 != 0 {}
        let data_len = (len - 14) as u32;
        wr(DATA, data_len | (frame[0] as u32) << 16 | (frame[1] as u32) << 24);
        for c in frame[2..].chunks(4) {
            let mut w = [0u8; 4];
            w[..c.len()].copy_from_slice(c);
            wr(DATA, u32::from_le_bytes(w));
        }
        wr(TR, 1);
        r
    }
}

impl Driver for Stellaris {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;
    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Rx<'_>, Tx<'_>)> {
        WAKER.register(cx.waker());
        if rd(NP) & 0x3f == 0 {
            return None;
        }
        let n = self.pop();
        if n > MTU || LINK_DOWN.load(Ordering::Relaxed) {
            // Asks again: there may be more frames, for which there is no other interrupt.
            cx.waker().wake_by_ref();
            return None;
        }
        Some((Rx(&mut self.rx[..n]), Tx(&mut self.tx)))
    }
    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Tx<'_>> {
        WAKER.register(cx.waker());
        (!LINK_DOWN.load(Ordering::Relaxed)).then_some(Tx(&mut self.tx))
    }
    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        WAKER.register(cx.waker());
        if LINK_DOWN.load(Ordering::Relaxed) { LinkState::Down } else { LinkState::Up }
    }
    fn capabilities(&self) -> Capabilities {
        let mut c = Capabilities::default();
        c.max_transmission_unit = MTU;
        c.max_burst_size = Some(1);
        c
    }
    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.mac)
    }
}
