// A WIZnet W5500 in MACRAW mode (which embassy-net-wiznet uses), as seen from its SPI.

// Registers of socket 0 (datasheet, section 4.2), and common registers (4.1).
const Sn = { MR: 0x00, CR: 0x01, IR: 0x02, TX_FSR: 0x20, TX_RD: 0x22, TX_WR: 0x24, RX_RSR: 0x26, RX_RD: 0x28, RX_WR: 0x2a, IMR: 0x2c };
const COMMON = { MR: 0x00, SHAR: 0x09, SIMR: 0x18, PHYCFGR: 0x2e, VERSIONR: 0x39 };
const COMMAND = { OPEN: 0x01, SEND: 0x20, RECV: 0x40 };
const MR_RESET = 0x80, MACRAW = 0x04, IR_RECV = 0x04;
const MEMORY = 16384;

export class W5500 {
  /** `onFrame(bytes)`: a frame is sent. `onInterrupt(low)`: the level of INTn. */
  constructor({ onFrame, onInterrupt }) {
    this.common = new Uint8Array(64);
    this.socket = new Uint8Array(64);
    this.tx = new Uint8Array(MEMORY);
    this.rx = new Uint8Array(MEMORY);
    this.onFrame = onFrame;
    this.onInterrupt = onInterrupt;
    this.reset();
    this.select(false);
  }

  reset() {
    this.common.fill(0);
    this.socket.fill(0);
    this.common[COMMON.VERSIONR] = 4;
    this.common[COMMON.PHYCFGR] = 0xbf; // Link up, 100 Mb/s, full duplex.
    this.write16(Sn.TX_FSR, MEMORY);
  }

  read16(at) { return (this.socket[at] << 8) | this.socket[at + 1]; }

  write16(at, value) {
    this.socket[at] = (value >> 8) & 0xff;
    this.socket[at + 1] = value & 0xff;
  }

  /** The level of chip select changed. */
  select(on) {
    this.position = 0;
    this.selected = on;
  }

  /** Exchanges one byte: two bytes of address, one of control, then data (section 2.2). */
  transfer(byte) {
    if (!this.selected) return 0;
    const position = this.position++;
    if (position === 0) this.address = byte << 8;
    else if (position === 1) this.address |= byte;
    else if (position === 2) this.control = byte;
    else return this.access((this.address + position - 3) & 0xffff, byte);
    return 0;
  }

  access(address, byte) {
    const block = (this.control >> 3) & 3;
    const memory = [this.common, this.socket, this.tx, this.rx][block];
    const at = address & (memory.length - 1);
    const write = this.control & 4;
    if (!write) return memory[at];
    if (memory === this.socket && at === Sn.IR) memory[at] &= ~byte;
    else if (memory === this.socket && at === Sn.CR) this.command(byte);
    else if (memory === this.common && at === COMMON.MR && byte & MR_RESET) this.reset();
    else memory[at] = byte;
    this.interrupt();
    return 0;
  }

  command(command) {
    if (command === COMMAND.OPEN) {
      for (const register of [Sn.TX_RD, Sn.TX_WR, Sn.RX_RD, Sn.RX_WR, Sn.RX_RSR]) this.write16(register, 0);
      this.write16(Sn.TX_FSR, MEMORY);
    } else if (command === COMMAND.SEND) {
      const from = this.read16(Sn.TX_RD), to = this.read16(Sn.TX_WR);
      const frame = Buffer.alloc(Math.max((to - from) & 0xffff, 60));
      for (let i = 0; i < ((to - from) & 0xffff); i++) frame[i] = this.tx[(from + i) & (MEMORY - 1)];
      this.write16(Sn.TX_RD, to);
      this.onFrame(frame);
    } else if (command === COMMAND.RECV) {
      const left = (this.read16(Sn.RX_WR) - this.read16(Sn.RX_RD)) & 0xffff;
      this.write16(Sn.RX_RSR, left);
      if (left) this.socket[Sn.IR] |= IR_RECV;
    }
  }

  /** Receives a frame from the wire: two bytes of length and the frame, if there is room. */
  receive(frame) {
    if (!(this.socket[Sn.MR] & MACRAW)) return;
    const mine = frame[0] & 1 || this.common.subarray(COMMON.SHAR, COMMON.SHAR + 6).every((byte, i) => byte === frame[i]);
    const length = frame.length + 2;
    if (!mine || MEMORY - this.read16(Sn.RX_RSR) < length) return;
    let to = this.read16(Sn.RX_WR);
    for (const byte of [length >> 8, length & 0xff, ...frame]) {
      this.rx[to & (MEMORY - 1)] = byte;
      to = (to + 1) & 0xffff;
    }
    this.write16(Sn.RX_WR, to);
    this.write16(Sn.RX_RSR, (to - this.read16(Sn.RX_RD)) & 0xffff);
    this.socket[Sn.IR] |= IR_RECV;
    this.interrupt();
  }

  interrupt() {
    this.onInterrupt(Boolean(this.socket[Sn.IR] & this.socket[Sn.IMR] && this.common[COMMON.SIMR] & 1));
  }
}
