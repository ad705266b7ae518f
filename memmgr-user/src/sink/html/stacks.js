// The table of stacks, and what one stack opens to.

/** Opens a stack in the table; set by the section. */
const stackLinks = { show: () => {} };

/** Beyond this share of a figure its margin says little: fewer than ten samples of small blocks. */
const ROUGH = 0.63;

/** The callers of the allocator, nearest first. */
function callers(stack) {
  const all = framesOf(stack);
  const shown = all.slice(stacks.skip[stack] < all.length ? stacks.skip[stack] : 0);
  const [nearest, ...others] = shown.slice(0, 5).map((frame) => shortName(frameName(frame)));
  return el("span", { class: "callers" }, el("b", {}, nearest ?? "[stack lost]"), others.map((name) => [" ", el("span", {}, `←\u00a0${name}`)]));
}

function samplesCell(stack) {
  const samples = stacks.live_samples[stack];
  const rough = 2 * stacks.live_bytes_error[stack] > ROUGH * stacks.live_bytes[stack];
  return rough ? el("span", { class: "warning", title: "A rough estimate: from a handful of samples" }, `~${count(samples)}`) : count(samples);
}

/** Bytes, and below them how far they may be off. */
function estimateCell(number, error) {
  return sampled ? [bytes(number), el("span", { class: "margin", title: "The truth lies within in 95 of 100 cases" }, margin(number, error))] : bytes(number);
}

function stackColumns() {
  const live = { title: sampled ? "Outstanding, est." : "Outstanding", number: true, value: (i) => stacks.live_bytes[i], cell: (i) => estimateCell(stacks.live_bytes[i], stacks.live_bytes_error[i]) };
  return [
    { title: "Allocated by", class: "name", value: (i) => frameName(framesOf(i)[stacks.skip[i]] ?? 0), cell: callers },
    live,
    { title: "Blocks", wide: true, number: true, value: (i) => stacks.live_count[i], cell: (i) => count(stacks.live_count[i]) },
    sampled && { title: "Samples", wide: true, number: true, value: (i) => stacks.live_samples[i], cell: samplesCell },
    { title: "Growth", number: true, hint: "Since the first third of the capture", value: (i) => grown[i], cell: (i) => (stacks.growth[i] === null ? "-" : grown[i] > 0 ? `+${bytes(grown[i])}` : "0 B") },
    { title: "Shape", wide: true, value: (i) => shapeOf(i), cell: (i) => shapeOf(i) },
    { title: "Allocated", wide: true, number: true, value: (i) => stacks.alloc_bytes[i], cell: (i) => bytes(stacks.alloc_bytes[i]) },
    { title: "Allocations", wide: true, number: true, value: (i) => stacks.alloc_count[i], cell: (i) => count(stacks.alloc_count[i]) },
    { title: "Median age", wide: true, number: true, value: (i) => stacks.age[i]?.[1], cell: (i) => (stacks.age[i] === null ? "-" : span(stacks.age[i][1])) },
    { title: "Finding", class: "finding-cell", number: true, value: (i) => report.findings[stacks.finding[i]]?.score, cell: findingCell },
  ].filter(Boolean);
}

const shapeOf = (stack) => (stacks.growth[stack] === null ? "" : string(stacks.growth[stack][0]));

function findingCell(stack) {
  const found = report.findings[stacks.finding[stack]];
  if (found) return el("span", { class: Object.hasOwn(SIGNS, found.severity) ? found.severity : "info" }, sign(found.severity), el("span", { class: "word" }, ` ${found.severity}`));
  return stacks.suppressed[stack] === 0 ? "" : el("span", { class: "dim" }, "suppressed");
}

