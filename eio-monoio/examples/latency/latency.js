// Sends numbered messages to an echoing Engine.IO server, measures how long each takes to come back, and
// shows it. The client is the official one, loaded before this module, which defines the global `eio`.

import { Plot } from "./plot.js";

const WINDOW = 1000; // round trips per transport that the statistics look at
const TREND = 15; // round trips the running median looks at
const WARM_UP = 12; // see `received`
const MAX_IN_FLIGHT = 32; // a stalled server must not make this page queue megabytes
const RETRY_MS = { first: 500, longest: 10_000 };
const REPAINT_MS = 200; // digits that change faster cannot be read

const TRANSPORTS = { upgrade: ["polling", "websocket"], polling: ["polling"], websocket: ["websocket"] };
const NAMES = { polling: "polling", websocket: "WebSocket" };
const MODE_NAMES = { upgrade: "Polling, then upgrade", polling: "Polling only", websocket: "WebSocket only" }; // in the plot

const $ = (id) => document.getElementById(id);
const form = $("controls");
const setting = (name) => form.elements[name].value;

// ---- Statistics -----------------------------------------------------------------------------------------

/** The last round trips over one transport. */
class Series {
  times = [];
  count = 0;

  add(rtt) {
    this.count++;
    this.times.push(rtt);
    if (this.times.length > WINDOW) this.times.shift();
  }

  summary() {
    const sorted = this.times.slice().sort(ascending);
    return { median: quantile(sorted, 0.5), p95: quantile(sorted, 0.95), min: sorted[0], max: sorted.at(-1) };
  }
}

const ascending = (a, b) => a - b;

/** The running median that the plot's line shows: it restarts where the line does. */
class RunningMedian {
  #times = [];

  next(rtt) {
    this.#times.push(rtt);
    if (this.#times.length > TREND) this.#times.shift();
    return quantile(this.#times.slice().sort(ascending), 0.5);
  }
}

/** Nearest rank: always a time that was really measured. */
const quantile = (sorted, q) => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)];

/** The smallest step of the browser's clock, which browsers coarsen on purpose, in milliseconds. */
function clockStep() {
  let step = Infinity;
  for (let i = 0; i < 20; i++) {
    const start = performance.now();
    let now = start;
    while (now === start) now = performance.now();
    step = Math.min(step, now - start);
  }
  return step;
}

// ---- Messages -------------------------------------------------------------------------------------------

/** A message of exactly `size` bytes that carries its number, so that its echo can be told from any other. */
function compose(seq, size, format) {
  if (format === "text") return `${seq} `.padEnd(size, "0123456789abcdef");
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = seq + i;
  new DataView(bytes.buffer).setUint32(0, seq);
  return bytes;
}

function numberOf(data) {
  if (typeof data === "string") return parseInt(data, 10);
  return data.byteLength < 4 ? NaN : new DataView(data).getUint32(0);
}

function sameContent(sent, echoed) {
  if (typeof sent === "string" || typeof echoed === "string") return sent === echoed;
  const bytes = new Uint8Array(echoed);
  return bytes.length === sent.length && bytes.every((byte, i) => byte === sent[i]);
}

// ---- State ----------------------------------------------------------------------------------------------

const plot = new Plot($("plot"), showInspected);
const step = clockStep();

let series = { polling: new Series(), websocket: new Series() };
let total = 0;
let latest = null;
let trend = new RunningMedian();
let seq = 0;
let inFlight = new Map(); // number -> { payload, sentAt, via, held, series }
let altered = 0;
let lost = 0;
let reconnections = 0;
let paused = false;

let link = null; // the present connection: { socket, openedAt, upgrade, handshake, warmUp, heartbeats }
let gap = null; // the hole in the plot since the last connection closed: { mark, since }
let attempts = 0; // since the last time an echo came back
let retryTimer = 0;
let retryAt = 0;
let sendTimer = 0;

// ---- Connection -----------------------------------------------------------------------------------------

function connect() {
  clearTimeout(retryTimer);
  const mode = setting("mode");
  const socket = eio({ path: "/engine.io", transports: TRANSPORTS[mode], upgrade: mode === "upgrade" });
  link = { socket, openedAt: 0, handshake: null, warmUp: mode === "upgrade" ? WARM_UP : 1, heartbeats: 0 };
  link.upgrade = mode === "upgrade" ? "under way" : "not asked for";
  show("connecting", attempts ? `Connecting, attempt ${attempts + 1}` : "Connecting");

  // Events of a connection that was replaced are ignored.
  const on = (event, handler) => socket.on(event, (...args) => link?.socket === socket && handler(...args));
  on("handshake", (handshake) => (link.handshake = handshake));
  on("open", opened);
  on("upgrade", upgraded);
  on("upgradeError", upgradeFailed);
  on("ping", () => link.heartbeats++);
  on("message", received);
  on("close", closed);
}

