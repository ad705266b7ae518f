// A table of any length: sorted by a click on a heading, filtered, a page at a time.

const PAGE = 20;

class LongTable {
  /**
   * `columns`: title, `value(row)` to sort by, `cell(row)` to show; `number`, `wide` (hidden on narrow screens).
   * `rows`: numbers of all rows. `detail(row)`, if any, is what a row opens to.
   */
  constructor({ name, columns, rows, sort, matches, detail }) {
    Object.assign(this, { name, columns, rows, detail, matches });
    this.sorted = { column: sort, down: true };
    this.open = new Set();
    this.page = 0;
    this.filter = el("input", { type: "search", placeholder: "Filter", "aria-label": `Filter ${name}`, autocomplete: "off", spellcheck: "false", input: () => this.refresh() });
    this.status = el("output", { class: "dim" });
    this.previous = el("button", { type: "button", click: () => this.turn(-1) }, "Previous");
    this.next = el("button", { type: "button", click: () => this.turn(1) }, "Next");
    this.headings = columns.map((column) => this.heading(column));
    this.body = el("tbody");
    this.element = el("div", { class: "long-table" },
      el("div", { class: "tools" }, this.filter, this.status, el("span", { class: "pager" }, this.previous, this.next)),
      el("div", { class: "scroll" }, el("table", {},
        el("caption", { class: "unseen" }, name),
        el("thead", {}, el("tr", {}, detail && el("th", { scope: "col" }, el("span", { class: "unseen" }, "Open")), this.headings)),
        this.body)));
    this.refresh();
  }

  heading(column) {
    return el("th", { scope: "col", class: cellClass(column), title: column.hint },
      el("button", { type: "button", class: "plain", click: () => this.sortBy(column) }, column.title, el("span", { class: "arrow", "aria-hidden": "true" })));
  }

  /** Sorts by a column; by the same one again the other way. */
  sortBy(column, down) {
    const same = this.sorted.column === column;
    this.sorted = { column, down: down ?? (same ? !this.sorted.down : Boolean(column.number)) };
    this.refresh();
  }

  /** Shows other rows. */
  take(rows) {
    this.rows = rows;
    this.refresh();
  }

  refresh() {
    const text = this.filter.value.trim();
    const test = text === "" ? null : this.matches(text);
    const { column, down } = this.sorted;
    const keys = [];
    this.shown = this.rows.filter((row) => test === null || test(row));
    for (const row of this.shown) keys[row] = column.value(row);
    const order = column.number
      ? (a, b) => (keys[a] ?? -1) - (keys[b] ?? -1)
      : (a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : 0);
    this.shown.sort((a, b) => (down ? order(b, a) : order(a, b)) || a - b);
    for (const [i, heading] of this.headings.entries()) {
      if (this.columns[i] === column) heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    }
    this.page = 0;
    this.fill();
  }

  turn(step) {
    this.page += step;
    this.fill();
  }

  fill() {
    const first = this.page * PAGE;
    const visibleRows = this.shown.slice(first, first + PAGE);
    const all = this.rows.length;
    refill(this.status, visibleRows.length === 0
      ? (all === 0 ? "None." : "No row matches.")
      : `${count(first + 1)}–${count(first + visibleRows.length)} of ${count(this.shown.length)}${this.shown.length < all ? ` (${count(all)} in all)` : ""}`);
    this.previous.disabled = this.page === 0;
    this.next.disabled = first + PAGE >= this.shown.length;
    refill(this.body, visibleRows.map((row) => this.row(row)));
  }

  row(row) {
    const cells = this.columns.map((column) => el("td", { class: cellClass(column) }, column.cell(row)));
    if (!this.detail) return el("tr", {}, cells);
    const open = this.open.has(row);
    const button = el("button", { type: "button", class: "opener", "aria-expanded": String(open), "aria-label": "Details", click: () => this.toggle(row) });
    const line = el("tr", { "data-row": row }, el("td", {}, button), cells);
    return open ? [line, this.detailRow(row)] : line;
  }

  detailRow(row) {
    return el("tr", { class: "detail" }, el("td", { colspan: this.columns.length + 1 }, this.detail(row)));
  }

  /** Opens or closes a row in place, so that the focus stays. */
  toggle(row) {
    const line = this.body.querySelector(`tr[data-row="${row}"]`);
    const open = this.open.delete(row) ? false : Boolean(this.open.add(row));
    line.querySelector(".opener").setAttribute("aria-expanded", String(open));
    if (open) line.after(this.detailRow(row));
    else line.nextElementSibling.remove();
  }

  /** Brings a row to sight, opened. */
  show(row) {
    if (!this.shown.includes(row)) { this.filter.value = ""; this.refresh(); }
    this.open.add(row);
    this.page = Math.max(0, Math.floor(this.shown.indexOf(row) / PAGE));
    this.fill();
    const line = this.body.querySelector(`tr[data-row="${row}"]`);
    line?.scrollIntoView({ block: "center" });
    line?.querySelector(".opener").focus({ preventScroll: true });
  }
}

const cellClass = (column) => [column.number && "number", column.wide && "wide", column.class].filter(Boolean).join(" ");

/** Several panels of which one is shown. */
function tabs(panels) {
  const buttons = panels.map(({ title, element }, i) => {
    Object.assign(element, { id: `panel-${i}`, hidden: i > 0 });
    element.setAttribute("role", "tabpanel");
    element.setAttribute("aria-labelledby", `tab-${i}`);
    return el("button", { type: "button", role: "tab", id: `tab-${i}`, "aria-controls": `panel-${i}`, click: () => choose(i), keydown: (event) => move(event, i) }, title);
  });
  const choose = (chosen) => {
    for (const [i, button] of buttons.entries()) {
      button.setAttribute("aria-selected", String(i === chosen));
      button.tabIndex = i === chosen ? 0 : -1;
      panels[i].element.hidden = i !== chosen;
    }
  };
  const move = (event, i) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const next = step && buttons[i + step];
    if (next) { choose(i + step); next.focus(); }
  };
  choose(0);
  return { element: [el("div", { class: "tabs", role: "tablist" }, buttons), panels.map((panel) => panel.element)], choose };
}
