// The live plot.
//
// The horizontal axis counts round trips, not seconds: the whole life of a connection on polling may last
// 20 ms before it is upgraded, which a time axis would squeeze into one pixel. The vertical axis is
// logarithmic, because the two transports, and one bad stall, lie orders of magnitude apart.

const SLOT = 7; // CSS pixels given to one round trip
const KEEP = 1024; // entries remembered; more than any screen has slots
const GUTTER = 54; // least room for the labels of the vertical axis
const LABEL_GAP = 8; // between a label and the plot
const LABEL_ROW = 22;
const MAX_ROWS = 3; // of mark labels, above the curve
const BOTTOM = 26; // transport ribbon and axis labels
const GLIDE_MS = 110; // time constant of every movement

export class Plot {
  #canvas;
  #ctx;
  #entries = []; // samples and marks, oldest first, each with its slot `x`
  #next = 1; // the slot the next entry takes
  #view = { start: 0, lo: Math.log10(0.2), hi: Math.log10(20), rows: 1 }; // the range that is shown ...
  #goal = { ...this.#view }; // ... and the range it glides to
  #size = { width: 0, height: 0, ratio: 1 };
  #gutter = GUTTER; // as wide as the widest label needs
  #inspected = null;
  #frame = 0;
  #last = 0;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");
  #ink = {};

