// The messages that the clients send. Every sample must return unchanged, on every transport.

// Number of bytes of the "900 KB" messages: below the default maxPayload of 1,000,000, above every
// buffer a server is likely to own.
export const LARGE = 900_000;

export const texts = {
  "plain": "hello",
  "empty": "",
  "NUL character": "a\0b",
  "only a NUL character": "\0",
  "every ASCII control character but the record separator": controls(),
  "two-byte letters": "Příliš žluťoučký kůň",
  "right to left": "\u05e9\u05dc\u05d5\u05dd \u202eمرحبا\u202c",
  "combining marks": "e\u0301 n\u0303 \u1100\u1161\u11a8 Z\u0351\u036b\u0343",
  "astral": "\u{1f600}\u{1d11e}\u{10ffff}\u{20000}",
  "joined emoji": "\u{1f469}\u200d\u{1f469}\u200d\u{1f467}\u{1f3fd}",
  "line and paragraph separators": "a\u2028b\u2029c",
  "byte order mark": "\ufeffmarked",
  "noncharacters": "\ufffe\uffff",
  "last of each UTF-8 length": "\x7f\u07ff\uffff\u{10ffff}",
  "JSON": '{"a":[1,"\\u0000",null]}',
  "form and script characters": "d=4a&b=%20+\\n\\\\\"'</script>\r\n\t",
  // Text that would be a packet if a server looked at it once too often.
  "a packet's type": "1",
  "a probe": "2probe",
  "a base64 packet": "bAQID",
  "a letter b": "b",
};

// A record separator ends a packet in a polling body and the protocol has no escape for it, so
// text may hold one on WebSocket only.
export const webSocketTexts = { "record separator": "a\x1eb\x1e\x1e4c" };

export const binaries = {
  "every byte value": Uint8Array.from({ length: 256 }, (_, i) => i),
  "every byte value, backwards": Uint8Array.from({ length: 256 }, (_, i) => 255 - i).buffer,
  "empty": new Uint8Array(0),
  "one byte": Uint8Array.of(0),
  "two bytes": Uint8Array.of(0xff, 0xfe),
  "looks like a close packet": Uint8Array.of(0x31),
  "looks like separated packets": Buffer.from("4a\x1e4b"),
  "invalid UTF-8": Uint8Array.of(0xc0, 0x80, 0xed, 0xa0, 0x80, 0xf8),
  "a Buffer": Buffer.from("buffer"),
  "16-bit numbers": Uint16Array.of(0, 1, 0xfffe, 0xffff),
  "signed numbers": Int32Array.of(-1, 0, 1),
  "floats": Float64Array.of(NaN, -0, Infinity, Math.PI),
  "64-bit numbers": BigUint64Array.of(0n, 0xffff_ffff_ffff_ffffn),
  "a window of a larger array": Uint8Array.from({ length: 64 }, (_, i) => i).subarray(7, 40),
  "a DataView": new DataView(Uint8Array.from({ length: 32 }, (_, i) => i).buffer, 5, 9),
  // WebSocket lengths change their encoding at 126 and 65536.
  "125 bytes": new Uint8Array(125).fill(1),
  "126 bytes": new Uint8Array(126).fill(2),
  "65535 bytes": new Uint8Array(65535).fill(3),
  "65536 bytes": new Uint8Array(65536).fill(4),
};

/** `bytes` bytes of text whose characters take one to four bytes, so that no buffer boundary is kind. */
export function largeText(bytes) {
  const unit = "aé€\u{1f600}";                      // 1 + 2 + 3 + 4 bytes
  return unit.repeat(Math.floor(bytes / 10)) + "z".repeat(bytes % 10);
}

/** `bytes` bytes that do not repeat with any power of two. */
export function largeBinary(bytes) {
  return Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + Math.floor(i / 251)) & 0xff);
}

function controls() {
  return Array.from({ length: 32 }, (_, i) => String.fromCharCode(i))
    .filter(character => character !== "\x1e")
    .join("");
}
