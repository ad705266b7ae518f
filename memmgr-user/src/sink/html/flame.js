// The flame graph: callers above, the allocation below, width is what the frame and all below it hold.

const ROW = 20;
const FONT = "12px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace";
/** Hues for files, the largest file first; more files than hues share the last one. */
const HUES = 6;

class Flame {
  /** `said` is told what the graph shows and what is selected. */
  constructor(said) {
    this.said = said;
    this.canvas = el("canvas", {
      class: "flame", tabindex: "0", role: "application",
      "aria-label": "Flame graph. Arrow keys move, Enter zooms, Escape resets, slash searches.",
    });
    this.tip = el("div", { class: "tip", role: "tooltip", hidden: true });
    this.element = el("div", { class: "flame-box" }, this.canvas, this.tip);
    this.root = 0;
    this.selected = 0;
    this.matches = null;
    this.hues = huesOfModules();
    this.listen();
    this.recount();
  }

  /** Takes the figures of the view's metric and class; a zoom that holds nothing there is left. */
  recount() {
    ({ self: this.self, total: this.total } = totalsOf(view.metric, view.class));
    if (!(this.total[this.root] > 0)) this.root = 0;
    this.selected = this.root;
    this.draw();
  }

  zoom(node) {
    this.root = node;
    this.selected = node;
    this.tip.hidden = true;
    this.draw();
  }

  select(node) {
    this.selected = node;
    this.draw();
    const level = this.rows.findIndex((row) => row.some((box) => box.node === node));
    const box = this.rows[level]?.find((other) => other.node === node) ?? null;
    this.showTip(box, box?.x, (level + 0.5) * ROW);
    this.said.selected(this.describe(node).join(", "));
  }

  /** Highlights the frames with this text in their names; nothing for an empty one. */
  search(text) {
    this.matches = text === "" ? null : labelMatches(text);
    this.draw();
  }

  /** Name, amounts, place. */
  describe(node) {
    const { metric } = view;
    const self = this.self[node];
    const frame = node === 0 ? null : frameOf(node);
    const module = frame === null ? null : string(frames.module[frame]);
    return [
      nodeName(node) + (frame !== null && frames.inlined[frame] ? " (inlined)" : ""),
      `${metric.amount(this.total[node])}, ${percent(this.total[node], this.total[0])} of all`
        + (this.root === 0 ? "" : `, ${percent(this.total[node], this.total[this.root])} of the zoom`),
      self > 0 ? `${metric.amount(self)} in itself` : null,
      frame === null ? null : [nodePlace(node), module].filter(Boolean).join(" · "),
      frame === null ? null : string(frames.reason[frame]),
    ].filter(Boolean);
  }

  draw() {
    const width = this.element.clientWidth;
    if (width === 0) return;
    this.rows = this.total[this.root] > 0 ? layOut(this.root, this.total, width) : [];
    const height = Math.max(1, this.rows.length) * ROW;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = FONT;
    context.textBaseline = "middle";
    const colours = flameColours(this.element);
    const letter = context.measureText("m").width;
    for (const [level, row] of this.rows.entries()) {
      for (const box of row) this.drawBox(context, colours, letter, box, level * ROW);
    }
    if (this.rows.length === 0) {
      context.fillStyle = colours.dim;
      context.fillText("Nothing to draw for this metric and this kind of memory.", 4, ROW / 2);
    }
    this.said.drawn();
  }

