// Small pictures: lines over an axis, and the marks of axes in human units.

/** The round step of about `parts` parts of a range: 1, 2 or 5 times a power of ten. */
function roundStep(range, parts) {
  const rough = range / parts;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

/** Marks for bytes, round in their unit: 0, 256 KiB, 512 KiB. */
function byteMarks(most, parts) {
  if (!(most > 0)) return [0];
  const unit = 1024 ** Math.max(0, Math.floor(Math.log(most / parts) / Math.log(1024)));
  const power = 2 ** Math.ceil(Math.log2(most / parts / unit));
  const step = Math.max(1, power * unit);
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
}

/** Marks for seconds, round as clocks are. */
function timeMarks(from, to, parts) {
  const range = to - from;
  if (!(range > 0)) return [from];
  const clock = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  const step = clock.find((seconds) => seconds >= range / parts && range >= 1) ?? roundStep(range, parts);
  const first = Math.ceil(from / step);
  return Array.from({ length: Math.floor(to / step) - first + 1 }, (_, i) => (first + i) * step);
}

/** The `d` of a line through points; a missing value interrupts it. */
function linePath(points) {
  let pen = "M";
  return points.map(([x, y]) => {
    if (y === null) { pen = "M"; return ""; }
    const part = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
    return part;
  }).join("");
}

/** Outstanding bytes of a stack over the windows of the capture. */
function sparkline(values, label) {
  const width = 260;
  const height = 56;
  const most = Math.max(1, ...values);
  const ends = report.windows_s.length === values.length ? report.windows_s : values.map((_, i) => i + 1);
  const last = ends.at(-1) || 1;
  const at = (i) => [(ends[i] / last) * (width - 2) + 1, height - 3 - (values[i] / most) * (height - 8)];
  return el("figure", { class: "small-chart" },
    svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
      svg("line", { class: "axis", x1: 0, x2: width, y1: height - 1, y2: height - 1 }),
      svg("path", { class: "line live", d: linePath(values.map((_, i) => at(i))) })),
    el("figcaption", {}, `${bytes(values[0])} → ${bytes(values.at(-1))} in ${span(last)}; highest ${bytes(most)}`));
}

/** The share of blocks that live longer than an age, over ages on a scale of factors. */
function survivalCurve(ages, shares, width, height) {
  const least = Math.log(ages.find((age) => age > 0) ?? 1e-6) - Math.LN2;
  const range = Math.max(Math.log(Math.max(...ages)) - least, Math.LN2);
  const x = (age) => ((Math.log(Math.max(age, 1e-9)) - least) / range) * (width - 2) + 1;
  const y = (share) => height - 2 - share * (height - 5);
  let path = `M1 ${y(1)}`;
  ages.forEach((age, i) => { path += `H${x(age).toFixed(1)}V${y(shares[i] / 1e4).toFixed(1)}`; });
  const words = `${percent(shares[0], 1e4)} live longer than ${span(ages[0])}, ${percent(shares.at(-1), 1e4)} longer than ${span(ages.at(-1))}`;
  return svg("svg", { class: "curve", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": words },
    svg("title", {}, words),
    svg("line", { class: "axis", x1: 0, x2: width, y1: height - 1, y2: height - 1 }),
    svg("line", { class: "axis", x1: 0, x2: width, y1: y(0.5), y2: y(0.5), "stroke-dasharray": "2 4" }),
    svg("path", { class: "line live", d: path }));
}
