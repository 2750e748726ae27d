"use strict";
// The script of the page that `dumpwright show --html` writes. It draws what the JSON in the
// element "data" has. Texts of the dump become text nodes, never HTML.
(() => {
  const began = performance.now();
  const root = document.documentElement;
  const by = (id) => document.getElementById(id);
  const fail = (text) => {
    root.dataset.failure = text;
    by("failure").textContent = `A part of this page could not be drawn: ${text}`;
    by("failure").hidden = false;
  };
  addEventListener("error", (event) => fail(event.message));
  addEventListener("securitypolicyviolation", (event) => fail(`${event.violatedDirective} ${event.blockedURI}`));

  const data = JSON.parse(by("data").textContent);
  const memory = data.memory;

  // Elements

  const make = (name, properties, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(properties || {})) {
      if (key === "class") element.className = value;
      else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  };
  const number = new Intl.NumberFormat("en");
  const count = (amount, noun) => `${number.format(amount)} ${noun}${amount === 1 ? "" : "s"}`;
  const size = (bytes) => {
    if (bytes < 1024) return `${bytes} B`;
    const units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let value = bytes;
    let unit = -1;
    while (value >= 1024 && unit < units.length - 1) {
      value /= 1024;
      unit += 1;
    }
    return `${value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
  };
  const swatch = (key) => {
    const element = make("span", { class: "swatch", "aria-hidden": "true" });
    element.style.background = `var(--${key})`;
    if (key === "absent") element.style.borderColor = "var(--absent-edge)";
    return element;
  };

  // Addresses are hexadecimal texts of equal length, because numbers of JavaScript are too short.

  const total = memory.sizes.length;
  const start = (index) => memory.starts.slice(16 * index, 16 * index + 16);
  const shorten = (digits) => digits.slice(16 - data.digits).padStart(data.digits, "0");
  const address = (index) => `0x${shorten(start(index))}`;
  const big = (index) => BigInt(`0x${start(index)}`);
  const last = (index) => {
    const end = big(index) + BigInt(memory.sizes[index]) - 1n;
    return `0x${end.toString(16).padStart(data.digits, "0")}`;
  };
  const owner = (index) => (memory.owners[index] < 0 ? "" : memory.labels[memory.owners[index]]);
  const kind = (index) => (memory.kind[index] < 0 ? "" : memory.kinds[memory.kind[index]]);
  const cause = (index) => memory.causes[memory.why[index]];
  const describe = (index) => {
    const parts = [`${address(index)} to ${last(index)}`, size(memory.sizes[index]), cause(index)[1]];
    if (owner(index)) parts.push(owner(index));
    if (kind(index)) parts.push(kind(index));
    return parts.join(" · ");
  };

  // Lists of which only the visible rows are elements.

  const HEIGHT = 26;
  class List {
    // columns: the heading, the width in CSS, and whether it is a number. cells(index) returns texts
    // or elements. matches(needle) returns a function that tells whether an entry is found.
    constructor(place, { label, columns, length, cells, matches, choose, none }) {
      Object.assign(this, { columns, length, cells, matches, choose });
      this.shown = null;
      this.chosen = -1;
      this.id = place;
      this.template = columns.map((column) => column[1]).join(" ");
      const head = make("div", { class: "row head", role: "row", "aria-rowindex": "1" });
      head.style.gridTemplateColumns = this.template;
      for (const [title, , isNumber] of columns) {
        head.append(make("span", { role: "columnheader", class: isNumber ? "number" : "" }, title));
      }
      this.space = make("div", { class: "space", role: "presentation" });
      this.body = make("div", { class: "body", role: "rowgroup" }, this.space);
      this.none = make("p", { class: "none" }, none || "Nothing");
      this.grid = make("div", { class: "list", role: "grid", tabindex: "0", "aria-label": label }, head, this.body, this.none);
      by(place).append(this.grid);
      this.body.addEventListener("scroll", () => this.draw());
      this.grid.addEventListener("keydown", (event) => this.key(event));
      this.body.addEventListener("click", (event) => {
        const row = event.target.closest("[data-at]");
        if (row) this.select(Number(row.dataset.at));
      });
      this.update();
    }
    get size() {
      return this.shown ? this.shown.length : this.length;
    }
    entry(at) {
      return this.shown ? this.shown[at] : at;
    }
    filter(test) {
      if (!test) {
        this.shown = null;
      } else {
        this.shown = [];
        for (let index = 0; index < this.length; index += 1) if (test(index)) this.shown.push(index);
      }
      this.chosen = -1;
      this.body.scrollTop = 0;
      this.update();
    }
    update() {
      this.grid.setAttribute("aria-rowcount", String(this.size + 1));
      this.space.style.height = `${this.size * HEIGHT}px`;
      this.none.hidden = this.size > 0;
      this.draw();
    }
    draw() {
      // A panel that is hidden has no height; a few rows are drawn there all the same.
      const height = this.body.clientHeight || 12 * HEIGHT;
      const first = Math.max(0, Math.floor(this.body.scrollTop / HEIGHT) - 4);
      const end = Math.min(this.size, first + Math.ceil(height / HEIGHT) + 8);
      const rows = [];
      for (let at = first; at < end; at += 1) {
        const row = make("div", {
          class: "row", role: "row", id: `${this.id}-${at}`, "data-at": String(at),
          "aria-rowindex": String(at + 2), "aria-selected": String(at === this.chosen),
        });
        row.style.gridTemplateColumns = this.template;
        row.style.top = `${at * HEIGHT}px`;
        this.cells(this.entry(at)).forEach((cell, column) => {
          const span = make("span", { role: "gridcell", class: this.columns[column][2] ? "number" : "" }, cell);
          if (typeof cell === "string" && cell.length > 24) span.title = cell;
          row.append(span);
        });
        rows.push(row);
      }
      this.space.replaceChildren(...rows);
      if (this.chosen >= first && this.chosen < end) this.grid.setAttribute("aria-activedescendant", `${this.id}-${this.chosen}`);
      else this.grid.removeAttribute("aria-activedescendant");
    }
    // Selects a row of those that are shown.
    select(at, isQuiet) {
      if (this.size === 0) return;
      this.chosen = Math.max(0, Math.min(this.size - 1, at));
      const top = this.chosen * HEIGHT;
      const height = this.body.clientHeight;
      if (top < this.body.scrollTop) this.body.scrollTop = top;
      else if (top + HEIGHT > this.body.scrollTop + height) this.body.scrollTop = top + HEIGHT - height;
      this.draw();
      if (!isQuiet && this.choose) this.choose(this.entry(this.chosen));
    }
    // Selects an entry if it is shown.
    selectEntry(index, isQuiet) {
      let at = index;
      if (this.shown) {
        let low = 0;
        let high = this.shown.length;
        while (low < high) {
          const middle = (low + high) >> 1;
          if (this.shown[middle] < index) low = middle + 1;
          else high = middle;
        }
        if (this.shown[low] !== index) return;
        at = low;
      }
      this.select(at, isQuiet);
    }
    key(event) {
      const page = Math.max(1, Math.floor(this.body.clientHeight / HEIGHT) - 1);
      const moves = {
        ArrowDown: this.chosen + 1, ArrowUp: this.chosen < 0 ? 0 : this.chosen - 1, PageDown: this.chosen + page,
        PageUp: this.chosen - page, Home: 0, End: this.size - 1, Enter: Math.max(0, this.chosen),
      };
      if (event.ctrlKey || event.altKey || event.metaKey || !(event.key in moves)) return;
      event.preventDefault();
      this.select(moves[event.key]);
    }
  }

  const textMatcher = (texts) => {
    let lowered = null;
    return (needle) => {
      lowered ||= texts.map((text) => text.toLowerCase());
      return (index) => lowered[index].includes(needle);
    };
  };

  // The summary

  const bars = (place, rows) => {
    const most = Math.max(1, ...rows.map((row) => row[1]));
    for (const [name, bytes, key, title] of rows) {
      const amount = make("div", { class: "amount" });
      amount.style.width = `${(100 * bytes) / most}%`;
      if (key) amount.style.background = `var(--${key})`;
      const head = make("th", { scope: "row" }, ...(key ? [swatch(key)] : []), name);
      if (title) head.title = title;
      by(place).tBodies[0].append(make("tr", {}, head, make("td", { class: "size" }, size(bytes)), make("td", { "aria-hidden": "true" }, amount)));
    }
  };

  const threadName = (thread) => (thread[1] ? `${thread[0]} ${thread[1]}` : String(thread[0]));
  const stackNames = (stack, most) => {
    const names = stack.rows.slice(0, most).map((row) => data.functions[row[0]]);
    return names.length ? names.join(" ← ") : stack.end || "(no frames)";
  };
  const stackTitle = (stack) => {
    const first = stack.threads.length ? threadName(data.threads[stack.threads[0]]) : "?";
    return stack.threads.length === 1 ? `thread ${first}` : `${count(stack.threads.length, "thread")}: ${first}, …`;
  };

  by("what").textContent = data.what;
  by("file").textContent = `${data.file} · ${size(data.bytes)}`;
  by("written").textContent = `Written by dumpwright ${data.version}. This page loads nothing.`;
  for (const [label, text] of data.rows) by("facts").append(make("dt", {}, label), make("dd", {}, text));
  by("facts").append(
    make("dt", {}, "exception"),
    make("dd", { class: data.exception ? "alarm" : "" }, data.exception ? data.exception.text : "none; it was dumped while it was running"),
    make("dt", {}, "missing"),
    make("dd", { class: data.missing.length ? "alarm" : "" }, data.missing.length ? data.missing.length === 1 ? "1 loss" : `${number.format(data.missing.length)} losses` : "nothing"),
  );
  for (const note of data.notes) by("notes").append(make("p", { class: "note" }, note));
  for (const stack of data.stacks.slice(0, 8)) {
    const title = stackTitle(stack) + (stack.note ? ` (${stack.note})` : "");
    const open = () => {
      show("threads");
      stackList.selectEntry(data.stacks.indexOf(stack));
    };
    by("top-stacks").append(make("li", {}, make("button", { type: "button", class: "link", onclick: open }, title), make("span", { class: "stack-line" }, stackNames(stack, 6))));
  }
  if (data.stacks.length > 8) by("top-stacks").append(make("li", { class: "note" }, `and ${count(data.stacks.length - 8, "other stack")}`));
  bars("parts", data.parts);
  const captured = memory.causes.filter((row) => row[0] !== "absent" && row[3] > 0);
  bars("causes", captured.map(([key, name, why, bytes]) => [name, bytes, key, why]));
  const largestStream = data.streams.reduce((most, row) => Math.max(most, row[2]), 1);
  const streamList = new List("list-streams", {
    label: "Streams", length: data.streams.length, none: "No streams",
    columns: [["name", "minmax(14rem, 1fr)"], ["type", "7rem"], ["file offset", "8rem", true], ["size", "7rem", true], ["", "minmax(4rem, 14rem)"]],
    cells: (index) => {
      const [name, type, bytes, offset] = data.streams[index];
      const amount = make("div", { class: "amount" });
      amount.style.width = `${(100 * bytes) / largestStream}%`;
      return [name, type, `0x${offset.toString(16)}`, size(bytes), amount];
    },
    matches: textMatcher(data.streams.map((row) => row.slice(0, 2).join(" "))),
  });

  // Memory: the picture

  const places = { from: new Float64Array(total), to: new Float64Array(total), end: 0 };
  const hidden = new Set();
  const view = { from: 0, to: 1, chosen: -1, isTrue: false };
  const place = () => {
    let gaps = 0;
    let sum = 0;
    const weights = new Float64Array(total);
    const before = new Uint8Array(total);
    let end = 0n;
    // The distance of the addresses as numbers is exact enough to find gaps of pages.
    let endNumber = 0;
    for (let index = 0; index < total; index += 1) {
      const high = parseInt(memory.starts.slice(16 * index, 16 * index + 8), 16);
      const low = parseInt(memory.starts.slice(16 * index + 8, 16 * index + 16), 16);
      const first = high * 4294967296 + low;
      if (index > 0 && first !== endNumber) {
        before[index] = 1;
        gaps += 1;
      }
      endNumber = first + memory.sizes[index];
      const isHidden = hidden.has(memory.why[index]);
      weights[index] = isHidden ? 0 : view.isTrue ? memory.sizes[index] : Math.log2(2 + memory.sizes[index] / 128);
      sum += weights[index];
    }
    const gap = gaps ? (0.12 * sum) / gaps : 0;
    let at = 0;
    for (let index = 0; index < total; index += 1) {
      if (before[index] && weights[index] > 0) at += gap;
      places.from[index] = at;
      at += weights[index];
      places.to[index] = at;
    }
    places.end = at || 1;
  };
  // The first range that ends behind a place.
  const rangeAt = (at) => {
    let low = 0;
    let high = total;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places.to[middle] <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const map = by("map");
  const LINE = 25;
  const SPACE = 8;
  const geometry = () => {
    const width = map.clientWidth || 900;
    const height = map.clientHeight || 340;
    const margin = width < 600 ? 6 : Math.round(10 + data.digits * 7.6 + 16);
    const lines = Math.max(1, Math.floor((height - SPACE) / (LINE + SPACE)));
    return { width, height, margin, lines, across: Math.max(50, Math.floor(width - margin - 8)) };
  };
  // A canvas takes colours, not the texts of the variables of the style sheet.
  const probe = document.body.appendChild(make("i", { hidden: true }));
  const colours = () => {
    const known = new Map();
    const read = (name) => {
      if (!known.has(name)) {
        probe.style.color = `var(--${name})`;
        known.set(name, getComputedStyle(probe).color);
      }
      return known.get(name);
    };
    return { read, causes: memory.causes.map((row) => read(row[0])), text: read("text"), faint: read("faint"), edge: read("absent-edge"), accent: read("accent") };
  };
  const prepare = (canvas) => {
    const ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth || 900;
    const height = canvas.clientHeight || 100;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return pen;
  };
  const drawMap = () => {
    if (by("panel-memory").hidden) return;
    const { margin, lines, across } = geometry();
    const pen = prepare(map);
    const paint = colours();
    const scale = (lines * across) / (view.to - view.from);
    const box = (from, to, draw) => {
      let line = Math.floor(from / across);
      while (line < lines && line * across < to) {
        const left = Math.max(from, line * across) - line * across;
        const right = Math.min(to, (line + 1) * across) - line * across;
        draw(margin + left, SPACE + line * (LINE + SPACE), right - left);
        line += 1;
      }
    };
    // What is narrower than a pixel is added up; each pixel shows the cause with most bytes.
    const causes = memory.causes.length;
    const small = new Float32Array(Math.ceil(lines * across) * causes);
    const absent = causes - 1;
    for (let index = rangeAt(view.from); index < total && places.from[index] < view.to; index += 1) {
      const from = Math.max(0, (places.from[index] - view.from) * scale);
      const to = Math.min(lines * across, (places.to[index] - view.from) * scale);
      if (to <= from) continue;
      const why = memory.why[index];
      const isFaint = needleOfMemory !== "" && !isFound(index);
      if (to - from < 1) {
        const cell = Math.floor(from) * causes + why;
        if (cell < small.length) small[cell] += why === absent || isFaint ? (to - from) / 1000 : to - from;
        continue;
      }
      pen.globalAlpha = isFaint ? 0.25 : 1;
      pen.fillStyle = paint.causes[why];
      const edge = to - from > 3 ? 1 : 0;
      box(from, to, (x, y, width) => {
        pen.fillRect(x, y, Math.max(0.5, width - edge), LINE);
        if (why === absent && width > 3) {
          pen.strokeStyle = paint.edge;
          pen.lineWidth = 0.6;
          pen.strokeRect(x + 0.5, y + 0.5, Math.max(0.5, width - edge - 1), LINE - 1);
        }
      });
    }
    pen.globalAlpha = 1;
    for (let pixel = 0; pixel * causes < small.length; pixel += 1) {
      let best = -1;
      let most = 0;
      for (let why = 0; why < causes; why += 1) {
        if (small[pixel * causes + why] > most) {
          most = small[pixel * causes + why];
          best = why;
        }
      }
      if (best < 0) continue;
      pen.fillStyle = paint.causes[best];
      box(pixel, pixel + 1, (x, y) => pen.fillRect(x, y, 1, LINE));
    }
    if (margin > 20) {
      pen.font = "12px ui-monospace, 'DejaVu Sans Mono', monospace";
      pen.fillStyle = paint.faint;
      pen.textBaseline = "middle";
      for (let line = 0; line < lines; line += 1) {
        const index = rangeAt(view.from + (line * across) / scale);
        if (index < total) pen.fillText(shorten(start(index)), 10, SPACE + line * (LINE + SPACE) + LINE / 2, margin - 18);
      }
    }
    if (view.chosen >= 0) {
      const from = Math.max(0, (places.from[view.chosen] - view.from) * scale);
      const to = Math.min(lines * across, Math.max((places.to[view.chosen] - view.from) * scale, from + 2));
      pen.strokeStyle = paint.text;
      pen.lineWidth = 2;
      if (places.to[view.chosen] > view.from && places.from[view.chosen] < view.to) {
        box(from, to, (x, y, width) => pen.strokeRect(x - 1, y - 2, width + 2, LINE + 4));
      }
    }
  };
  const tell = (index) => {
    by("at").textContent = index >= 0 && index < total ? describe(index) : "";
  };
  const chooseRange = (index, isFromList) => {
    if (total === 0) return;
    view.chosen = Math.max(0, Math.min(total - 1, index));
    const middle = (places.from[view.chosen] + places.to[view.chosen]) / 2;
    if (middle < view.from || middle > view.to) {
      const width = view.to - view.from;
      look(middle - width / 2, middle + width / 2);
    }
    map.setAttribute("aria-valuenow", String(view.chosen + 1));
    map.setAttribute("aria-valuetext", describe(view.chosen));
    tell(view.chosen);
    if (!isFromList) memoryList.selectEntry(view.chosen, true);
    drawMap();
  };
  const look = (from, to) => {
    let width = Math.min(places.end, Math.max(to - from, places.end * 1e-9));
    if (!(width > 0)) width = places.end;
    view.from = Math.max(0, Math.min(places.end - width, from));
    view.to = view.from + width;
    drawMap();
  };
  const zoom = (factor, at) => {
    const middle = at ?? (view.chosen >= 0 ? (places.from[view.chosen] + places.to[view.chosen]) / 2 : (view.from + view.to) / 2);
    const width = (view.to - view.from) * factor;
    const part = (middle - view.from) / (view.to - view.from);
    look(middle - width * Math.min(1, Math.max(0, part)), middle + width * (1 - Math.min(1, Math.max(0, part))));
  };
  const pointed = (event) => {
    const { margin, lines, across } = geometry();
    const line = Math.max(0, Math.min(lines - 1, Math.floor((event.offsetY - SPACE / 2) / (LINE + SPACE))));
    const x = Math.max(0, Math.min(across, event.offsetX - margin));
    return view.from + ((line * across + x) * (view.to - view.from)) / (lines * across);
  };
  const step = (direction) => {
    let index = view.chosen + direction;
    while (index >= 0 && index < total && (hidden.has(memory.why[index]) || !isFound(index))) index += direction;
    if (index >= 0 && index < total) chooseRange(index);
  };
  map.addEventListener("mousemove", (event) => {
    const index = rangeAt(pointed(event));
    tell(index);
  });
  map.addEventListener("mouseleave", () => tell(view.chosen));
  map.addEventListener("click", (event) => chooseRange(rangeAt(pointed(event))));
  map.addEventListener("dblclick", (event) => zoom(0.25, pointed(event)));
  map.addEventListener("wheel", (event) => {
    // Without the key, the wheel moves the page.
    if (!event.ctrlKey && document.activeElement !== map) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, pointed(event));
  }, { passive: false });
  map.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { lines } = geometry();
    const line = (view.to - view.from) / lines;
    const middle = view.chosen >= 0 ? (places.from[view.chosen] + places.to[view.chosen]) / 2 : view.from;
    const actions = {
      ArrowRight: () => step(1), ArrowLeft: () => step(-1),
      ArrowDown: () => chooseRange(rangeAt(Math.min(places.end * (1 - 1e-12), middle + line))),
      ArrowUp: () => chooseRange(rangeAt(Math.max(0, middle - line))),
      Home: () => chooseRange(0), End: () => chooseRange(total - 1),
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => look(0, places.end),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    event.stopPropagation();
    actions[event.key]();
  });
  by("closer").addEventListener("click", () => zoom(0.5));
  by("further").addEventListener("click", () => zoom(2));
  by("whole").addEventListener("click", () => look(0, places.end));
  by("scale").addEventListener("click", () => {
    view.isTrue = !view.isTrue;
    by("scale").setAttribute("aria-pressed", String(view.isTrue));
    place();
    look(0, places.end);
  });
  let needleOfMemory = "";
  let isFound = () => true;
  const filterMemory = () => {
    const isLimited = hidden.size > 0 || needleOfMemory;
    memoryList.filter(isLimited ? (index) => !hidden.has(memory.why[index]) && isFound(index) : null);
  };
  memory.causes.forEach(([key, name, why, bytes, pieces], index) => {
    if (!pieces) return;
    const button = make("button", { type: "button", "aria-pressed": "true", title: `${why}: ${size(bytes)} in ${count(pieces, "range")}` }, swatch(key), `${name} ${size(bytes)}`);
    button.addEventListener("click", () => {
      if (!hidden.delete(index)) hidden.add(index);
      button.setAttribute("aria-pressed", String(!hidden.has(index)));
      place();
      look(0, places.end);
      filterMemory();
    });
    by("legend").append(button);
  });
  const memoryList = new List("list-memory", {
    label: "Ranges of memory", length: total, none: "No memory",
    columns: [["from", "11.5rem"], ["to", "11.5rem"], ["size", "6rem", true], ["why", "11rem"], ["belongs to", "minmax(8rem, 1fr)"], ["kind", "minmax(8rem, 14rem)"], ["file offset", "7.5rem", true]],
    cells: (index) => {
      const [key, name] = cause(index);
      const offset = memory.offsets[index];
      return [
        make("span", { class: "mono" }, address(index)), make("span", { class: "mono" }, last(index)), size(memory.sizes[index]),
        make("span", {}, swatch(key), name), owner(index), kind(index), offset < 0 ? "" : `0x${offset.toString(16)}`,
      ];
    },
    choose: (index) => chooseRange(index, true),
    matches: (needle) => {
      const has = (text) => text.toLowerCase().includes(needle);
      const labels = memory.labels.map(has);
      const kinds = memory.kinds.map(has);
      const causes = memory.causes.map((row) => has(row[1]));
      const digits = /^(0x)?[0-9a-f]{3,16}$/.test(needle) ? needle.replace(/^0x/, "").padStart(16, "0") : null;
      return (index) => {
        if (digits && start(index) <= digits && BigInt(`0x${digits}`) < big(index) + BigInt(memory.sizes[index])) return true;
        return causes[memory.why[index]] || labels[memory.owners[index]] || kinds[memory.kind[index]] || false;
      };
    },
  });
  map.setAttribute("aria-valuemax", String(total));
  by("memory-hint").textContent = memory.has_map
    ? "The dump has a map of the address space, so the picture also has what was not captured. A dump has no reasons; they follow from its threads and modules, and from its type."
    : "The dump has no map of the address space (with-full-memory-info has), so the picture has only what was captured. A dump has no reasons; they follow from its threads and modules, and from its type.";

  // Threads

  const frames = (stack) => {
    const list = make("ol", { class: "frames mono" });
    for (const [text, module, first, times] of stack.rows) {
      const item = make("span", {}, data.functions[text]);
      if (times > 1) item.append(` (${times} calls)`);
      const name = module >= 0 ? data.modules[module][0].split(/[\\/]/).pop() : "";
      if (name && !data.functions[text].startsWith(name)) item.append(make("span", { class: "in" }, ` in ${name}`));
      list.append(make("li", {}, make("span", { class: "at" }, `#${first}`), item));
    }
    const box = make("div", {}, list);
    if (stack.end) box.append(make("p", { class: "note" }, stack.end));
    return box;
  };
  const registers = (names, values) => {
    const list = make("dl", { class: "registers mono" });
    names.forEach((name, index) => {
      if (values[index] !== undefined) list.append(make("div", {}, make("dt", {}, name), make("dd", {}, values[index])));
    });
    return list;
  };
  const showThread = (index) => {
    const thread = data.threads[index];
    const [, , stack, at, base, bytes, values, facts] = thread;
    by("thread-name").textContent = `Thread ${threadName(thread)}`;
    const lines = [at && `at ${at}`, bytes ? `stack 0x${base}, ${size(bytes)} captured` : "no stack", facts].filter(Boolean);
    const parts = lines.map((line) => make("p", {}, line));
    if (stack !== null) {
      if (data.stacks[stack].note) parts.unshift(make("p", { class: data.stacks[stack].is_crash ? "alarm" : "" }, data.stacks[stack].note));
      parts.push(frames(data.stacks[stack]));
    }
    if (values.length) parts.push(make("h2", {}, "Registers"), registers(data.registers, values));
    by("thread-detail").replaceChildren(...parts);
  };
  by("all-threads").addEventListener("click", () => {
    chosenStack = -1;
    filterThreads();
  });
  const stackTexts = data.stacks.map((stack) => stackNames(stack, stack.rows.length));
  const threadTexts = data.threads.map((thread) => {
    const stack = thread[2] === null ? "" : stackTexts[thread[2]];
    return `${threadName(thread)} ${thread[3]} ${stack}`;
  });
  const matchThread = textMatcher(threadTexts);
  let chosenStack = -1;
  let threadTest = null;
  const filterThreads = () => {
    const ofStack = chosenStack >= 0 ? new Set(data.stacks[chosenStack].threads) : null;
    const isLimited = ofStack || threadTest;
    threadList.filter(isLimited ? (index) => (!ofStack || ofStack.has(index)) && (!threadTest || threadTest(index)) : null);
    by("h-threads").textContent = `Threads${ofStack ? " with this stack" : ""} (${number.format(threadList.size)})`;
    by("all-threads").hidden = !ofStack;
  };
  const stackList = new List("list-stacks", {
    label: "Stacks; a row shows its threads", length: data.stacks.length, none: "No stacks",
    columns: [["threads", "4.5rem", true], ["they are", "9rem"], ["functions, innermost first", "minmax(12rem, 1fr)"]],
    cells: (index) => {
      const stack = data.stacks[index];
      const note = stack.is_crash ? make("span", { class: "alarm" }, stack.note) : stack.note;
      return [number.format(stack.threads.length), note, stackNames(stack, 12)];
    },
    choose: (index) => {
      chosenStack = index;
      filterThreads();
      threadList.select(0);
    },
    matches: (needle) => {
      const test = matchThread(needle);
      return (index) => stackTexts[index].toLowerCase().includes(needle) || data.stacks[index].threads.some(test);
    },
  });
  const threadList = new List("list-threads", {
    label: "Threads", length: data.threads.length, none: "No threads",
    columns: [["id", "5.5rem", true], ["name", "minmax(6rem, 14rem)"], ["at", "minmax(10rem, 1fr)"], ["stack", "6rem", true]],
    cells: (index) => {
      const [id, name, , at, , bytes] = data.threads[index];
      return [String(id), name, make("span", { class: "mono" }, at), size(bytes)];
    },
    choose: showThread,
    matches: matchThread,
  });
  by("h-stacks").textContent = `Stacks (${number.format(data.stacks.length)} different)`;

  // The exception, modules, handles and losses

  if (data.exception) {
    const { text, thread, code, flags, address: place, parameters, registers: values, stack } = data.exception;
    const facts = make("dl", { class: "facts" });
    const rows = [["thread", String(thread)], ["code", code], ["flags", flags], ["address", `0x${place}`], ["parameters", parameters.join(" ")]];
    for (const [label, value] of rows) if (value) facts.append(make("dt", {}, label), make("dd", { class: "mono" }, value));
    by("exception").append(make("h2", { class: "alarm" }, text), facts);
    if (stack !== null) by("exception").append(make("h2", {}, "Stack"), frames(data.stacks[stack]));
    if (values.length) by("exception").append(make("h2", {}, "Registers"), registers(values.map((row) => row[0]), values.map((row) => row[1])));
  }
  const moduleList = new List("list-modules", {
    label: "Modules", length: data.modules.length, none: "No modules",
    columns: [["name", "minmax(12rem, 1fr)"], ["base", "11.5rem"], ["size", "6rem", true], ["captured", "6rem", true], ["version", "7rem"], ["debug id", "minmax(6rem, 20rem)"]],
    cells: (index) => {
      const [name, base, bytes, version, debug, , kept] = data.modules[index];
      return [name, make("span", { class: "mono" }, `0x${base}`), size(bytes), kept ? size(kept) : "", version, make("span", { class: "mono" }, debug)];
    },
    matches: (needle) => {
      const text = textMatcher(data.modules.map((row) => row.filter((part) => typeof part === "string").join(" ")))(needle);
      const digits = /^(0x)?[0-9a-f]{3,16}$/.test(needle) ? BigInt(`0x${needle.replace(/^0x/, "")}`) : null;
      return (index) => {
        const base = BigInt(`0x${data.modules[index][1]}`);
        return text(index) || (digits !== null && digits >= base && digits < base + BigInt(data.modules[index][2]));
      };
    },
  });
  by("unloaded").hidden = data.unloaded.length === 0;
  const unloadedList = new List("list-unloaded", {
    label: "Unloaded modules", length: data.unloaded.length,
    columns: [["name", "minmax(12rem, 1fr)"], ["base", "11.5rem"], ["size", "6rem", true]],
    cells: (index) => [data.unloaded[index][0], make("span", { class: "mono" }, `0x${data.unloaded[index][1]}`), size(data.unloaded[index][2])],
    matches: textMatcher(data.unloaded.map((row) => `${row[0]} ${row[1]}`)),
  });
  const handleList = new List("list-handles", {
    label: "Handles", length: data.handles.length, none: "No handles: the type of this dump does not have them (--type mini has)",
    columns: [["handle", "6rem", true], ["type", "9rem"], ["name", "minmax(12rem, 1fr)"], ["access", "8rem"], ["handles", "5rem", true], ["references", "6rem", true]],
    cells: (index) => data.handles[index].map(String),
    matches: textMatcher(data.handles.map((row) => row.slice(0, 3).join(" "))),
  });
  const pairs = (place, label, rows) => new List(place, {
    label, length: rows.length,
    columns: [["what", "minmax(10rem, 2fr)"], ["reason", "minmax(12rem, 3fr)"]],
    cells: (index) => rows[index],
    matches: textMatcher(rows.map((row) => row.join(" "))),
  });
  const missingList = pairs("list-missing", "Missing", data.missing);
  const leftList = pairs("list-left", "Left out", data.left_out);
  if (data.problems.length) {
    by("problems").append(make("h2", { class: "alarm" }, "Could not be read"));
    for (const problem of data.problems) by("problems").append(make("p", {}, problem));
  }

  // The dialogue as a time line

  const calls = data.dialogue ? data.dialogue.calls : [];
  const line = by("line");
  let chosenCall = -1;
  const KINDS = { less: "leaves out", more: "adds", change: "changes", failure: "ends" };
  const drawLine = () => {
    if (by("panel-dialogue").hidden || !calls.length) return;
    const pen = prepare(line);
    const paint = colours();
    const width = line.clientWidth || 900;
    const across = width - 20;
    const x = (index) => 10 + (across * index) / calls.length;
    const step = across / calls.length;
    pen.font = "12px system-ui, sans-serif";
    let from = 0;
    let labelled = -Infinity;
    for (let index = 1; index <= calls.length; index += 1) {
      if (index < calls.length && calls[index][1] === calls[from][1]) continue;
      pen.fillStyle = calls[from][1] % 2 ? paint.read("absent") : paint.edge;
      pen.fillRect(x(from), 28, Math.max(1, x(index) - x(from) - (step > 3 ? 1 : 0)), 12);
      const name = data.dialogue.phases[calls[from][1]];
      const room = x(index) - x(from);
      if (room > pen.measureText(name).width && x(from) > labelled) {
        pen.fillStyle = paint.text;
        pen.fillText(name, x(from), 20);
        labelled = x(from) + pen.measureText(name).width + 8;
      }
      from = index;
    }
    calls.forEach((call, index) => {
      if (!call[7]) return;
      pen.fillStyle = paint.read(call[7]);
      pen.fillRect(x(index), 44, Math.max(2, step - 1), 26);
    });
    if (chosenCall >= 0) {
      pen.strokeStyle = paint.text;
      pen.lineWidth = 2;
      pen.strokeRect(x(chosenCall) - 1, 26, Math.max(3, step + 1), 46);
    }
    pen.fillStyle = paint.faint;
    let at = 10;
    for (const [key, name] of Object.entries(KINDS)) {
      pen.fillStyle = paint.read(key);
      pen.fillRect(at, 80, 10, 10);
      pen.fillStyle = paint.faint;
      pen.fillText(name, at + 14, 89);
      at += 26 + pen.measureText(name).width;
    }
  };
  const chooseCall = (index, isFromList) => {
    if (index < 0 || index >= calls.length) return;
    chosenCall = index;
    const [n, , ask, input, pre, ret, out, , effect, times] = calls[index];
    const answer = ret === null ? "no callback answered" : `${ret ? "TRUE" : "FALSE"}${out ? ` ${out}` : ""}${effect ? `: ${effect}` : ""}`;
    const text = `call ${n}${times > 1 ? ` (${times} times)` : ""}: ${ask} ${input}${pre ? ` | ${pre}` : ""} → ${answer}`;
    by("call").textContent = text;
    line.setAttribute("aria-valuenow", String(index + 1));
    line.setAttribute("aria-valuetext", text);
    if (!isFromList) dialogueList.selectEntry(index, true);
    drawLine();
  };
  const dialogueList = new List("list-dialogue", {
    label: "Calls of the callback", length: calls.length, none: "No transcript: name it with --transcript",
    columns: [["call", "5rem", true], ["phase", "6rem"], ["question", "11rem"], ["about", "minmax(10rem, 1fr)"], ["answer", "4.5rem"], ["effect", "minmax(10rem, 1fr)"]],
    cells: (index) => {
      const [n, phase, ask, input, , ret, , kind, effect, times] = calls[index];
      const shown = kind ? make("span", {}, swatch(kind), make("strong", {}, effect)) : effect;
      return [String(n), data.dialogue.phases[phase], times > 1 ? `${ask} ×${times}` : ask, input, ret === null ? "" : ret ? "TRUE" : "FALSE", shown];
    },
    choose: (index) => chooseCall(index, true),
    matches: textMatcher(calls.map((call) => `${call[2]} ${call[3]} ${call[8]}`)),
  });
  if (data.dialogue) by("dialogue-title").textContent = `Dialogue (${data.dialogue.headline})`;
  line.setAttribute("aria-valuemax", String(calls.length));
  line.addEventListener("click", (event) => chooseCall(Math.floor(((event.offsetX - 10) * calls.length) / (line.clientWidth - 20))));
  line.addEventListener("keydown", (event) => {
    const direction = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    let index = chosenCall + direction;
    while (index >= 0 && index < calls.length && !calls[index][7]) index += direction;
    chooseCall(index);
  });
  let dialogueTest = null;
  const filterDialogue = () => {
    const only = by("only-effects").checked;
    dialogueList.filter(only || dialogueTest ? (index) => (!only || calls[index][7]) && (!dialogueTest || dialogueTest(index)) : null);
  };
  by("only-effects").addEventListener("change", filterDialogue);

  // Tabs, search and colours

  const tabs = [
    ["summary", "Summary", [streamList]], ["memory", "Memory", [memoryList]], ["threads", "Threads", [threadList]],
    ["exception", "Exception", []], ["modules", "Modules", [moduleList, unloadedList]], ["handles", "Handles", [handleList]],
    ["losses", "Losses", [missingList, leftList]], ["dialogue", "Dialogue", [dialogueList]],
  ].filter(([name]) => (name !== "exception" || data.exception) && (name !== "dialogue" || data.dialogue));
  let current = "summary";
  const countIn = (lists) => lists.reduce((sum, list) => sum + list.size, 0);
  for (const [index, [name, title]] of tabs.entries()) {
    const button = make("button", {
      type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, "aria-keyshortcuts": String(index + 1),
      onclick: () => show(name),
    }, title, make("span", { class: "count" }));
    by("tabs").append(button);
  }
  by("tabs").addEventListener("keydown", (event) => {
    const direction = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!direction) return;
    const at = tabs.findIndex(([name]) => name === current);
    const [name] = tabs[(at + direction + tabs.length) % tabs.length];
    show(name);
    by(`tab-${name}`).focus();
  });
  const counts = () => {
    for (const [name, , lists] of tabs) {
      const isSearch = by("search").value.trim() !== "";
      // Without a search, the number is that of losses, not of what was left out on purpose.
      const shown = isSearch || name !== "losses" ? countIn(lists) : data.missing.length;
      const hasCount = lists.length > 0 && (isSearch || name !== "summary");
      by(`tab-${name}`).querySelector(".count").textContent = hasCount ? number.format(shown) : "";
    }
  };
  const show = (wanted) => {
    current = tabs.some(([name]) => name === wanted) ? wanted : "summary";
    for (const [name, , lists] of tabs) {
      const isCurrent = name === current;
      by(`panel-${name}`).hidden = !isCurrent;
      by(`tab-${name}`).setAttribute("aria-selected", String(isCurrent));
      by(`tab-${name}`).tabIndex = isCurrent ? 0 : -1;
      if (isCurrent) for (const list of lists) list.draw();
    }
    if (current === "threads") stackList.draw();
    drawMap();
    drawLine();
    history.replaceState(null, "", `#${current}${by("search").value ? `?search=${encodeURIComponent(by("search").value)}` : ""}`);
  };
  const search = () => {
    const needle = by("search").value.trim().toLowerCase();
    const test = (list) => (needle ? list.matches(needle) : null);
    for (const list of [streamList, moduleList, unloadedList, handleList, missingList, leftList, stackList]) list.filter(test(list));
    chosenStack = -1;
    threadTest = test(threadList);
    filterThreads();
    needleOfMemory = needle;
    isFound = test(memoryList) || (() => true);
    filterMemory();
    dialogueTest = test(dialogueList);
    filterDialogue();
    if (needle && memoryList.size > 0 && memoryList.size < 100) chooseRange(memoryList.entry(0));
    counts();
  };
  let waiting = 0;
  by("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      search();
      show(current);
    }, 120);
  });
  const themes = ["system", "light", "dark"];
  const turnTheme = () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    by("theme").textContent = `Colours: ${next}`;
    drawMap();
    drawLine();
  };
  const turnHelp = (isOpen) => {
    by("help").hidden = !isOpen;
    by("help-button").setAttribute("aria-expanded", String(isOpen));
  };
  by("theme").addEventListener("click", turnTheme);
  by("help-button").addEventListener("click", () => turnHelp(by("help").hidden));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    drawMap();
    drawLine();
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") {
      turnHelp(false);
      if (by("search").value) {
        by("search").value = "";
        search();
        show(current);
      }
      return;
    }
    if (event.target.matches("input")) return;
    const tab = tabs[Number(event.key) - 1];
    if (tab) {
      show(tab[0]);
      by(`tab-${tab[0]}`).focus();
    } else if (event.key === "/") by("search").focus();
    else if (event.key === "t") turnTheme();
    else if (event.key === "?") turnHelp(by("help").hidden);
    else return;
    event.preventDefault();
  });
  const follow = () => {
    const [name, query] = decodeURIComponent(location.hash.slice(1)).split("?search=");
    if (query !== undefined && query !== by("search").value) {
      by("search").value = query;
      search();
    }
    show(name || "summary");
  };
  addEventListener("hashchange", follow);
  let resizing = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(resizing);
    resizing = requestAnimationFrame(() => show(current));
  });
  place();
  view.to = places.end;
  filterThreads();
  counts();
  follow();
  const first = data.stacks.find((stack) => stack.threads.length > 0);
  if (first) showThread(first.threads[0]);
  root.dataset.ready = (performance.now() - began).toFixed(0);
})();