  drawBox(context, colours, letter, { node, x, width }, y) {
    const right = Math.max(width - 0.5, 0.5);
    const found = node !== null && node !== 0 && this.matches !== null && this.matches[tree.label[node]];
    context.fillStyle = found ? colours.found : node === null || node === 0 ? colours.rest : colours.hues[this.hues[tree.label[node]]];
    context.globalAlpha = this.matches !== null && !found ? 0.45 : 1;
    context.fillRect(x, y, right, ROW - 1);
    context.globalAlpha = 1;
    if (found) {
      context.fillStyle = colours.line;
      context.fillRect(x, y + ROW - 4, right, 2);
    }
    if (node !== null) {
      const room = Math.floor((width - 6) / letter);
      if (room >= 3) {
        const inlined = node !== 0 && frames.inlined[labelFrame[tree.label[node]]];
        const name = visible(shortName(nodeName(node))) + (inlined ? " (inlined)" : "");
        const shown = name.length > room ? `${name.slice(0, room - 1)}…` : name;
        context.fillStyle = found ? colours.onFound : colours.text;
        context.fillText(shown, x + 3, y + ROW / 2, width - 5);
      }
      if (node === this.selected && this.canvas === document.activeElement) {
        context.strokeStyle = colours.line;
        context.lineWidth = 2;
        context.strokeRect(x + 1, y + 1, Math.max(width - 2, 1), ROW - 3);
      }
    }
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("click", (event) => {
      const box = this.boxAt(event);
      if (box?.node === this.root && this.root !== 0) this.zoom(tree.parent[this.root]);
      else if (box && box.node !== null) this.zoom(box.node);
      if (box) this.said.zoomed(nodeName(this.root));
    });
    canvas.addEventListener("pointermove", (event) => this.showTip(this.boxAt(event), event.offsetX, event.offsetY));
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const act = this.keys[event.key];
      if (!act) return;
      event.preventDefault();
      act.call(this);
    });
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => { this.tip.hidden = true; this.draw(); });
    new ResizeObserver(() => {
      if (Math.round(this.element.clientWidth * (window.devicePixelRatio || 1)) !== canvas.width) this.draw();
    }).observe(this.element);
  }

  get keys() {
    return {
      ArrowDown() { this.select(childrenOf(this.selected, this.total)[0] ?? this.selected); },
      ArrowUp() {
        if (this.selected !== this.root) this.select(tree.parent[this.selected]);
        else if (this.root !== 0) this.zoom(tree.parent[this.root]);
      },
      ArrowLeft() { this.beside(-1); },
      ArrowRight() { this.beside(1); },
      Enter() { this.zoom(this.selected); this.said.zoomed(nodeName(this.root)); },
      Escape() { this.zoom(0); this.said.zoomed(nodeName(0)); },
    };
  }

  /** Selects the drawn frame beside the selected one, in the same row. */
  beside(step) {
    const row = this.rows.find((boxes) => boxes.some((box) => box.node === this.selected)) ?? [];
    const named = row.filter((box) => box.node !== null);
    const next = named[named.findIndex((box) => box.node === this.selected) + step];
    if (next) this.select(next.node);
  }

  boxAt(event) {
    const row = this.rows[Math.floor(event.offsetY / ROW)];
    return row?.find((box) => event.offsetX >= box.x && event.offsetX < box.x + box.width) ?? null;
  }

  /** Says what a box is, beside a place of the canvas. */
  showTip(box, x, y) {
    this.tip.hidden = box === null;
    if (box === null) return;
    const lines = box.node === null
      ? [`${counted(box.rest, "callee")} too narrow to draw`, `${view.metric.amount(box.held)}, ${percent(box.held, this.total[0])} of all`]
      : this.describe(box.node);
    refill(this.tip, lines.map((line, i) => el("div", { class: i === 0 && "tip-name" }, line)));
    const room = this.element.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(x + 12, room))}px`;
    this.tip.style.top = `${y + 18}px`;
  }
}

/** The hue of each label: one for each of the files that hold most, the last for the others. */
function huesOfModules() {
  const heldBy = new Float64Array(frames.label.length);
  for (let stack = 0; stack < stackCount; stack += 1) {
    for (let at = pathStart[stack]; at < pathStart[stack + 1]; at += 1) heldBy[paths[at]] += stacks.alloc_bytes[stack];
  }
  const held = new Map();
  for (const [frame, module] of frames.module.entries()) {
    if (module !== 0) held.set(module, (held.get(module) ?? 0) + heldBy[frame]);
  }
  const order = [...held.keys()].sort((a, b) => held.get(b) - held.get(a));
  const rank = new Map(order.map((module, i) => [module, Math.min(i, HUES - 1)]));
  const hues = labelFrame.map((frame) => rank.get(frames.module[frame]) ?? HUES);
  return Object.assign(hues, { files: order.slice(0, HUES - 1).map((module) => baseName(string(module))), more: order.length >= HUES });
}

/** The style sheet's colours as a canvas takes them. */
function flameColours(near) {
  const probe = near.appendChild(el("i", { hidden: true }));
  const of = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const colours = {
    hues: [...Array.from({ length: HUES }, (_, i) => of(`hue-${i}`)), of("hue-none")],
    rest: of("hue-none"), text: of("text"), dim: of("dim"), found: of("found"), onFound: of("on-found"), line: of("text"),
  };
  probe.remove();
  return colours;
}
