// What memmgr makes of it: to be read in three seconds.

/** A shape for each severity, beside its colour. */
const SIGNS = { critical: "■", warning: "▲", info: "●" };

/** Findings that are open from the start. */
const FINDINGS_SHOWN = 5;

const findings = (list) => list.length > 0 && el("ol", { class: "findings" }, list.map(finding));

function verdictSection(section) {
  const grave = report.findings.filter((finding) => finding.severity !== "info");
  append(section, [
    el("h2", { class: `headline ${headlineClass(grave)}` }, headline(grave)),
    qualification(),
    findings(report.findings.slice(0, FINDINGS_SHOWN)),
    report.findings.length > FINDINGS_SHOWN && el("details", {},
      el("summary", {}, `${counted(report.findings.length - FINDINGS_SHOWN, "more finding")}, less severe`),
      findings(report.findings.slice(FINDINGS_SHOWN))),
    keyFigures(),
    suppressed(),
  ]);
}

const headlineClass = (grave) =>
  grave.some((finding) => finding.severity === "critical") ? "critical" : grave.length > 0 ? "warning" : judged && report.capture.complete && !data.doubt ? "good" : "";

function headline(grave) {
  const [first] = grave;
  if (first) {
    const growing = first.growth_bytes_per_s > 0 ? ` grows by ${rate(first.growth_bytes_per_s)}` : "";
    const until = first.time_to_limit_s === null ? "" : `; the limit is reached in ${span(first.time_to_limit_s)}`;
    const more = grave.length > 1 ? ` (and ${count(grave.length - 1)} more)` : "";
    return [sign(first.severity), ` ${about(first)}${growing}${until}${more}`];
  }
  if (!judged) return "Not judged: the report holds no course over time.";
  const remarks = report.findings.length > 0 ? `; ${counted(report.findings.length, "remark")}` : "";
  if (data.doubt) return `No leak found${remarks}, but little was seen.`;
  return report.capture.complete
    ? [el("span", { "aria-hidden": "true" }, "✓ "), `No leak found${remarks}.`]
    : `No leak found in what was seen${remarks}.`;
}

const sign = (severity) => el("span", { class: "sign", "aria-hidden": "true" }, Object.hasOwn(SIGNS, severity) ? SIGNS[severity] : SIGNS.info);

const about = (finding) =>
  finding.subject ?? (finding.stack_id === null ? "the process" : `stack ${finding.stack_id}`);

/** What the figures cannot be trusted for. */
function qualification() {
  const words = [];
  if (data.doubt && report.findings.every((finding) => finding.severity === "info")) words.push(el("p", { class: "qualified" }, data.doubt));
  if (data.in_windows) words.push(el("p", { class: "qualified" }, el("b", {}, "Watched in windows: "), `${data.in_windows}.`));
  if (!report.capture.complete) {
    words.push(el("p", { class: "qualified" }, el("b", {}, "Not all was seen: "), `${data.completeness.replace(/^incomplete: /, "")}. What that means for the figures is under `, el("a", { href: "#loss" }, "what was lost"), "."));
  }
  let cut = 0;
  let all = 0;
  for (let stack = 0; stack < stackCount; stack += 1) {
    if (stacks.class[stack] !== 0) continue;
    all += stacks.alloc_bytes[stack];
    if (isCut(stack)) cut += stacks.alloc_bytes[stack];
  }
  if (cut > all / 100) {
    const { kind, bytes: copied, files } = report.capture.stack;
    const longer = kind === "dwarf" && copied < 65536 ? "; try --stack-bytes 64KiB" : "";
    const remedy = files.some((file) => file.unwind === "none") ? ": they end in files that cannot be unwound" : longer;
    words.push(el("p", { class: "qualified" }, `${percent(cut, all)} of the allocated bytes have a stack that is cut${remedy}.`));
  }
  return words;
}

/** A stack whose outermost callers are not known begins with a frame that says so. */
function isCut(stack) {
  const root = paths[pathStart[stack]];
  return pathStart[stack] < pathStart[stack + 1] && frames.function[root] === 0 && frames.module[root] === 0 && frames.address[root] === "0";
}

