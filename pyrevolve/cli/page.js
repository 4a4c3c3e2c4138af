"use strict";

// The page of one schedule. The instructions are in the element "data"; see page.py for how they are packed.

const FORWARD = 0, SAVE = 1, LOAD = 2, REVERSE = 3, FREE = 4, TURN = 5, END = 6;
const NAMES = ["FORWARD", "SAVE", "LOAD", "REVERSE", "FREE", "TURN", "END"];
const KIND = 7, KEEP = 8, STEP_DATA = 16;

const element = (id) => document.getElementById(id);

// --- the schedule ------------------------------------------------------------------------------------------------

/** All instructions, and what follows from them: times, what the workspace holds, when snapshots are kept. */
class Schedule {
  constructor(data, buffer) {
    this.data = data;
    const length = (this.length = data.length);
    this.first = new Float64Array(buffer, 0, length);
    this.second = new Float64Array(buffer, 8 * length, length);
    this.tier = new Int8Array(buffer, 16 * length, length);
    this.bits = new Uint8Array(buffer, 17 * length, length);
    this.turn = this.bits.findIndex((bits) => (bits & KIND) === TURN);
    this.ends = { time: new Float64Array(length), instruction: new Float64Array(length) };
    this.follow();
  }

  kind(i) { return this.bits[i] & KIND; }

  begin(by, i) { return i ? this.ends[by][i - 1] : 0; }

  total(by) { return this.ends[by][this.length - 1]; }

  /** Go through the run once. A snapshot is there after instruction i where saved <= i < dropped. */
  follow() {
    const { length, data } = this, { window, lookback, lag, costs, tiers } = data;
    for (const name of ["position", "oldest", "newest", "reversedTo"]) this[name] = new Float64Array(length);
    this.held = tiers.map(() => new Int32Array(length));
    this.snapshots = [];
    const slots = new Map(), held = tiers.map(() => 0);
    let time = 0, position = 0, oldest = 0, newest = -1, reversedTo = data.timesteps;
    const arrive = (t) => {
      position = t;
      oldest = 1 + Math.max(t - lookback, t - window) - lag;
      newest = t - lag;
    };
    const drop = (i, key) => {
      slots.get(key).dropped = i;
      slots.delete(key);
      held[this.tier[i]] -= 1;
    };
    arrive(0);
    for (let i = 0; i < length; i++) {
      const kind = this.kind(i), first = this.first[i], second = this.second[i];
      const tier = this.tier[i], key = `${tier}:${second}`;
      if (kind === FORWARD) {
        time += costs.forward_call + costs.forward_step * (second - first);
        position = second;
        newest = second - lag;
        oldest = Math.max(oldest, newest - window + 1);
      } else if (kind === REVERSE) {
        time += costs.reverse_call + costs.reverse_step * (second - first);
        reversedTo = first;
      } else if (kind === SAVE) {
        time += tiers[tier].save;
        const stepData = Boolean(this.bits[i] & STEP_DATA);
        const snapshot = { tier, slot: second, t: first, stepData, saved: i, dropped: length, loads: 0 };
        slots.set(key, snapshot);
        this.snapshots.push(snapshot);
        held[tier] += 1;
      } else if (kind === LOAD) {
        // A free initial state has no slot, and costs as much as a load from the first tier.
        time += tiers[Math.max(0, tier)].load;
        if (this.bits[i] & STEP_DATA) {
          oldest = newest = first;
          position = data.carries ? first + 1 : NaN;
        } else arrive(first);
        if (second >= 0) {
          slots.get(key).loads += 1;
          if (!(this.bits[i] & KEEP)) drop(i, key);
        }
      } else if (kind === FREE) drop(i, key);
      this.ends.time[i] = time;
      this.ends.instruction[i] = i + 1;
      this.position[i] = position;
      this.oldest[i] = oldest;
      this.newest[i] = newest;
      this.reversedTo[i] = reversedTo;
      held.forEach((count, number) => { this.held[number][i] = count; });
    }
  }

  /** The first instruction that ends after x; the last where none does. */
  at(by, x) {
    const ends = this.ends[by];
    let low = 0, high = this.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ends[middle] > x) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** The snapshots that are there after instruction i. */
  stored(i) { return this.snapshots.filter((snapshot) => snapshot.saved <= i && i < snapshot.dropped); }

  /** The step data that the workspace retains after instruction i: its first and last timestep, or null. */
  retained(i) {
    const low = Math.max(0, this.oldest[i]), high = Math.min(this.newest[i], this.data.timesteps - 1);
    return low <= high ? [low, high] : null;
  }

