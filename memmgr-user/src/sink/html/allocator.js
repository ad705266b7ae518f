// Which allocations the allocator served by itself, and what is outstanding on which of its pages.

function allocatorSection(section) {
  const { served, fragmentation } = report;
  append(section, [
    served === null
      ? el("p", { class: "dim" }, data.processes.length > 0 ? "Known of each process by itself." : "Nothing was allocated.")
      : servedParts(served),
    fragmentation !== null && fragmentation.total.resident_bytes > 0 && fragmentationParts(fragmentation),
  ]);
}

function hitRate(rate) {
  if (rate >= 1) return "all";
  return rate >= 0.9999 ? "99.99 %" : `${(rate * 100).toFixed(2)} %`;
}

function servedParts(served) {
  const perSecond = (times) => (report.duration_s > 0 ? `, ${count(Math.round(times / report.duration_s))}/s` : "");
  const ways = served.ways.map((way) => `${count(way.calls)} ${way.name}`).join(", ");
  const about = sampled || !report.capture.complete ? "about " : "";
  const more = served.uncounted !== null;
  const bound = more ? "at most " : !about && served.kernel_calls > 0 ? "at least " : "";
  return [
    el("h3", {}, "Hit and miss"),
    terms([
      ["hits", served.hit_rate === null ? null : more && served.kernel_calls === 0 ? `not known, of ${about}${counted(served.allocations, "allocation")}` : `${bound}${about}${hitRate(served.hit_rate)} of ${about}${counted(served.allocations, "allocation")}${perSecond(served.allocations - Math.min(served.allocations, served.kernel_calls))}: served from what the allocator held`],
      ["misses", served.kernel_calls === 0 ? (more ? "none was seen" : "none: the allocator took no memory of the kernel") : `${more ? "at least " : ""}${counted(served.kernel_calls, "call")} to the kernel (${ways})${perSecond(served.kernel_calls)} for ${bytes(served.kernel_bytes)}, ${bytes(served.returned_bytes)} given back`],
    ]),
    served.uncounted !== null && el("p", { class: "dim" }, served.uncounted),
    served.kernel_calls > 0 && served.windows_kernel_calls.length > 1 && missChart(served),
    served.stacks.length > 0 && el("details", { open: true }, el("summary", {}, "Whose allocations went to the kernel"),
      plainTable("Misses by function", ["Allocated by", "#Calls", "#Bytes", "#Stacks"], bySubject(served.stacks).map((one) => [one.subject, count(one.calls), bytes(one.bytes), count(one.stacks)]))),
  ];
}

/** The misses of one function together, most calls first. */
function bySubject(stacks) {
  const subjects = new Map();
  for (const { subject, calls, bytes } of stacks) {
    const sum = subjects.get(subject) ?? { subject, calls: 0, bytes: 0, stacks: 0 };
    subjects.set(subject, { subject, calls: sum.calls + calls, bytes: sum.bytes + bytes, stacks: sum.stacks + 1 });
  }
  return [...subjects.values()].sort((a, b) => b.calls - a.calls);
}

/** Calls to the kernel, a bar a window. */
function missChart(served) {
  const width = 560;
  const height = 56;
  const calls = served.windows_kernel_calls;
  const most = Math.max(1, ...calls);
  const last = report.windows_s.at(-1) || 1;
  const bars = calls.map((times, i) => {
    const begin = i === 0 ? 0 : report.windows_s[i - 1];
    const tall = (times / most) * (height - 4);
    const x = (begin / last) * width;
    const rate = served.windows_allocations[i] > 0 ? `, hits ${hitRate(1 - Math.min(1, times / served.windows_allocations[i]))}` : "";
    return svg("rect", { x: x.toFixed(1), y: (height - 1 - tall).toFixed(1), width: Math.max(1, ((report.windows_s[i] - begin) / last) * width - 1).toFixed(1), height: tall.toFixed(1) },
      svg("title", {}, `${span(begin)} to ${span(report.windows_s[i])}: ${counted(times, "call")}${rate}`));
  });
  return el("figure", { class: "small-chart" },
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Calls to the kernel over the capture" },
      svg("line", { class: "axis", x1: 0, x2: width, y1: height - 1, y2: height - 1 }), svg("g", { class: "bar" }, bars)),
    el("figcaption", {}, `calls to the kernel over ${span(last)}; most in a window ${count(most)}`));
}

function fragmentationParts(fragmentation) {
  const { total, mappings } = fragmentation;
  const share = (part) => `${bytes(part)}, ${percent(part, total.resident_bytes)}`;
  const columns = (pages) => [bytes(pages.resident_bytes), bytes(pages.live_bytes), bytes(pages.empty_bytes), bytes(pages.sparse_bytes)];
  const name = (area) => `${area.start.toString(16)}-${area.end.toString(16)} ${area.name}`;
  return [
    el("h3", {}, "Fragmentation"),
    terms([
      ["resident", bytes(total.resident_bytes)],
      ["outstanding", share(total.live_bytes)],
      ["empty pages", `${share(total.empty_bytes)}: ${fragmentation.from_start ? "no block is on them, the allocator keeps them" : "no block that was allocated since the attach is on them: older ones, or none"}`],
      ["sparse pages", `${share(total.sparse_bytes)}: less than a quarter of each is outstanding, ${bytes(total.sparse_live_bytes)} in all`],
    ]),
    fragmentation.pinned_by.length > 0 && plainTable("Blocks that keep sparse pages", ["Sparse pages kept by", "#Pages", "#Outstanding on them", "#Kept from being given back"],
      fragmentation.pinned_by.map((one) => [one.subject, count(one.pages), bytes(one.live_bytes), bytes(one.pinned_bytes)])),
    el("details", {}, el("summary", {}, counted(mappings.length, "mapping")),
      plainTable("Mappings", ["Mapping", "#Resident", "#Outstanding", "#Empty pages", "#Sparse pages"], mappings.map((area) => [el("code", {}, name(area)), ...columns(area.pages)]))),
  ];
}
