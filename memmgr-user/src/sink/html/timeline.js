// Live bytes, resident bytes and the cgroup over the capture, with the limit where it is near.

const CURVES = [
  { name: "tracked heap", key: "live_bytes", class: "live" },
  { name: "resident", key: "rss_bytes", class: "rss" },
  { name: "cgroup", key: "cgroup_bytes", class: "cgroup" },
];
/** Points drawn at most; of more, each is the highest of its part. */
const POINTS_MAX = 1200;
/** A limit within this factor of the highest value is in the picture. */
const NEAR = 2;

function timelineSection(section) {
  const points = thinned(report.timeline);
  if (points.length < 2) {
    append(section, [el("p", { class: "dim" }, "The capture was too short for a course over time.")]);
    return;
  }
  const curves = CURVES.filter((curve) => points.some((point) => point[curve.key] !== null));
  const highest = Math.max(1, ...points.flatMap((point) => curves.map((curve) => point[curve.key] ?? 0)));
  const limit = report.cgroup?.limit_bytes ?? null;
  const near = limit !== null && limit <= highest * NEAR;
  const chart = el("div", { class: "chart" });
  const readout = el("output", { class: "readout" });
  const draw = () => refill(chart, timelineChart({ points, curves, most: near ? Math.max(limit, highest) : highest, limit: near ? limit : null, width: chart.clientWidth, readout }));
  append(section, [
    el("ul", { class: "legend lines" }, curves.map((curve) => el("li", {}, svg("svg", { width: 28, height: 10, "aria-hidden": "true" }, svg("line", { class: `line ${curve.class}`, x1: 0, x2: 28, y1: 5, y2: 5 })), curve.name)),
      near && el("li", {}, svg("svg", { width: 28, height: 10, "aria-hidden": "true" }, svg("line", { class: "line limit", x1: 0, x2: 28, y1: 5, y2: 5 })), "limit")),
    chart, readout, limitWords(limit, highest, near), counters(),
    report.timeline.length > POINTS_MAX && el("p", { class: "dim note" }, `Of ${counted(report.timeline.length, "point")}, the highest of each part is drawn.`),
  ]);
  draw();
  new ResizeObserver(draw).observe(chart);
}

function limitWords(limit, highest, near) {
  if (limit === null) return el("p", { class: "note dim" }, "The cgroup has no memory limit.");
  const used = report.cgroup.usage_bytes ?? highest;
  return el("p", { class: "note" }, near
    ? `The limit is ${bytes(limit)}; ${bytes(Math.max(0, limit - used))} are left.`
    : `The limit of ${bytes(limit)} is ${(limit / highest).toFixed(1)} times the highest value and not in the picture.`);
}

/** What else moved: swap, threads, descriptors from the first point to the last. */
function counters() {
  const [first, last] = [report.timeline[0], report.timeline.at(-1)];
  const rows = [["swap", "swap_bytes", bytes], ["threads", "threads", count], ["descriptors", "descriptors", count]]
    .filter(([, key]) => first[key] !== null && last[key] !== null)
    .map(([name, key, words]) => [name, first[key] === last[key] ? words(last[key]) : `${words(first[key])} → ${words(last[key])}`]);
  return terms(rows);
}

/** No more points than can be seen; of each part the one with most resident bytes. */
function thinned(points) {
  const step = Math.ceil(points.length / POINTS_MAX);
  if (step <= 1) return points;
  const parts = [];
  for (let at = 0; at < points.length; at += step) {
    parts.push(points.slice(at, at + step).reduce((high, point) => (point.rss_bytes > high.rss_bytes ? point : high)));
  }
  return parts;
}

function timelineChart({ points, curves, most, limit, width, readout }) {
  const height = width < 600 ? 200 : 260;
  const [left, right, top, bottom] = [70, 12, 10, 24];
  const [from, to] = [points[0].t_s, points.at(-1).t_s];
  const x = (seconds) => left + ((seconds - from) / (to - from || 1)) * (width - left - right);
  const y = (value) => height - bottom - (value / (most * 1.05)) * (height - top - bottom);
  const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  const marks = [
    ...byteMarks(most, 4).map((mark) => [svg("line", { class: "grid", x1: left, x2: width - right, y1: y(mark), y2: y(mark) }), svg("text", { x: left - 8, y: y(mark) + 4, "text-anchor": "end" }, bytes(mark).replace(".0 ", " "))]),
    ...timeMarks(from, to, width < 600 ? 3 : 8).map((mark) => svg("text", { x: x(mark), y: height - 6, "text-anchor": x(mark) > width - 40 ? "end" : "middle" }, span(mark).replace(".0s", "s").replace(/^0ms$/, "0"))),
  ];
  let at = points.length - 1;
  const read = (index) => {
    at = Math.min(points.length - 1, Math.max(0, index));
    const point = points[at];
    cursor.setAttribute("x1", x(point.t_s));
    cursor.setAttribute("x2", x(point.t_s));
    cursor.setAttribute("visibility", "visible");
    refill(readout, el("b", {}, `at ${span(point.t_s)}`), curves.map((curve) => ` · ${curve.name} ${point[curve.key] === null ? "unknown" : bytes(point[curve.key])}`));
  };
  read(at);
  cursor.setAttribute("visibility", "hidden");
  return svg("svg", {
    width, height, viewBox: `0 0 ${width} ${height}`, tabindex: "0", role: "application", "aria-label": "Memory over time. The arrow keys read it point by point.",
    pointermove: (event) => {
      const seconds = from + ((event.offsetX - left) / (width - left - right)) * (to - from);
      read(points.reduce((best, point, i) => (Math.abs(point.t_s - seconds) < Math.abs(points[best].t_s - seconds) ? i : best), 0));
    },
    pointerleave: () => cursor.setAttribute("visibility", "hidden"),
    keydown: (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -points.length, End: points.length }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      read(at + step);
    },
  }, marks, limit !== null && svg("line", { class: "line limit", x1: left, x2: width - right, y1: y(limit), y2: y(limit) }),
  curves.map((curve) => svg("path", { class: `line ${curve.class}`, d: linePath(points.map((point) => [x(point.t_s), point[curve.key] === null ? null : y(point[curve.key])])) })), cursor);
}
