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

load(readFileSync(firmware));
boot();

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
