// A table whose rows stay the same elements while their figures change, so that a click or the focus is never lost.

class LiveTable {
  /** `columns`: title, `value(row)` to show, `number`, `wide` (hidden on narrow screens), `sort` (what the server sorts by), `class(row)`. */
  constructor({ name, columns, key, sorted }) {
    Object.assign(this, { columns, key });
    this.rows = new Map();
    this.body = el("tbody");
    this.note = el("p", { class: "dim note" });
    this.headings = columns.map((column) => el("th", { scope: "col", class: this.cellClass(column) },
      column.sort ? el("button", { type: "button", class: "plain", click: () => sorted(column.sort) }, column.title) : column.title));
    this.element = el("div", { class: "long-table" }, el("div", { class: "scroll" }, el("table", {},
      el("caption", { class: "unseen" }, name), el("thead", {}, el("tr", {}, this.headings)), this.body)), this.note);
  }

  cellClass(column) {
    return [column.number && "number", column.wide && "wide", column.name && "name"].filter(Boolean).join(" ") || false;
  }

  /** Shows these rows in this order. */
  show(rows, sort, note) {
    this.columns.forEach((column, i) => {
      if (column.sort === sort) this.headings[i].setAttribute("aria-sort", "descending");
      else this.headings[i].removeAttribute("aria-sort");
    });
    const focused = document.activeElement;
    const kept = new Map();
    rows.forEach((row, place) => {
      const key = this.key(row);
      const shown = this.rows.get(key) ?? this.fresh();
      kept.set(key, shown);
      shown.row = row;
      this.columns.forEach((column, i) => this.fill(shown, column, i));
      const there = this.body.children[place] ?? null;
      if (there !== shown.element) this.body.insertBefore(shown.element, there);
    });
    for (const [key, shown] of this.rows) if (!kept.has(key)) shown.element.remove();
    this.rows = kept;
    // An element that is moved loses the focus.
    if (focused !== document.activeElement && this.body.contains(focused)) focused.focus();
    this.note.textContent = note;
  }

  fresh() {
    const shown = { row: null };
    shown.cells = this.columns.map((column) => {
      const cell = el("td", { class: this.cellClass(column) });
      const text = column.open ? el("button", { type: "button", class: "plain", click: () => column.open(shown.row) }) : cell;
      if (text !== cell) cell.append(text);
      return { cell, text };
    });
    shown.element = el("tr", {}, shown.cells.map(({ cell }) => cell));
    return shown;
  }

  fill(shown, column, i) {
    const { cell, text } = shown.cells[i];
    const words = visible(String(column.value(shown.row) ?? ""));
    if (text.textContent !== words) text.textContent = words;
    for (const name of ["grows", "shrinks"]) cell.classList.toggle(name, column.mark?.(shown.row) === name);
  }
}

/** Growth for people; small changes are noise of the kernel's counters. */
function growth(perSecond) {
  if (perSecond === null) return "…";
  if (Math.abs(perSecond) < 1) return "0";
  return `${perSecond > 0 ? "+" : "−"}${rate(Math.abs(perSecond))}`;
}

/** Whether a growth is worth a colour: a process that goes on like this is larger by a mebibyte in a minute. */
function mark(perSecond) {
  if (perSecond === null || Math.abs(perSecond) < 2 ** 20 / 60) return "";
  return perSecond > 0 ? "grows" : "shrinks";
}
