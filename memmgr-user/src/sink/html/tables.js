// The same bytes by stack, function, file and size.

function tablesSection(section) {
  const stackRows = stackTable();
  const { functions } = data;
  const functionName = (row) => string(functions.function[row]);
  const panels = [
    { title: "Stacks", element: el("div", {}, stackRows.element) },
    { title: "Functions", element: el("div", {}, longTable("Functions", functions.function.map((_, row) => row), [
      { title: "Function", class: "name", value: functionName, cell: (row) => el("button", { type: "button", class: "plain", title: "Search in the flame graph", click: () => flameLinks.searchFor(functionName(row)) }, shortName(functionName(row))) },
      { title: "File", class: "file", wide: true, value: (row) => string(functions.module[row]), cell: (row) => baseName(string(functions.module[row])) },
      ...amounts((row, column) => functions[column]?.[row]),
    ])) },
    { title: "Files", element: el("div", {}, longTable("Files", report.modules.map((_, row) => row), [
      { title: "File", class: "name", value: (row) => report.modules[row].path, cell: (row) => report.modules[row].path },
      { title: "Build id", class: "file", wide: true, value: (row) => report.modules[row].build_id, cell: (row) => el("code", {}, report.modules[row].build_id.slice(0, 12)) },
      ...amounts((row, column) => report.modules[row][column]),
    ])) },
    { title: "Sizes", element: el("div", {}, sizeTable()) },
  ];
  const shown = tabs(panels);
  stackLinks.show = (stack) => {
    if (stacks.class[stack] !== view.class) view.set({ class: stacks.class[stack] });
    shown.choose(0);
    stackRows.show(stack);
  };
  append(section, [shown.element, outsideOfStacks(), el("p", { class: "dim note" },
    `Stacks are of the kind of memory chosen above the flame graph; functions, files and sizes are ${CLASSES[MAIN].whose}.${sampled ? " All figures are estimates; the truth lies within ± in 95 of 100 cases." : ""}`)]);
}

/** Outstanding memory of the main kind that no stack of the report accounts for: said, never left out. */
function outsideOfStacks() {
  let held = 0;
  let rounding = 0;
  for (let stack = 0; stack < stackCount; stack += 1) {
    if (stacks.class[stack] !== MAIN) continue;
    held += stacks.live_bytes[stack];
    // Estimates are rounded one by one.
    rounding += sampled ? Math.max(data.processes.length, 1) : 0;
  }
  const outside = CLASSES[MAIN].totals.live_bytes - held;
  const { filter } = report.capture;
  if (outside > 0 && (filter.min_age_s > 0 || filter.min_size_bytes > 0)) {
    return el("p", { class: "note" }, `${bytes(outside)} more are outstanding in blocks that --min-age or --min-size hides.`);
  }
  return outside > rounding && el("p", { class: "note warning" }, `${bytes(outside)} more are outstanding that belong to no stack of this report.`);
}

/** A table without details, sorted by its outstanding bytes. */
function longTable(name, rows, columns) {
  const [first] = columns;
  return new LongTable({
    name, columns, rows, sort: columns.find((column) => column.title === "Outstanding, total") ?? first,
    matches: (text) => (row) => String(first.value(row)).toLowerCase().includes(text.toLowerCase()),
  }).element;
}

function amounts(of) {
  return [
    ["Outstanding, self", "self_live_bytes", true], ["Outstanding, total", "total_live_bytes", false],
    ["Allocated, self", "self_alloc_bytes", true], ["Allocated, total", "total_alloc_bytes", true],
  ].map(([title, column, wide]) => ({ title, number: true, wide, value: (row) => of(row, column), cell: (row) => estimateCell(of(row, column), of(row, `${column}_error`)) }));
}

function sizeTable() {
  const { sizes } = report;
  const most = Math.max(1, ...sizes.map((size) => size.live_bytes));
  const bar = (part) => svg("svg", { class: "bar", viewBox: "0 0 100 10", width: 100, height: 10, "aria-hidden": "true" }, svg("rect", { x: 0, y: 0, width: (part * 100) / most, height: 10 }));
  return plainTable("Blocks by size", ["Size", "#Outstanding", "", "#Blocks", "#Allocated", "#Allocations"], sizes.map((size, i) => [
    size.min_bytes === 0 ? `under ${bytes(size.max_bytes + 1)}` : `${bytes(size.min_bytes)} to ${bytes(size.max_bytes + 1)}`,
    bytes(size.live_bytes), bar(size.live_bytes), count(size.live_count), bytes(size.alloc_bytes), count(size.alloc_count),
  ]), "This report holds no sizes.");
}