  place(tier, slot) {
    const where = this.data.tiers[tier].where;
    return `${where}, slot ${slot}`;
  }

  what(i) { return `${this.bits[i] & STEP_DATA ? "step data of timestep" : "state"} ${this.first[i]}`; }

  describe(i) {
    const kind = this.kind(i), first = this.first[i], second = this.second[i], name = NAMES[kind];
    const steps = `${number(second - first)} timestep${second - first === 1 ? "" : "s"}`;
    switch (kind) {
      case FORWARD: return `${name} ${first} → ${second}: ${steps}, ${i < this.turn ? "first sweep" : "run again"}`;
      case REVERSE: return `${name} ${second} → ${first}: ${steps}`;
      case SAVE: return `${name} ${this.what(i)} ${this.place(this.tier[i], second)}`;
      case LOAD:
        if (second < 0) return `${name} state 0, which is re-created`;
        return `${name} ${this.what(i)} (${this.place(this.tier[i], second)}), ` +
          (this.bits[i] & KEEP ? "which is kept" : "for the last time");
      case FREE: return `${name} ${this.what(i)} ${this.place(this.tier[i], second)}`;
      case TURN: return `${name}: the first sweep is done`;
      default: return name;
    }
  }

  describeSnapshot(snapshot) {
    const gone = snapshot.dropped < this.length ? `dropped by instruction ${snapshot.dropped + 1}` : "kept to the end";
    return `Snapshot of ${snapshot.stepData ? "step data of timestep" : "state"} ${snapshot.t} ` +
      `${this.place(snapshot.tier, snapshot.slot)}: stored by instruction ${snapshot.saved + 1}, ` +
      `loaded ${snapshot.loads} time${snapshot.loads === 1 ? "" : "s"}, ${gone}`;
  }

  describeState(i) {
    const words = [], retained = this.retained(i);
    words.push(Number.isNaN(this.position[i]) ? "The workspace holds no state" :
      `The workspace holds state ${this.position[i]}`);
    words.push(!retained ? "and no step data." : retained[0] === retained[1] ?
      `and the step data of timestep ${retained[0]}.` :
      `and the step data of timesteps ${retained[0]} to ${retained[1]}.`);
    const { timesteps, tiers } = this.data, left = this.reversedTo[i];
    if (i >= this.turn) words.push(left ? `Timesteps 0 to ${left - 1} are still to be reversed.` : "All is reversed.");
    const stored = this.stored(i);
    tiers.forEach((tier, which) => {
      const here = stored.filter((snapshot) => snapshot.tier === which).sort((a, b) => a.t - b.t);
      if (!here.length) return;
      const shown = here.slice(0, 16).map((s) => (s.stepData ? `data ${s.t}` : s.t)).join(", ");
      words.push(`Stored ${tier.where}: ${shown}${here.length > 16 ? `, … (${here.length})` : ""}.`);
    });
    return words.join(" ");
  }
}

// --- numbers -----------------------------------------------------------------------------------------------------

function number(value) {
  return Number(value.toPrecision(Math.abs(value) >= 1e4 ? 6 : 4)).toLocaleString("en-US", { maximumFractionDigits: 9 });
}

/** A number at an axis, where there is little room. */
function tickText(value) {
  return Math.abs(value) >= 1e6 ? value.toExponential().replace("e+", "e") : number(value);
}

