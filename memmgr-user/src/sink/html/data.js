// The data block: columns, and the frames of each stack.

const data = JSON.parse(document.getElementById("data").textContent);
const report = data.report;
const stacks = data.stacks;
const frames = stacks.frames;
const stackCount = stacks.id.length;
const sampled = report.capture.mode === "sample" || report.capture.observed !== null || (["auto", "growth"].includes(report.capture.mode) && report.capture.sample_interval_bytes > 0);
const judged = report.windows_s.length > 0 || report.findings.length > 0 || stacks.growth.some((growth) => growth !== null);

/** A text of the columns; null for none. */
const string = (number) => (number === 0 ? null : data.strings[number - 1]);

/** Frames of all stacks one after the other, root first; those of stack `i` are `pathStart[i]..pathStart[i + 1]`. */
const { paths, pathStart } = unfold();

function unfold() {
  const pathStart = new Uint32Array(stackCount + 1);
  for (let i = 0; i < stackCount; i += 1) pathStart[i + 1] = pathStart[i] + stacks.keep[i] + stacks.add[i];
  const paths = new Uint32Array(pathStart[stackCount]);
  let next = 0;
  for (let i = 0; i < stackCount; i += 1) {
    const keep = stacks.keep[i];
    if (keep > 0) paths.copyWithin(pathStart[i], pathStart[i - 1], pathStart[i - 1] + keep);
    for (let at = pathStart[i] + keep; at < pathStart[i + 1]; at += 1) paths[at] = stacks.path[next++];
  }
  return { paths, pathStart };
}

/** The frames of a stack, leaf first. */
function framesOf(stack) {
  return Array.from(paths.subarray(pathStart[stack], pathStart[stack + 1])).reverse();
}

/** A frame's function, or its place in a file, or why neither is known. */
function frameName(frame) {
  const name = string(frames.function[frame]);
  if (name) return name;
  const module = string(frames.module[frame]);
  return module !== null
    ? `[${baseName(module)}+0x${frames.address[frame]}]`
    : `[${string(frames.reason[frame]) ?? "unknown"}]`;
}

/** `server.c:4206`, or nothing. */
function sourceLine(frame) {
  const file = string(frames.file[frame]);
  if (file === null) return null;
  return frames.line[frame] > 0 ? `${baseName(file)}:${frames.line[frame]}` : baseName(file);
}

/** One frame for each label. */
const labelFrame = frames.label.reduce((first, label, frame) => {
  first[label] ??= frame;
  return first;
}, []);

/** Which labels have the text in their function's name or in their file's. */
function labelMatches(text) {
  const wanted = text.toLowerCase();
  return Uint8Array.from(labelFrame, (frame) => {
    const module = string(frames.module[frame]);
    return frameName(frame).toLowerCase().includes(wanted) || (module !== null && baseName(module).toLowerCase().includes(wanted));
  });
}

/** The series that differences stand for. */
function series(differences) {
  let value = 0;
  return differences.map((difference) => (value += difference));
}

const grown = Float64Array.from(stacks.growth, (growth) => growth?.[3] ?? 0);

/** What can be counted: its column and how it reads. */
const METRICS = [
  { name: "inuse_space", title: "Outstanding", column: stacks.live_bytes, amount: bytes },
  { name: "alloc_space", title: "Allocated", column: stacks.alloc_bytes, amount: bytes },
  { name: "growth", title: "Growth", column: grown, amount: bytes },
  { name: "inuse_objects", title: "Blocks", column: stacks.live_count, amount: (n) => counted(n, "block") },
  { name: "alloc_objects", title: "Allocations", column: stacks.alloc_count, amount: (n) => counted(n, "allocation") },
];

/** Kinds of memory; they are never added up. */
const CLASSES = [
  { name: "heap", title: "Heap", whose: "the heap's", unit: "block", totals: report.totals },
  { name: "resident", title: "Resident", whose: "those of resident memory", unit: "page", totals: report.resident },
  { name: "mapping", title: "Mappings" },
  { name: "file-mapping", title: "Mapped files" },
].map((kind, number) => ({ ...kind, stacks: stacks.class.filter((other) => other === number).length }));

/** The kind of memory that the report is about first. */
const MAIN = Math.max(0, CLASSES.findIndex((kind) => kind.name === data.main));

/** What the whole page shows, and who wants to know when that changes. */
const view = {
  metric: METRICS.find((metric) => metric.name === data.metric) ?? METRICS[0],
  class: [CLASSES.findIndex((kind) => kind.name === data.class && kind.stacks > 0), CLASSES.findIndex((kind) => kind.stacks > 0)].find((i) => i >= 0) ?? 0,
  watchers: [],
  set(change) {
    Object.assign(view, change);
    for (const watcher of view.watchers) watcher(change);
  },
};