function opened() {
  link.openedAt = performance.now();
  trend = new RunningMedian();
  if (gap) {
    gap.mark.text = `${gap.mark.text}, back after ${duration(link.openedAt - gap.since)}`;
    gap = null;
    plot.refresh();
  }
  show("open", `Connected over ${NAMES[link.socket.transport.name]}`);
  // The first message leaves at once: the client is about to probe for WebSocket, and this is the time to
  // see how polling does.
  send();
}

function upgraded() {
  const after = performance.now() - link.openedAt;
  link.upgrade = `${format(after)} ms after open`;
  trend = new RunningMedian();
  document.body.dataset.upgradedAt = after.toFixed(1);
  plot.mark("upgrade", `Upgraded to WebSocket after ${format(after)} ms`, "websocket");
  show("open", "Connected over WebSocket");
}

function upgradeFailed() {
  link.upgrade = "failed";
  plot.mark("failed", "Upgrade failed, polling goes on", "bad");
}

function closed(reason) {
  const wasOpen = link.openedAt > 0;
  if (wasOpen) {
    $("close-reason").textContent = reason;
    lost += inFlight.size;
    gap = { mark: plot.mark("gap", sentence(reason), "bad"), since: performance.now() };
    reconnections++;
  }
  abandon();
  retry(wasOpen ? `Disconnected: ${reason}` : "No answer from the server");
}

/** Tries again after a pause that doubles with every failure, with some jitter so that the pages of many
 *  visitors do not all come back in the same instant. */
function retry(why) {
  const pause = Math.min(RETRY_MS.longest, RETRY_MS.first * 2 ** attempts) * (0.75 + Math.random() / 2);
  attempts++;
  retryAt = performance.now() + pause;
  retryTimer = setTimeout(connect, pause);
  show("waiting", why);
}

/** Forgets the present connection and what was in flight on it. */
function abandon() {
  inFlight = new Map();
  link = null;
}

function reconnectAs(mode) {
  const old = link?.socket;
  if (link?.openedAt) {
    plot.mark("gap", MODE_NAMES[mode]);
  }
  gap = null;
  abandon();
  old?.close();
  attempts = 0;
  connect();
}

// ---- Measurement ----------------------------------------------------------------------------------------

function send() {
  if (!link?.openedAt || paused || document.hidden || inFlight.size >= MAX_IN_FLIGHT) return;
  const { socket } = link;
  const payload = compose(++seq, Number(setting("size")), setting("format"));
  // While `upgrading` the client holds messages back until the new transport is ready. An echo that arrives
  // after the statistics were reset does not count in the new ones: hence `series`.
  const entry = { payload, via: socket.transport.name, held: socket.upgrading, series, sentAt: 0 };
  inFlight.set(seq, entry);
  entry.sentAt = performance.now();
  socket.send(payload);
}

function received(data) {
  const now = performance.now();
  const number = numberOf(data);
  const entry = inFlight.get(number);
  inFlight.delete(number);
  if (!entry || !sameContent(entry.payload, data)) {
    altered++;
    return;
  }
  attempts = 0; // an echo proves more than an open connection does
  const via = link.socket.transport.name;
  // A message that was in flight during the upgrade belongs to neither transport: it is shown, but not counted.
  const crossed = entry.held || entry.via !== via;
  const rtt = Math.max(now - entry.sentAt, step);
  if (!crossed) entry.series[via].add(rtt);
  total++;
  latest = rtt;
  plot.sample({ seq: number, rtt, via, crossed, trend: crossed ? rtt : trend.next(rtt) });
  repaint();

  // Until the upgrade, each echo is followed by the next message without delay. The upgrade often takes
  // less than the time between two ticks of the timer, and polling would hardly be seen at all.
  if (via === "polling" && --link.warmUp > 0 && !link.socket.upgrading) send();
}

function restartTimer() {
  clearInterval(sendTimer);
  sendTimer = setInterval(send, 1000 / Number(setting("rate")));
}

function resetStatistics() {
  series = { polling: new Series(), websocket: new Series() };
  trend = new RunningMedian();
  total = 0;
  latest = null;
}

// ---- Page -----------------------------------------------------------------------------------------------