const UNITS = [[3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];

/** A unit in which values up to this one are easily read. */
function unitFor(most, unit) {
  if (unit !== "s") return [1, unit];
  return UNITS.find(([scale]) => most >= 2 * scale) || [1, "s"];
}

function timeText(value, unit) {
  const [scale, name] = unitFor(value, unit);
  return `${number(value / scale)} ${name}`;
}

/** Round values between low and high, about `count` of them. */
function ticks(low, high, count, whole) {
  const rough = (high - low) / Math.max(1, count), power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  if (whole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}

// --- the picture -------------------------------------------------------------------------------------------------

const LEFT = 74, TOP = 20, MOST_MARKS = 1500;
const DASHES = [[], [7, 4], [2, 3], [7, 3, 2, 3]];

/** Draws the schedule, and over it the moment that is shown. */
class Picture {
  constructor(schedule) {
    this.schedule = schedule;
    this.by = "time";
    this.canvases = [element("timesteps"), element("held")];
    this.bases = this.canvases.map(() => document.createElement("canvas"));
    this.pointer = null; // x of the mouse, in pixels
    this.selection = null; // two x, in pixels
    this.view = [0, this.total()];
    this.used = new Set(schedule.snapshots.map((snapshot) => snapshot.tier)); // tiers with a snapshot at any time
  }

  total() { return this.schedule.total(this.by) || 1; }

  color(name) { return this.style.getPropertyValue(`--${name}`).trim(); }

  /** Some colours are hard to see on black; others stand for them there. */
  paint(color) { return (this.dark && this.schedule.data.colors.onDark[color]) || color; }

  setView(left, right) {
    const total = this.total(), least = Math.min(total, this.by === "time" ? total * 1e-6 : 4);
    const span = Math.min(total, Math.max(least, right - left));
    const start = Math.max(0, Math.min(left, total - span));
    this.view = [start, start + span];
    this.drawBases();
  }

  zoom(factor, around) {
    const [left, right] = this.view, middle = around === undefined ? (left + right) / 2 : around;
    this.setView(middle - (middle - left) * factor, middle + (right - middle) * factor);
  }

  x(value) { return LEFT + ((value - this.view[0]) / (this.view[1] - this.view[0])) * this.width; }

  valueAt(x) { return this.view[0] + ((x - LEFT) / this.width) * (this.view[1] - this.view[0]); }

  y(t) { return TOP + (1 - (t - this.bottom) / (this.top - this.bottom)) * this.height; }

  /** Fit the canvases to their boxes, and read the colours. */
  resize() {
    this.ratio = window.devicePixelRatio || 1;
    this.style = getComputedStyle(document.documentElement);
    const paper = this.color("paper");
    this.dark = parseInt(paper.slice(1, 3), 16) < 128;
    this.canvases.forEach((canvas, number) => {
      for (const each of [canvas, this.bases[number]]) {
        each.width = Math.max(1, Math.round(canvas.clientWidth * this.ratio));
        each.height = Math.max(1, Math.round(canvas.clientHeight * this.ratio));
      }
    });
    const whole = this.canvases[0].clientWidth;
    this.strip = whole < 600 ? 46 : 78; // the moment, at the right
    this.width = Math.max(10, whole - LEFT - this.strip - 30);
    this.height = this.canvases[0].clientHeight - TOP - 10;
    this.heldHeight = this.canvases[1].clientHeight - TOP - 42;
    this.stripLeft = LEFT + this.width + 22;
    this.drawBases();
  }

  context(canvas) {
    const context = canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.font = '12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif';
    context.lineJoin = "round";
    return context;
  }

  /** Instructions that are in view. */
  visible() {
    const { schedule, by, view } = this;
    return [schedule.at(by, view[0]), schedule.at(by, view[1])];
  }

  drawBases() {
    if (!this.style) return;
    const { schedule, by } = this, n = schedule.data.timesteps, [low, high] = this.visible();
    let bottom = Infinity, top = -Infinity;
    for (let i = low; i <= high; i++) {
      const kind = schedule.kind(i);
      if (kind !== FORWARD && kind !== REVERSE) continue;
      bottom = Math.min(bottom, schedule.first[i]);
      top = Math.max(top, schedule.second[i]);
    }
    if (high - low + 1 >= schedule.length || bottom > top) [bottom, top] = [0, n];
    const margin = 0.02 * Math.max(1, top - bottom);
    this.bottom = bottom - margin;
    this.top = Math.max(top, bottom + 1) + margin;
    this.drawTimesteps(this.context(this.bases[0]), low, high);
    this.drawHeld(this.context(this.bases[1]), low, high);
    this.draw();
  }

  drawFrame(context, height, values, label, toY) {
    const whole = context.canvas.width / this.ratio;
    context.clearRect(0, 0, whole, context.canvas.height / this.ratio);
    context.lineWidth = 1;
    context.strokeStyle = this.color("grid");
    context.fillStyle = this.color("faint");
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of values) {
      const y = Math.round(toY(value)) + 0.5;
      line(context, LEFT, y, LEFT + this.width, y);
      context.fillText(tickText(value), LEFT - 7, y);
    }
    context.save();
    context.translate(13, TOP + height / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    context.fillText(label, 0, 0);
    context.restore();
    const most = this.by === "time" ? unitFor(this.view[1], this.schedule.data.unit)[0] : 1;
    const across = ticks(this.view[0] / most, this.view[1] / most, this.width / 90, this.by !== "time");
    for (const value of across) {
      const x = Math.round(this.x(value * most)) + 0.5;
      line(context, x, TOP, x, TOP + height);
    }
    context.strokeStyle = this.color("line");
    context.strokeRect(LEFT + 0.5, TOP + 0.5, this.width, height);
    return across.map((value) => [value, this.x(value * most)]);
  }

  /** Draw within the frame, and as far beyond its sides as marks at its edge reach. */
  clip(context, height, beyond) {
    context.save();
    context.beginPath();
    context.rect(LEFT - beyond, TOP - 5, this.width + 2 * beyond, height + 10);
    context.clip();
  }

  drawTimesteps(context, low, high) {
    const { schedule, by } = this, { data } = schedule, ends = schedule.ends[by];
    const values = ticks(Math.max(0, this.bottom), Math.min(data.timesteps, this.top), this.height / 55, true);
    this.drawFrame(context, this.height, values, "timestep", (t) => this.y(t));
    this.clip(context, this.height, 1);
    const edge = (i) => (i < schedule.length ? ends[i] : ends[schedule.length - 1]);
    const seen = schedule.snapshots.filter((s) => s.saved <= high && s.dropped >= low);
    const thin = seen.length > MOST_MARKS;
    data.tiers.forEach((tier, which) => {
      context.strokeStyle = this.paint(tier.color);
      context.lineWidth = thin ? 0.7 : 1.4;
      context.setLineDash(thin ? [] : DASHES[which % DASHES.length]);
      context.beginPath();
      const drawn = new Drawn();
      for (const s of seen) {
        if (s.tier !== which) continue;
        const y = thin ? this.y(s.t) : Math.round(this.y(s.t)) + 0.5; // on the pixel, so that it is crisp
        const left = this.x(schedule.begin(by, s.saved)), right = this.x(edge(s.dropped));
        if (thin && drawn.before(left, right, y, y)) continue;
        context.moveTo(left, y);
        context.lineTo(right, y);
      }
      context.stroke();
    });
    context.setLineDash([]);
    this.drawRuns(context, FORWARD, low, high, this.paint(data.colors.forward), 1.6);
    this.drawRuns(context, REVERSE, low, high, this.paint(data.colors.reverse), 3);
    this.drawTurn(context, this.height);
    context.restore();
    if (!thin) {
      this.clip(context, this.height, 5);
      for (const s of seen) {
        const x = this.x((schedule.begin(by, s.saved) + ends[s.saved]) / 2);
        const color = this.paint(data.tiers[s.tier].color);
        if (s.saved >= low) dot(context, x, this.y(s.t), 3.2, color, this.color("paper"), s.stepData);
      }
      context.restore();
    }
    this.nameTurn(context);
  }

  drawRuns(context, kind, low, high, color, width) {
    const { schedule, by } = this;
    context.strokeStyle = color;
    context.lineWidth = width;
    context.lineCap = "round";
    context.beginPath();
    const drawn = new Drawn(), many = high - low > MOST_MARKS;
    for (let i = low; i <= high; i++) {
      if (schedule.kind(i) !== kind) continue;
      const forward = kind === FORWARD, left = this.x(schedule.begin(by, i)), right = this.x(schedule.ends[by][i]);
      const from = this.y(forward ? schedule.first[i] : schedule.second[i]);
      const to = this.y(forward ? schedule.second[i] : schedule.first[i]);
      if (many && drawn.before(left, right, from, to)) continue;
      context.moveTo(left, from);
      context.lineTo(right, to);
    }
    context.stroke();
    context.lineCap = "butt";
  }

  /** Where the turn is, in pixels; null where it is not in view. */
  turnX() {
    const x = this.x(this.schedule.ends[this.by][this.schedule.turn]);
    return x >= LEFT - 0.5 && x <= LEFT + this.width + 0.5 ? x : null;
  }

  drawTurn(context, height) {
    const x = this.turnX();
    if (x === null) return;
    context.strokeStyle = this.color("faint");
    context.lineWidth = 1;
    context.setLineDash([2, 3]);
    line(context, x, TOP, x, TOP + height);
    context.setLineDash([]);
  }

  nameTurn(context) {
    const x = this.turnX();
    if (x === null) return;
    context.fillStyle = this.color("faint");
    context.textAlign = "center";
    context.textBaseline = "bottom";
    context.fillText("turn", x, TOP - 3);
  }

  drawHeld(context, low, high) {
    const { schedule, by } = this, { data } = schedule, ends = schedule.ends[by];
    const most = Math.max(1, ...data.tiers.map((_, which) => schedule.held[which].reduce((a, b) => Math.max(a, b), 0)));
    this.heldY = (count) => TOP + (1 - count / (most * 1.12)) * this.heldHeight;
    const values = ticks(0, most, Math.max(1, this.heldHeight / 24), true);
    const across = this.drawFrame(context, this.heldHeight, values, "snapshots", this.heldY);
    context.fillStyle = this.color("faint");
    context.textBaseline = "top";
    for (const [value, x] of across) {
      context.textAlign = "center";
      context.fillText(tickText(value), x, TOP + this.heldHeight + 6);
    }
    const unit = unitFor(this.view[1], data.unit)[1];
    const label = by === "time" ? `execution time [${unit}]` : "instructions carried out";
    context.textAlign = "center";
    context.fillText(label, LEFT + this.width / 2, TOP + this.heldHeight + 23);
    this.clip(context, this.heldHeight, 1);
    data.tiers.forEach((tier, which) => {
      if (!this.used.has(which)) return;
      const held = schedule.held[which], color = this.paint(tier.color);
      const path = new Path2D();
      let y = this.heldY(low ? held[low - 1] : 0), lastX = NaN, least = y, greatest = y;
      path.moveTo(Math.max(LEFT, this.x(schedule.begin(by, low))), y);
      for (let i = low; i <= high; i++) {
        const x = this.x(ends[i]), next = this.heldY(held[i]);
        if (next === y && i < high) continue;
        // Within the same third of a pixel only the least and the most are to be seen.
        if (x - lastX < 0.33 && i < high) {
          [least, greatest] = [Math.min(least, next), Math.max(greatest, next)];
          y = next;
          continue;
        }
        if (least < greatest) {
          path.lineTo(lastX, least);
          path.lineTo(lastX, greatest);
          path.lineTo(lastX, y);
        }
        path.lineTo(x, y);
        path.lineTo(x, next);
        lastX = x;
        y = least = greatest = next;
      }
      context.setLineDash(DASHES[which % DASHES.length]);
      context.strokeStyle = color;
      context.lineWidth = 1.5;
      context.stroke(path);
      context.setLineDash([]);
      path.lineTo(this.x(ends[high]), this.heldY(0));
      path.lineTo(this.x(schedule.begin(by, low)), this.heldY(0));
      context.globalAlpha = 0.16;
      context.fillStyle = color;
      context.fill(path);
      context.globalAlpha = 1;
    });
    this.drawTurn(context, this.heldHeight);
    context.restore();
  }

  /** Draw the moment over the picture; `clock` is how many instructions are carried out, with a fraction. */
  draw(clock = this.clock) {
    this.clock = clock;
    if (!this.style) return;
    const contexts = this.canvases.map((canvas, which) => {
      const context = this.context(canvas);
      context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
      context.drawImage(this.bases[which], 0, 0, canvas.clientWidth, canvas.clientHeight);
      return context;
    });
    const moment = this.x(this.executed(clock)), end = LEFT + this.width;
    [this.height, this.heldHeight].forEach((height, which) => {
      const context = contexts[which], veil = Math.max(LEFT, moment);
      if (veil < end) {
        context.fillStyle = this.color("veil");
        context.fillRect(veil, TOP + 1, end - veil, height - 1);
      }
      if (this.selection) {
        const [from, to] = this.selection;
        context.globalAlpha = 0.18;
        context.fillStyle = this.color("focus");
        context.fillRect(Math.min(from, to), TOP, Math.abs(to - from), height);
        context.globalAlpha = 1;
      }
      context.lineWidth = 1;
      if (this.pointer !== null) {
        context.strokeStyle = this.color("line");
        line(context, this.pointer, TOP, this.pointer, TOP + height);
      }
      if (moment >= LEFT - 1 && moment <= end + 1) {
        context.strokeStyle = this.color("ink");
        context.lineWidth = 1.4;
        line(context, moment, TOP, moment, TOP + height);
      }
    });
    this.drawMoment(contexts[0], contexts[1], clock, moment);
  }

  current(clock) { return Math.min(this.schedule.length - 1, Math.max(0, Math.ceil(clock) - 1)); }

  executed(clock) {
    const i = this.current(clock), begin = this.schedule.begin(this.by, i);
    return begin + (this.schedule.ends[this.by][i] - begin) * (clock - i);
  }

  clockAt(value) {
    const i = this.schedule.at(this.by, value), begin = this.schedule.begin(this.by, i);
    const span = this.schedule.ends[this.by][i] - begin;
    return i + (span ? Math.min(1, Math.max(0, (value - begin) / span)) : 1);
  }

  /** The strip at the right: what is reversed, what the workspace retains, where it stands, what is stored. */
  drawMoment(context, below, clock, moment) {
    const { schedule } = this, { data } = schedule, i = this.current(clock), part = clock - i;
    const left = this.stripLeft, width = this.strip - 8, right = left + width, kind = schedule.kind(i);
    const [first, second] = [schedule.first[i], schedule.second[i]];
    let position = schedule.position[i], reversedTo = schedule.reversedTo[i];
    if (kind === FORWARD) position = first + part * (second - first);
    if (kind === REVERSE) reversedTo = second - part * (second - first);
    const band = (from, to, color, alpha) => {
      const y = Math.max(TOP, this.y(to)), height = Math.min(TOP + this.height, this.y(from)) - y;
      if (height <= 0) return;
      context.globalAlpha = alpha;
      context.fillStyle = color;
      context.fillRect(left, y, width, Math.max(1.5, height));
      context.globalAlpha = 1;
    };
    context.save();
    context.beginPath();
    context.rect(left - 12, TOP, width + 20, this.height);
    context.clip();
    context.fillStyle = this.color("panel");
    context.fillRect(left, TOP, width, this.height);
    if (i >= schedule.turn) band(reversedTo, data.timesteps, this.paint(data.colors.reverse), 0.4);
    const retained = schedule.retained(i);
    if (retained) band(retained[0], Math.min(retained[1] + 1, reversedTo), this.paint(data.colors.forward), 0.38);
    const stored = schedule.stored(i), shown = moment >= LEFT && moment <= LEFT + this.width;
    context.lineWidth = stored.length > 200 ? 1 : 2.2;
    for (const s of stored) {
      const y = this.y(s.t), color = this.paint(data.tiers[s.tier].color);
      context.strokeStyle = color;
      context.setLineDash(DASHES[s.tier % DASHES.length]);
      line(context, left, y, right, y);
    }
    context.setLineDash([]);
    if (!Number.isNaN(position)) {
      const y = this.y(position);
      context.fillStyle = this.color("ink");
      context.beginPath();
      context.moveTo(left - 1, y);
      context.lineTo(left - 10, y - 5.5);
      context.lineTo(left - 10, y + 5.5);
      context.fill();
    }
    context.restore();
    context.strokeStyle = this.color("line");
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, TOP + 0.5, width, this.height);
    if (shown) {
      const marked = kind === FORWARD ? position : kind === REVERSE ? reversedTo : kind < TURN ? first : NaN;
      if (!Number.isNaN(marked)) dot(context, moment, this.y(marked), 4.5, this.color("ink"), this.color("paper"));
    }
    below.textAlign = "left";
    below.textBaseline = "top";
    let y = TOP;
    for (const [which, tier] of data.tiers.entries()) {
      if (!this.used.has(which)) continue;
      below.fillStyle = this.paint(tier.color);
      below.fillRect(left, y + 2, 8, 9);
      below.fillStyle = this.color("ink");
      below.fillText(`${number(schedule.held[which][i])}`, left + 13, y);
      y += 17;
    }
    context.fillStyle = this.color("faint");
    context.textAlign = "center";
    context.textBaseline = "bottom";
    context.fillText("now", left + width / 2, TOP - 3);
  }
}

/** Lines that were drawn, to a third of a pixel: of thousands in one place, one is enough. */
class Drawn {
  constructor() { this.lines = new Set(); }

  before(x0, x1, y0, y1) {
    // Four times 13 bits, less than 2 ** 53: places up to 2730 pixels, twice as many as the page is wide.
    const place = (value) => Math.max(0, Math.min(8191, Math.round(3 * value)));
    const key = ((place(x0) * 8192 + place(x1)) * 8192 + place(y0)) * 8192 + place(y1);
    if (this.lines.has(key)) return true;
    this.lines.add(key);
    return false;
  }
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function dot(context, x, y, radius, color, paper, hollow = false) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = hollow ? paper : color;
  context.fill();
  context.lineWidth = 1.2;
  context.strokeStyle = hollow ? color : paper;
  context.stroke();
}

// --- playing -----------------------------------------------------------------------------------------------------

/** Where the run stands, and how it goes on. */
class Player {
  constructor(picture) {
    this.picture = picture;
    this.schedule = picture.schedule;
    this.clock = this.schedule.length;
    this.playing = false;
    this.last = 0;
    element("slider").max = this.schedule.length - 1;
    element("speed").value = this.schedule.length <= 100 ? "5" : "fast";
    this.show();
  }

  get current() { return this.picture.current(this.clock); }

  /** Go to where instruction i is carried out. */
  go(i) {
    this.clock = Math.min(this.schedule.length, Math.max(1, i + 1));
    this.follow();
    this.show();
  }

  toggle() {
    this.playing = !this.playing;
    if (this.playing && this.clock >= this.schedule.length) this.clock = 0;
    this.last = performance.now();
    element("now").setAttribute("aria-live", this.playing ? "off" : "polite");
    element("play").textContent = this.playing ? "Pause" : "Play";
    if (this.playing) requestAnimationFrame((now) => this.step(now));
  }

  step(now) {
    if (!this.playing) return;
    // A tab that was hidden does not jump ahead.
    const seconds = Math.min(0.25, Math.max(0, now - this.last) / 1000), speed = element("speed").value;
    this.last = now;
    const { picture } = this;
    if (speed === "slow" || speed === "fast") {
      const ahead = (picture.total() / (speed === "slow" ? 60 : 20)) * seconds;
      // Instructions that take no time are passed over.
      this.clock = Math.max(this.clock, picture.clockAt(picture.executed(this.clock) + ahead));
    } else this.clock += Number(speed) * seconds;
    if (this.clock >= this.schedule.length - 1e-9) {
      this.clock = this.schedule.length;
      this.toggle();
    }
    this.follow();
    this.show();
    if (this.playing) requestAnimationFrame((next) => this.step(next));
  }

  /** Move the picture so that the moment is in it. */
  follow() {
    const { picture } = this, [left, right] = picture.view, now = picture.executed(this.clock), span = right - left;
    if (now < left || now > right) picture.setView(now - 0.2 * span, now + 0.8 * span);
  }

  show() {
    const i = this.current, { schedule, picture } = this, { unit } = schedule.data;
    picture.draw(this.clock);
    element("slider").value = i;
    const told = `instruction ${i + 1} of ${schedule.length}: ${schedule.describe(i)}`;
    element("slider").setAttribute("aria-valuetext", told);
    element("instruction").textContent =
      `${i + 1} of ${schedule.length} · ${schedule.describe(i)} · ${timeText(schedule.ends.time[i], unit)}`;
    element("state").textContent = schedule.describeState(i);
  }
}

// --- what the user does --------------------------------------------------------------------------------------------

function showTooltip(picture, event, canvas) {
  const { schedule } = picture, tooltip = element("tooltip"), box = element("charts").getBoundingClientRect();
  const at = canvas.getBoundingClientRect(), x = event.clientX - at.left, y = event.clientY - at.top;
  const inside = x >= LEFT && x <= LEFT + picture.width;
  picture.pointer = inside ? x : null;
  tooltip.hidden = !inside;
  if (!inside) return;
  const i = schedule.at(picture.by, picture.valueAt(x)), { unit } = schedule.data;
  const from = schedule.begin("time", i), to = schedule.ends.time[i];
  tooltip.replaceChildren();
  const head = document.createElement("strong");
  head.textContent = schedule.describe(i);
  const lines = [`instruction ${i + 1} of ${schedule.length}, ${timeText(from, unit)} to ${timeText(to, unit)}`];
  if (canvas.id === "held") {
    schedule.data.tiers.forEach((tier, which) => lines.push(`held ${tier.where}: ${schedule.held[which][i]}`));
  } else {
    const near = schedule.stored(i)
      .map((snapshot) => [Math.abs(picture.y(snapshot.t) - y), snapshot])
      .filter(([distance]) => distance <= 6)
      .sort((a, b) => a[0] - b[0]);
    if (near.length) lines.push(schedule.describeSnapshot(near[0][1]));
  }
  tooltip.append(head, lines.join("\n"));
  const left = event.clientX - box.left, top = event.clientY - box.top;
  tooltip.style.left = `${Math.max(0, left + 16 + tooltip.offsetWidth > box.width ? left - 16 - tooltip.offsetWidth : left + 16)}px`;
  tooltip.style.top = `${Math.max(0, Math.min(top + 12, box.height - tooltip.offsetHeight))}px`;
}

function listenToCanvases(picture, player) {
  for (const canvas of picture.canvases) {
    let from = null;
    const place = (event) => {
      const x = event.clientX - canvas.getBoundingClientRect().left;
      return Math.min(LEFT + picture.width, Math.max(LEFT, x));
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      from = place(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      picture.selection = from !== null && Math.abs(place(event) - from) > 5 ? [from, place(event)] : null;
      showTooltip(picture, event, canvas);
      picture.draw();
    });
    canvas.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const to = place(event), ends = [from, to].map((x) => picture.valueAt(x)).sort((a, b) => a - b);
      const selected = picture.selection;
      [from, picture.selection] = [null, null];
      if (selected) picture.setView(...ends);
      else player.go(picture.schedule.at(picture.by, ends[0]));
    });
    canvas.addEventListener("pointercancel", () => { [from, picture.selection] = [null, null]; });
    canvas.addEventListener("pointerleave", () => {
      picture.pointer = null;
      element("tooltip").hidden = true;
      picture.draw();
    });
    canvas.addEventListener("dblclick", () => picture.setView(0, picture.total()));
  }
}

