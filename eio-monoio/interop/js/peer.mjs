// One engine.io-client connection with promises around it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

// The client is installed outside the source tree, in the directory this runs in.
const { Socket } = createRequire(process.cwd() + "/")("engine.io-client");

export class Peer {
  /** Starts to connect. `options` are those of engine.io-client. */
  constructor(base, options) {
    const { origin, pathname } = new URL(base);
    this.socket = new Socket(origin, { path: pathname, ...options });
    this.maxPayload = undefined;
    this.pings = 0;
    this.errors = [];
    this.inbox = [];
    this.wanted = undefined;
    this.opened = new Promise((resolve, reject) => {
      this.socket.once("open", resolve);
      this.socket.once("error", error => reject(explain("no connection", error)));
    });
    this.upgraded = new Promise((resolve, reject) => {
      this.socket.once("upgrade", resolve);
      this.socket.once("upgradeError", reject);
    });
    this.closed = new Promise(resolve =>
      this.socket.once("close", (reason, details) => resolve({ reason, details })));
    // A listener receives these events; without one, an `error` event would end the process.
    this.opened.catch(() => {});
    this.upgraded.catch(() => {});

    this.socket.on("handshake", ({ maxPayload }) => (this.maxPayload = maxPayload));
    this.socket.on("ping", () => this.pings++);
    this.socket.on("error", error => this.errors.push(error));
    this.socket.on("message", message => {
      // The client reports an empty text as undefined.
      this.inbox.push(message ?? "");
      this.wake();
    });
    this.socket.on("close", () => this.wake());
  }

  static async open(base, options) {
    const peer = new Peer(base, options);
    await peer.opened;
    if (options.transports.length > 1) await peer.upgraded;
    assert.equal(peer.transport, options.transports.at(-1));
    return peer;
  }

  get transport() {
    return this.socket.transport.name;
  }

  send(message) {
    this.socket.send(message);
  }

  /** Waits until `count` messages have come since the last call, and takes them. */
  async take(count, label = "messages") {
    pending.set(this, () => `${label} on ${this.transport} (${this.inbox.length} of ${count})`);
    while (this.inbox.length < count) {
      if (this.socket.readyState === "closed") {
        const { reason, details } = await this.closed;
        throw explain(`closed (${reason}) after ${this.inbox.length} of ${count} messages`, details);
      }
      await new Promise(resolve => (this.wanted = resolve));
    }
    pending.delete(this);
    return this.inbox.splice(0, count);
  }

  wake() {
    this.wanted?.();
  }

  /** Sends all messages at once and expects each back, once, in order. */
  async echo(messages, label) {
    messages.forEach(message => this.send(message));
    const answers = await this.take(messages.length, label);
    messages.forEach((message, i) => same(answers[i], message, label ?? `message ${i}`));
  }

  /** Closes from this side; nothing may look like an error. */
  async close() {
    this.socket.close();
    const { reason } = await this.closed;
    assert.equal(reason, "forced close");
    assert.deepEqual(this.errors, []);
    assert.equal(this.inbox.length, 0, "messages nobody asked for");
  }
}

const pending = new Map();

/** What the peers that wait for messages wait for, in words; some of it if there is much. */
export function stillWaiting() {
  const words = [...pending.values()].slice(0, 5).map(describe => describe());
  return words.length ? `: still waiting for ${words.join(", ")}` : "";
}

/** Peers that a failed scenario left behind are of no interest to the next. */
export function forget() {
  pending.clear();
}

/** Fails unless `answer` is what an echo of `message` must be: same kind, same content. */
export function same(answer, message, label) {
  if (typeof message === "string") {
    assert.equal(typeof answer, "string", `${label}: text came back as ${kind(answer)}`);
    if (answer !== message) throw new Error(`${label}: ${difference(answer, message)}`);
  } else {
    assert.notEqual(typeof answer, "string", `${label}: binary came back as text`);
    const [got, sent] = [bytes(answer), bytes(message)];
    if (!got.equals(sent)) throw new Error(`${label}: ${difference(got, sent)}`);
  }
}

export function bytes(data) {
  return ArrayBuffer.isView(data)
    ? Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    : Buffer.from(data);
}

function kind(value) {
  return value?.constructor?.name ?? typeof value;
}

// Of two 900 KB values, print the position of the first difference.
function difference(got, sent) {
  let at = 0;
  while (at < sent.length && got[at] === sent[at]) at++;
  const around = data => JSON.stringify(data.slice(at, at + 16).toString());
  return `${sent.length} sent, ${got.length} came back, first difference at ${at}: ` +
    `sent ${around(sent)}, got ${around(got)}`;
}

function explain(what, error) {
  const status = error?.description ?? error?.message ?? error;
  return new Error(status === undefined ? what : `${what}: ${status}`);
}
