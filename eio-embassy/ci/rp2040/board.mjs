// An emulated Pico with a W5500. Arguments: firmware (ELF), UDP port of the Ethernet hub, own UDP port.
// Ethernet frames are UDP datagrams on 127.0.0.1 (`-netdev socket,udp=` of QEMU); UART0 is standard output.
// The module is installed outside the source tree, in the working directory.

import dgram from "node:dgram";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { W5500 } from "./w5500.mjs";

const { GPIOPinState, Simulator } = createRequire(process.cwd() + "/")("rp2040js");
const [firmware, hub, own] = process.argv.slice(2);
const FLASH = 0x10000000;
const PIN = { CS: 17, INT: 21 };
const CLOCK = 125e6;

const simulator = new Simulator();
const chip = simulator.rp2040;
const quiet = () => {};
chip.logger = { debug: quiet, info: quiet, warn: quiet, error: (component, message) => console.error(component, message) };

// The functions of the boot ROM that reading the flash's identifier uses (RP2040 datasheet, section 2.8.3): the lookup of a
// function at 0x20, one that does nothing at 0x30, and memcpy44 at 0x34. The rest of the ROM is not needed.
chip.loadBootrom(Uint32Array.of(
  0x20042000, 0x00000021, 0, 0, 0, 0x001c001c, 0x00000021, 0,
  0x42914a08, 0xa002d001, 0xa002e000, 0x47703001, // ldr r2, ="C4"; cmp r1, r2; beq; adr r0, nothing; b; adr r0, memcpy44; adds r0, #1; bx lr
  0x46c04770, // bx lr
  0xd0032a00, 0xc008c908, 0xe7f93a04, 0x00004770, // 1: cmp r2, #0; beq 2f; ldm r1!, {r3}; stm r0!, {r3}; subs r2, #4; b 1b; 2: bx lr
  0x00003443,
));
load(readFileSync(firmware));
boot();
flash(Uint8Array.of(0xe6, 0x61, 0x64, 0x08, 0x43, 0x5c, 0x2a, 0x27));

const wire = dgram.createSocket("udp4");
wire.bind(Number(own), "127.0.0.1");
const w5500 = new W5500({
  onFrame: frame => wire.send(frame, Number(hub), "127.0.0.1"),
  onInterrupt: low => chip.gpio[PIN.INT].setInputValue(!low),
});
wire.on("message", frame => w5500.receive(frame));
chip.gpio[PIN.INT].setInputValue(true);
chip.gpio[PIN.CS].addListener(state => w5500.select(state === GPIOPinState.Low));

// A transfer takes as long as on the wire: an immediate answer would overrun the FIFO, eight deep, before the DMA reads it.
const spi = chip.spi[0];
let answer = 0;
const transferred = simulator.clock.createAlarm(() => spi.completeTransmit(answer));
spi.onTransmit = byte => {
  answer = w5500.transfer(byte);
  transferred.schedule(8e9 / (spi.clockFrequency || 20e6));
};

// The thermometer: 0.706 V, which is 27 degrees Celsius.
chip.adc.channelValues[4] = 876;

chip.uart[0].onByte = byte => process.stdout.write(Buffer.of(byte));

const began = performance.now();
run();

/** Loads the segments of the ELF that are in flash. */
function load(elf) {
  const [headers, size, count] = [elf.readUInt32LE(28), elf.readUInt16LE(42), elf.readUInt16LE(44)];
  for (let i = 0; i < count; i++) {
    const at = headers + i * size;
    const [type, from, to, length] = [at, at + 4, at + 12, at + 16].map(field => elf.readUInt32LE(field));
    if (type === 1 && to >= FLASH && to < FLASH + chip.flash.length) chip.flash.set(elf.subarray(from, from + length), to - FLASH);
  }
}

/** Starts at the entry that the second stage of the boot loader would jump to. Neither it nor the ROM is needed. */
function boot() {
  const vectors = 0x100;
  chip.core.VTOR = FLASH + vectors;
  chip.core.SP = chip.flashView.getUint32(vectors, true);
  chip.core.PC = chip.flashView.getUint32(vectors + 4, true) & ~1;
}

/** The flash chip answers the command for its identifier: four dummy bytes, then eight bytes (W25Q16JV, section 8.2.21). */
function flash(id) {
  const DR0 = 0x60, READ_UNIQUE_ID = 0x4b;
  const ssi = chip.peripherals[0x18000];
  // The cache of the flash (XIP_CTRL): no stream is in progress.
  chip.peripherals[0x14000] = { readUint32: () => 0, writeUint32: () => {}, writeUint32Atomic: () => {} };
  const { readUint32, writeUint32 } = ssi;
  let answer = [];
  ssi.writeUint32 = function (offset, value) {
    if (offset === DR0 && (value & 0xff) === READ_UNIQUE_ID) answer = [0, 0, 0, 0, ...id];
    writeUint32.call(this, offset, value);
  };
  ssi.readUint32 = function (offset) {
    return offset === DR0 && answer.length ? answer.shift() : readUint32.call(this, offset);
  };
}

/** Simulated time never passes real time, because the peer on the wire is real. */
function run() {
  const { clock } = simulator;
  const now = (performance.now() - began) * 1e6;
  for (let i = 0; i < 200_000 && clock.nanos < now; i++) {
    if (!chip.core.waiting) clock.tick(chip.core.executeInstruction() * (1e9 / CLOCK));
    else clock.tick(Math.max(1, Math.min(clock.nanosToNextAlarm || Infinity, now - clock.nanos)));
  }
  if (chip.core.waiting) setTimeout(run, 1);
  else setImmediate(run);
}