function listenToControls(picture, player) {
  const last = player.schedule.length - 1, step = (by) => player.go(player.current + by);
  const click = (id, action) => element(id).addEventListener("click", action);
  click("play", () => player.toggle());
  click("first", () => player.go(0));
  click("back", () => step(-1));
  click("forth", () => step(1));
  click("last", () => player.go(last));
  click("zoom-in", () => picture.zoom(0.5, picture.executed(player.clock)));
  click("zoom-out", () => picture.zoom(2));
  click("zoom-all", () => picture.setView(0, picture.total()));
  element("slider").addEventListener("input", () => player.go(Number(element("slider").value)));
  element("by").addEventListener("change", () => {
    picture.by = element("by").value;
    picture.setView(0, picture.total());
    label(picture);
  });
  click("theme", () => {
    const next = { system: "light", light: "dark", dark: "system" }[document.documentElement.dataset.theme || "system"];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    element("theme").textContent = `theme: ${next}`;
    picture.resize();
    legend(picture);
  });
  document.addEventListener("keydown", (event) => {
    const target = event.target, moves = ["ArrowLeft", "ArrowRight", "Home", "End"];
    if (event.ctrlKey || event.altKey || event.metaKey || target.tagName === "SELECT") return;
    if (target.tagName === "BUTTON" && (event.key === " " || event.key === "Enter")) return;
    if (target.id === "slider" && moves.includes(event.key) && !event.shiftKey) return;
    const actions = {
      " ": () => player.toggle(),
      ArrowLeft: () => step(event.shiftKey ? -10 : -1),
      ArrowRight: () => step(event.shiftKey ? 10 : 1),
      Home: () => player.go(0),
      End: () => player.go(last),
      "+": () => picture.zoom(0.5, picture.executed(player.clock)),
      "-": () => picture.zoom(2),
      0: () => picture.setView(0, picture.total()),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
}

function legend(picture) {
  const { data, snapshots } = picture.schedule, entries = [];
  const stroke = (color, width, dashes, dotted) =>
    `<svg viewBox="0 0 28 12" aria-hidden="true"><path d="${dotted ? "M2 6H26" : "M3 11L25 1"}" fill="none" ` +
    `stroke="${picture.paint(color)}" stroke-width="${width}" stroke-linecap="butt" stroke-dasharray="${dashes}"/>` +
    (dotted ? `<circle cx="5" cy="6" r="3.4" fill="${picture.paint(color)}"/>` : "") + "</svg>";
  entries.push([stroke(data.colors.forward, 2, "", false), "forward"]);
  entries.push([stroke(data.colors.reverse, 3.2, "", false).replace("M3 11L25 1", "M3 1L25 11"), "reverse"]);
  data.tiers.forEach((tier, which) => {
    if (!picture.used.has(which)) return;
    entries.push([stroke(tier.color, 1.8, DASHES[which % DASHES.length].join(" "), true), `snapshot ${tier.where}`]);
  });
  if (snapshots.some((snapshot) => snapshot.stepData)) {
    const ring = `<circle cx="14" cy="6" r="3.6" fill="none" stroke="${picture.paint(data.tiers[0].color)}" ` +
      'stroke-width="1.4"/>';
    entries.push([`<svg viewBox="0 0 28 12" aria-hidden="true">${ring}</svg>`, "step data of a timestep"]);
  }
  element("legend").replaceChildren(...entries.map(([picture_, text]) => {
    const item = document.createElement("li");
    item.innerHTML = picture_;
    item.append(text);
    return item;
  }));
}

function label(picture) {
  const { schedule } = picture, across = picture.by === "time" ? "execution time" : "instructions";
  const runs = `${schedule.length} instructions, ${schedule.snapshots.length} snapshots`;
  picture.canvases[0].setAttribute("aria-label",
    `Timesteps 0 to ${schedule.data.timesteps} against ${across}: ${runs}. The text below tells each instruction.`);
  picture.canvases[1].setAttribute("aria-label", `Snapshots held in every tier against ${across}.`);
}

async function unpack(text) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser is too old: it lacks DecompressionStream (Chrome 80, Firefox 113, Safari 16.4)");
  }
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

async function start() {
  const data = JSON.parse(element("data").textContent);
  const schedule = new Schedule(data, await unpack(data.instructions));
  const picture = new Picture(schedule), player = new Player(picture);
  listenToCanvases(picture, player);
  listenToControls(picture, player);
  const redraw = () => {
    picture.resize();
    legend(picture);
  };
  new ResizeObserver(redraw).observe(element("charts"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  redraw();
  label(picture);
  // For scripts, and for those who open the console.
  window.pyrevolve = { schedule, picture, player };
}

start().catch((error) => {
  element("message").textContent = `The schedule cannot be shown: ${error.message}`;
  element("message").hidden = false;
});