function finding(one) {
  const stack = one.stack_id === null ? -1 : stacks.id.indexOf(one.stack_id);
  const numbers = [
    one.growth_bytes_per_s > 0 && `${rate(one.growth_bytes_per_s)}`,
    one.time_to_limit_s !== null && `limit in ${span(one.time_to_limit_s)}`,
    one.shape !== "" && one.shape,
    `score ${Math.round(one.score)} of 100`,
    `confidence ${Math.round(one.confidence * 100)}%`,
  ].filter(Boolean);
  return el("li", { class: `finding ${Object.hasOwn(SIGNS, one.severity) ? one.severity : "info"}` },
    el("h3", {}, sign(one.severity), " ", el("span", { class: "severity" }, one.severity), " ", shortName(about(one)),
      one.kind !== "" && one.kind !== "leak" && el("span", { class: "dim" }, ` ${one.kind}`)),
    el("p", { class: "numbers" }, numbers.join(" · ")),
    one.evidence.length > 0 && el("ul", {}, one.evidence.map((sentence) => el("li", {}, sentence))),
    one.recommendation !== "" && el("p", { class: "recommendation" }, "→ ", one.recommendation),
    stack >= 0 && el("p", { class: "actions" },
      el("button", { type: "button", click: () => stackLinks.show(stack) }, `Show stack ${one.stack_id}`),
      el("button", { type: "button", click: () => flameLinks.showStack(stack) }, "Show in the flame graph")));
}

/** How much it is, beside the verdict. */
function keyFigures() {
  const { mapped, resident, cgroup, process } = report;
  const { name, totals, unit } = CLASSES[MAIN];
  const samples = stacks.live_samples.reduce((sum, samples, i) => sum + (stacks.class[i] === MAIN ? samples : 0), 0);
  const limit = cgroup?.limit_bytes;
  const figure = (title, value, more) => el("div", {}, el("dt", {}, title), el("dd", {}, el("b", {}, value), more && el("span", {}, more)));
  return el("dl", { class: "key-figures" },
    figure(`${name === "heap" ? "Outstanding heap" : "Touched and resident"}${sampled ? " (estimate)" : ""}`, estimate(totals.live_bytes, totals.live_bytes_error),
      `${counted(totals.live_count, unit)}, ${data.processes.length > 0 ? "peaks added up" : "peak"} ${bytes(totals.peak_live_bytes)}${sampled ? `, from ${counted(samples, "sample")}` : ""}`),
    figure(name === "heap" ? "Allocated since the attach" : "Touched since the attach", estimate(totals.alloc_bytes, totals.alloc_bytes_error),
      `${counted(totals.alloc_count, unit)}${report.duration_s > 0 ? `, ${bytes(totals.alloc_bytes / report.duration_s)}/s` : ""}; ${bytes(totals.free_bytes)} ${name === "heap" ? "freed" : "gone again"}`),
    name === "heap" && resident.alloc_count > 0 && figure("Touched and resident", estimate(resident.live_bytes, resident.live_bytes_error), "pages touched since the attach, partly the heap's: never add the two"),
    mapped.alloc_count > 0 && figure("Mapped since the attach", bytes(mapped.live_bytes), "address space, partly the heap's own: never add the two"),
    data.processes.length > 0 ? process.pss_bytes !== null && figure("Resident, of all processes", bytes(process.pss_bytes), "their proportional sets (PSS)")
      : figure("Resident", bytes(process.rss_bytes ?? report.reconciliation.rss_bytes), process.rss_peak_bytes !== null && `peak ${bytes(process.rss_peak_bytes)}`),
    cgroup && cgroup.usage_bytes !== null && figure("Cgroup", bytes(cgroup.usage_bytes),
      limit === null ? "no limit" : `${percent(cgroup.usage_bytes, limit)} of the limit of ${bytes(limit)}`));
}

function suppressed() {
  return report.suppressions.length > 0 && el("p", { class: "dim" }, "Suppressed: ", report.suppressions
    .map((one) => `${one.pattern} (${counted(one.stacks, "stack")}, ${bytes(one.live_bytes)} in ${counted(one.live_count, "block")})`).join("; "), ".");
}