function show(state, text) {
  const { dataset } = document.body;
  dataset.state = state;
  dataset.transport = state === "open" ? link.socket.transport.name : "none";
  if (state !== "open") delete dataset.upgradedAt;
  if ($("state").textContent !== text) $("state").textContent = text;
  $("retry").hidden = state !== "waiting";
  paint();
}

let repaintTimer = 0;
function repaint() {
  repaintTimer ||= setTimeout(paint, REPAINT_MS);
}

function paint() {
  clearTimeout(repaintTimer);
  repaintTimer = 0;
  put("now", latest === null ? "–" : format(latest));
  put("total", `${total.toLocaleString("en")} round ${total === 1 ? "trip" : "trips"}`);
  for (const [name, one] of Object.entries(series)) {
    const row = document.querySelector(`tr[data-series="${name}"]`);
    const summary = one.count ? one.summary() : {};
    for (const cell of row.querySelectorAll("[data-stat]")) {
      const { stat } = cell.dataset;
      if (stat === "count") cell.textContent = one.count.toLocaleString("en");
      else cell.textContent = stat in summary ? format(summary[stat]) : "–";
    }
    document.body.dataset[name === "polling" ? "countPolling" : "countWebsocket"] = one.count;
  }
  document.body.dataset.count = total;
  document.body.dataset.altered = altered;

  const { handshake, upgrade, heartbeats, openedAt, socket } = link ?? {};
  put("sid", handshake?.sid ?? "–");
  put("upgrade", openedAt ? upgrade : "–");
  put("uptime", openedAt ? duration(performance.now() - openedAt) : "–");
  put("ping-interval", handshake ? duration(handshake.pingInterval) : "–");
  put("ping-timeout", handshake ? duration(handshake.pingTimeout) : "–");
  put("max-payload", handshake?.maxPayload ? bytes(handshake.maxPayload) : "–");
  put("heartbeats", heartbeats ?? 0);
  put("reconnections", reconnections);
  put("altered", altered);
  put("lost", lost);
  const wait = Math.max(0, retryAt - performance.now());
  put("countdown", document.body.dataset.state === "waiting" ? `next try in ${Math.ceil(wait / 1000)} s` : "");
}

/** Writes only what changed, which spares the browser the layout and screen readers the noise. */
function put(id, value) {
  const text = String(value);
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

function showInspected(sample) {
  if (!sample) {
    put("inspect", "Round trips in order, logarithmic scale");
    return;
  }
  const how = sample.crossed ? "in flight during the upgrade" : `over ${NAMES[sample.via]}`;
  put("inspect", `Round trip ${sample.seq.toLocaleString("en")}: ${format(sample.rtt)} ms, ${how}`);
}

/** Milliseconds with about three significant digits. */
const format = (ms) => ms.toFixed(ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0);

function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

function bytes(n) {
  for (const [unit, size] of [["MB", 1e6], ["kB", 1e3], ["MiB", 2 ** 20], ["KiB", 1024]]) {
    if (n % size === 0) return `${n / size} ${unit}`;
  }
  return `${n.toLocaleString("en")} B`;
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1);

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", ({ target }) => {
  if (target.name === "mode") return reconnectAs(target.value);
  if (target.name === "rate") return restartTimer();
  // Times of different messages do not compare: the statistics restart, the plot keeps its history.
  resetStatistics();
  plot.mark("change", `${form.querySelector("[name=size]:checked").nextElementSibling.textContent} ${setting("format")}`);
  paint();
});

$("pause").addEventListener("click", ({ currentTarget: button }) => {
  paused = !paused;
  button.setAttribute("aria-pressed", paused);
});
$("clear").addEventListener("click", () => {
  resetStatistics();
  plot.clear();
  paint();
});
$("retry").addEventListener("click", connect);
// The network, or the visitor, is back: no reason to wait any longer.
const hurry = () => document.body.dataset.state === "waiting" && !document.hidden && connect();
addEventListener("online", hurry);
document.addEventListener("visibilitychange", hurry);

put("clock", `This browser’s clock moves in steps of ${step < 0.1 ? `${Math.round(step * 1000)} µs` : `${Number(step.toFixed(1))} ms`}.`);
showInspected(null);
setInterval(paint, 500); // for what changes without a message: countdown, time connected
restartTimer();
connect();

/** What a test may look at. */
window.__latency = {
  get marks() { return plot.marks; },
  get axis() { return plot.axis; },
  /** Plots a round trip that did not take place. */
  sample(rtt) { plot.sample({ seq: 1, rtt, via: "websocket", crossed: true, trend: rtt }); },
  get lost() { return lost; },
};