/** The whole stack with everything that is known of it. */
function stackDetail(stack) {
  const found = report.findings[stacks.finding[stack]];
  const age = stacks.age[stack];
  const suppression = string(stacks.suppressed[stack]);
  return el("div", { class: "stack" },
    el("div", {},
      el("h4", {}, `Stack ${stacks.id[stack]}, the allocation first`),
      el("ol", { class: "frames" }, framesOf(stack).map((frame, i) => frameLine(frame, i < stacks.skip[stack]))),
      el("p", { class: "actions" }, el("button", { type: "button", click: () => flameLinks.showStack(stack) }, "Show in the flame graph"))),
    el("div", { class: "beside" },
      found && [el("h4", {}, "Finding"), el("p", {}, findingCell(stack), ` ${found.evidence.join(" ")}`), found.recommendation !== "" && el("p", { class: "recommendation" }, "→ ", found.recommendation)],
      suppression !== null && el("p", {}, `Suppressed by ${suppression}`),
      terms([
        ["outstanding", `${estimate(stacks.live_bytes[stack], stacks.live_bytes_error[stack])} in ${counted(stacks.live_count[stack], "block")}${sampled ? `, estimated from ${counted(stacks.live_samples[stack], "sample")}` : ""}`],
        ["allocated", `${bytes(stacks.alloc_bytes[stack])} in ${counted(stacks.alloc_count[stack], "block")}`],
        ["age", age && `${span(age[0])} to ${span(age[2])}, median ${span(age[1])}`],
        ["sizes", stacks.sizes[stack].map((size) => `from ${bytes(size[0])}: ${counted(size[1], "block")}`).join("; ")],
      ]),
      growthOf(stack), lifetimeOf(stack)));
}

function frameLine(frame, allocator) {
  const module = string(frames.module[frame]);
  const place = [sourceLine(frame), module && baseName(module)].filter(Boolean).join(" · ");
  return el("li", { class: allocator && "dim" }, el("code", {}, frameName(frame)), frames.inlined[frame] === 1 && " (inlined)",
    el("span", { class: "place", title: [string(frames.file[frame]), module].filter(Boolean).join("\n") }, ` ${place}`),
    frames.function[frame] === 0 && frames.module[frame] !== 0 && el("span", { class: "dim" }, ` ${string(frames.reason[frame]) ?? ""}`));
}

function growthOf(stack) {
  if (stacks.growth[stack] === null) return null;
  const [, confidence, perSecond, grew, differences] = stacks.growth[stack];
  const values = series(differences);
  return [el("h4", {}, "Growth"), el("p", {}, `${shapeOf(stack)}, confidence ${Math.round(confidence * 100)}%: ${rate(perSecond)}, grew by ${bytes(grew)}`),
    values.length > 1 && sparkline(values, "Outstanding bytes over the capture")];
}

function lifetimeOf(stack) {
  if (stacks.lifetime[stack] === null) return null;
  const life = lifetime(stack);
  return [el("h4", {}, "Lifetime"), el("p", {}, lifetimeWords(life)), life.ages.length > 0 && el("figure", { class: "small-chart" },
      survivalCurve(life.ages, life.shares, 260, 56),
      el("figcaption", {}, `share that lives longer than ${span(life.ages[0])} … ${span(life.ages.at(-1))}; the dotted line is a half`))];
}

function lifetime(stack) {
  const [freed, censored, median, immortal, grid, differences] = stacks.lifetime[stack];
  return { freed, censored, median, immortal, ages: stacks.ages[grid], shares: series(differences) };
}

function lifetimeWords({ freed, censored, median, immortal }) {
  const half = median === null ? "more than half outlive the capture" : `half live at most ${span(median)}`;
  return `${half}; ${percent(immortal, 1)} outlive every age seen; ${count(freed)} freed, ${count(censored)} outstanding`;
}

/** Stacks of the view's class, sorted by its metric. */
function stackTable() {
  const rows = () => Array.from({ length: stackCount }, (_, i) => i).filter((i) => stacks.class[i] === view.class);
  const columns = stackColumns();
  const columnOf = { inuse_space: "Outstanding", alloc_space: "Allocated", growth: "Growth", inuse_objects: "Blocks", alloc_objects: "Allocations" };
  const metricColumn = () => columns.find((column) => column.number && column.title.replace(", est.", "") === columnOf[view.metric.name]);
  const table = new LongTable({
    name: "Stacks", columns, rows: rows(), sort: metricColumn(), detail: stackDetail,
    matches(text) {
      const matches = labelMatches(text);
      return (stack) => {
        for (let at = pathStart[stack]; at < pathStart[stack + 1]; at += 1) if (matches[frames.label[paths[at]]]) return true;
        return false;
      };
    },
  });
  view.watchers.push((change) => {
    if (change.class !== undefined) table.take(rows());
    if (change.metric !== undefined) table.sortBy(metricColumn(), true);
  });
  return table;
}