  /** Calls `oninspect` with the sample under the pointer or the arrow keys, or with null. */
  constructor(canvas, oninspect) {
    this.#canvas = canvas;
    this.#ctx = canvas.getContext("2d");
    this.oninspect = oninspect;
    this.#readInk();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#readInk());
    new ResizeObserver(() => this.#resize()).observe(canvas);
    canvas.addEventListener("pointermove", (e) => this.#point(e.offsetX));
    canvas.addEventListener("pointerdown", (e) => this.#point(e.offsetX));
    canvas.addEventListener("pointerleave", () => this.#inspect(null));
    canvas.addEventListener("blur", () => this.#inspect(null));
    canvas.addEventListener("keydown", (e) => this.#key(e));
  }

  /** Adds one round trip: `{ seq, rtt, via, crossed, trend }`, times in milliseconds. */
  sample(sample) {
    this.#push({ kind: "sample", ...sample }, 1);
  }

  /** Adds a labelled line and returns it, so that its text can be changed until `refresh` is called. */
  mark(kind, text, tone = "quiet") {
    // A closed connection leaves a visible hole in the curve; any other mark is only a line.
    return this.#push({ kind, text, tone }, kind === "gap" ? 4 : 1);
  }

  refresh() {
    if (!this.#frame) {
      this.#last = performance.now();
      this.#frame = requestAnimationFrame((now) => this.#tick(now));
    }
  }

  clear() {
    this.#entries = [];
    this.#next = 1;
    this.#view.start = 0;
    this.#inspect(null);
    this.#aim();
  }

  /** The marks in view, as drawn. */
  get marks() {
    return this.#entries.filter((e) => e.kind !== "sample" && e.x >= this.#view.start).map(({ kind, text }) => ({ kind, text }));
  }

  /** The labels of the vertical axis, with the position of their left edge. */
  get axis() {
    const left = (label) => this.#gutter - LABEL_GAP - this.#ctx.measureText(label).width;
    return this.#ticks().map(({ label }) => ({ label, left: left(label) }));
  }

  #push(entry, slots) {
    entry.x = this.#next + (slots - 1) / 2;
    entry.slots = slots;
    this.#next += slots;
    this.#entries.push(entry);
    if (this.#entries.length > KEEP) this.#entries.shift();
    this.#aim();
    return entry;
  }

  /** Chooses where the view should be, leaving it to #tick to go there. */
  #aim() {
    const goal = this.#goal;
    goal.start = Math.max(0, this.#next + 2 - this.#slotsInView());
    let lo = Infinity;
    let hi = 0;
    for (const e of this.#entries) {
      if (e.kind === "sample" && e.x >= goal.start) {
        lo = Math.min(lo, e.rtt, e.trend);
        hi = Math.max(hi, e.rtt, e.trend);
      }
    }
    if (hi > 0) {
      // Some air around the extremes, and a decade at least: a flat line should look flat, not like noise
      // blown up to full height.
      let bottom = Math.log10(lo) - 0.12;
      let top = Math.log10(hi) + 0.12;
      const lack = 1 - (top - bottom);
      if (lack > 0) {
        bottom -= lack / 2;
        top += lack / 2;
      }
      goal.lo = bottom;
      goal.hi = top;
    }
    this.refresh();
  }

  #tick(now) {
    this.#frame = 0;
    if (devicePixelRatio !== this.#size.ratio) this.#resize(); // zoomed, or moved to another screen
    const glide = this.#calm.matches ? 1 : 1 - Math.exp(-(now - this.#last) / GLIDE_MS);
    let moving = false;
    for (const key of Object.keys(this.#view)) {
      const way = this.#goal[key] - this.#view[key];
      // A distance too small to see ends the movement, and with it the redrawing.
      const done = Math.abs(way) < 0.002;
      this.#view[key] = done ? this.#goal[key] : this.#view[key] + way * glide;
      moving ||= !done;
    }
    this.#draw();
    if (moving) {
      this.#last = now;
      this.#frame = requestAnimationFrame((t) => this.#tick(t));
    }
  }

  // Geometry

  #slotsInView() {
    return Math.max(1, (this.#size.width - this.#gutter - 4) / SLOT);
  }

  #px(x) {
    return this.#gutter + (x - this.#view.start) * SLOT;
  }

  #py(rtt) {
    const { lo, hi } = this.#view;
    const floor = this.#size.height - BOTTOM;
    return floor - ((Math.log10(rtt) - lo) / (hi - lo)) * (floor - this.#top());
  }

  /** Where the curve's room begins, below the labels of the marks. */
  #top() {
    return this.#view.rows * LABEL_ROW + 10;
  }

  #resize() {
    const ratio = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    this.#size = { width, height, ratio };
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    this.#aim();
    // Resizing empties a canvas; drawing in the same turn avoids a blank frame.
    this.#view.start = this.#goal.start;
    this.#draw();
  }

  #readInk() {
    const css = getComputedStyle(this.#canvas);
    for (const name of ["text", "quiet", "line", "card", "polling", "websocket", "bad"]) {
      this.#ink[name] = css.getPropertyValue(`--${name}`).trim();
    }
    this.#ink.font = `12px ${css.getPropertyValue("--sans")}`;
    this.refresh();
  }

  // Drawing

  #draw() {
    const ctx = this.#ctx;
    const { width, height, ratio } = this.#size;
    if (!width) return;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    ctx.font = this.#ink.font;
    ctx.lineJoin = ctx.lineCap = "round";

    const ticks = this.#ticks();
    const widest = Math.max(0, ...ticks.map(({ label }) => ctx.measureText(label).width));
    const gutter = Math.max(GUTTER, Math.ceil(widest) + LABEL_GAP + 2);
    if (gutter !== this.#gutter) {
      this.#gutter = gutter;
      this.#aim();
    }
    this.#drawGrid(ticks);
    ctx.save();
    ctx.beginPath();
    ctx.rect(gutter - 3, 0, width - gutter + 3, height);
    ctx.clip();
    const visible = this.#entries.filter((e) => e.x + e.slots >= this.#view.start - 1);
    this.#drawRibbon(visible);
    this.#drawLines(visible);
    this.#drawTrend(visible);
    this.#drawSamples(visible);
    this.#drawLabels(visible);
    ctx.restore();
  }

  /** The values of the vertical axis that have a line, and their labels. */
  #ticks() {
    const ticks = [];
    const decades = this.#view.hi - this.#view.lo;
    const steps = decades > 3 ? [1] : decades > 1.7 ? [1, 3] : [1, 2, 5];
    for (let power = Math.floor(this.#view.lo); power <= this.#view.hi; power++) {
      for (const step of steps) {
        const value = step * 10 ** power;
        const log = Math.log10(value);
        if (log < this.#view.lo || log > this.#view.hi) continue;
        ticks.push({ value, label: `${Number(value.toPrecision(1)).toLocaleString("en")} ms` });
      }
    }
    return ticks;
  }

  #drawGrid(ticks) {
    const ctx = this.#ctx;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    ctx.lineWidth = 1;
    for (const { value, label } of ticks) {
      const y = Math.round(this.#py(value)) + 0.5;
      ctx.strokeStyle = this.#ink.line;
      ctx.beginPath();
      ctx.moveTo(this.#gutter, y);
      ctx.lineTo(this.#size.width, y);
      ctx.stroke();
      ctx.fillStyle = this.#ink.quiet;
      ctx.fillText(label, this.#gutter - LABEL_GAP, y);
    }
  }

  /** A band under the curve that says which transport carried what stands above it. */
  #drawRibbon(entries) {
    const ctx = this.#ctx;
    const y = this.#size.height - BOTTOM + 5;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    const every = this.#size.width < 500 ? 10 : 20;
    for (const e of entries) {
      if (e.kind !== "sample") continue;
      const x = this.#px(e.x);
      if (!e.crossed) {
        ctx.fillStyle = this.#ink[e.via];
        ctx.fillRect(x - SLOT / 2 - 0.25, y, SLOT + 0.5, 3);
      }
      if (e.seq % every === 0) {
        ctx.fillStyle = this.#ink.quiet;
        ctx.fillText(e.seq.toLocaleString("en"), x, y + 8);
      }
    }
  }

  #drawLines(entries) {
    const ctx = this.#ctx;
    const floor = this.#size.height - BOTTOM + 8;
    for (const e of entries) {
      if (e.kind === "sample") continue;
      const x = Math.round(this.#px(e.x)) + 0.5;
      ctx.strokeStyle = this.#ink[e.tone];
      ctx.lineWidth = 1;
      ctx.setLineDash(e.kind === "upgrade" ? [] : [3, 4]);
      ctx.beginPath();
      ctx.moveTo(x, 12);
      ctx.lineTo(x, floor);
      ctx.stroke();
    }
    ctx.setLineDash([]);
  }

  #drawTrend(entries) {
    const ctx = this.#ctx;
    ctx.lineWidth = 1.75;
    ctx.globalAlpha = 0.8;
    let previous = null;
    ctx.beginPath();
    for (const e of entries) {
      // A line joins neighbours only: never across a mark, an upgrade or a closed connection.
      const joined = e.kind === "sample" && !e.crossed;
      if (joined && previous?.via === e.via) {
        ctx.lineTo(this.#px(e.x), this.#py(e.trend));
      } else {
        ctx.stroke();
        ctx.beginPath();
        if (joined) {
          ctx.strokeStyle = this.#ink[e.via];
          ctx.moveTo(this.#px(e.x), this.#py(e.trend));
        }
      }
      previous = joined ? e : null;
    }
    ctx.stroke();
    ctx.globalAlpha = 1;
  }

  #drawSamples(entries) {
    const ctx = this.#ctx;
    let latest = null;
    for (const e of entries) {
      if (e.kind !== "sample") continue;
      latest = e;
      ctx.globalAlpha = 0.6;
      this.#drawDot(e, 2.25);
    }
    ctx.globalAlpha = 1;
    if (latest) this.#drawDot(latest, 3.25);
    if (this.#inspected) {
      const x = Math.round(this.#px(this.#inspected.x)) + 0.5;
      ctx.strokeStyle = this.#ink.quiet;
      ctx.lineWidth = 1;
      ctx.beginPath();
      ctx.moveTo(x, this.#top());
      ctx.lineTo(x, this.#size.height - BOTTOM);
      ctx.stroke();
      this.#drawDot(this.#inspected, 4.5);
    }
  }

  #drawDot(e, radius) {
    const ctx = this.#ctx;
    const x = this.#px(e.x);
    const y = this.#py(e.rtt);
    ctx.beginPath();
    if (e.via === "polling" && !e.crossed) {
      const r = radius * 1.25; // a diamond of the same visual weight
      ctx.moveTo(x, y - r);
      ctx.lineTo(x + r, y);
      ctx.lineTo(x, y + r);
      ctx.lineTo(x - r, y);
      ctx.closePath();
    } else {
      ctx.arc(x, y, radius, 0, 2 * Math.PI);
    }
    if (e.crossed) {
      ctx.strokeStyle = this.#ink.quiet;
      ctx.lineWidth = 1.5;
      ctx.stroke();
    } else {
      ctx.fillStyle = this.#ink[e.via];
      ctx.fill();
    }
  }

  #drawLabels(entries) {
    const ctx = this.#ctx;
    const right = this.#size.width - 1;
    const rowEnds = Array(MAX_ROWS).fill(-Infinity);
    let rows = 1;
    ctx.textAlign = "left";
    ctx.textBaseline = "middle";
    for (const e of entries) {
      if (e.kind === "sample") continue;
      const width = ctx.measureText(e.text).width + 14;
      const line = this.#px(e.x);
      const x = Math.round(Math.min(line, right - width));
      // The highest row with room; failing that the one whose last label is soonest left behind.
      let row = rowEnds.findIndex((end) => x > end + 6);
      if (row < 0) row = rowEnds.indexOf(Math.min(...rowEnds));
      rowEnds[row] = x + width;
      rows = Math.max(rows, row + 1);
      const y = 1 + row * LABEL_ROW;
      ctx.fillStyle = this.#ink.card;
      ctx.strokeStyle = this.#ink[e.tone];
      ctx.lineWidth = 1;
      ctx.beginPath();
      ctx.roundRect(x + 0.5, y + 0.5, width, LABEL_ROW - 4, 4);
      ctx.fill();
      ctx.stroke();
      ctx.fillStyle = this.#ink[e.tone];
      ctx.fillText(e.text, x + 7.5, y + LABEL_ROW / 2 - 1);
    }
    if (rows !== this.#goal.rows) {
      this.#goal.rows = rows;
      this.refresh();
    }
  }

  // Inspection of single samples

  #point(offsetX) {
    const x = this.#view.start + (offsetX - this.#gutter) / SLOT;
    let nearest = null;
    for (const e of this.#entries) {
      if (e.kind === "sample" && (!nearest || Math.abs(e.x - x) < Math.abs(nearest.x - x))) nearest = e;
    }
    this.#inspect(nearest);
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.#inspect(null);
    if (!step) return;
    event.preventDefault();
    const samples = this.#entries.filter((e) => e.kind === "sample" && e.x >= this.#view.start);
    const at = samples.indexOf(this.#inspected);
    this.#inspect(at < 0 ? samples.at(-1) ?? null : samples[Math.min(samples.length - 1, Math.max(0, at + step))]);
  }

  #inspect(sample) {
    this.#inspected = sample;
    this.oninspect(sample);
    this.refresh();
  }
}
