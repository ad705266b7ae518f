// What was lost, what is not covered, how it was captured and what that cost.

function lossSection(section) {
  const { capture, target } = report;
  const { accounting, loss } = capture;
  const balanced = accounting.residual === 0;
  const nothing = data.losses.length === 0 && balanced;
  append(section, [
    nothing && (capture.complete
      ? el("p", { class: "good" }, "✓ Complete: nothing was lost. In exact mode the figures equal the truth.")
      : el("p", { class: "bad" }, "! Something was lost, but the cause is not known: do not trust the figures.")),
    data.losses.length > 0 && plainTable("Losses by cause", ["#Times", "What", "What it means"], data.losses.map((one) => [count(one.count), one.what, one.effect])),
    !balanced && el("p", { class: "bad" }, `! Probe hits accounted for by nothing: ${accounting.residual}; the books do not balance.`),
    loss.unknown_free > 0 && el("p", { class: "note dim" }, `Frees of blocks unknown to memmgr, mostly older than the attach${capture.observed === null ? "" : " or allocated between windows"}: ${count(loss.unknown_free)}; no loss by itself.`),
    loss.hidden_free > 0 && el("p", { class: "note dim" }, `Frees between windows, known because their address was handed out again: ${count(loss.hidden_free)}; no loss.`),
    el("p", { class: "note dim" }, `The books: ${count(accounting.seen)} hits seen = ${count(accounting.filtered)} filtered + ${count(accounting.sampled_out)} passed over by the sampler + ${count(accounting.submitted)} submitted + ${count(accounting.lost)} lost; `
      + `${count(accounting.received)} records received, ${count(accounting.decoded)} decoded.`),
    el("h3", {}, "Not covered"),
    target.not_covered.length > 0
      ? el("ul", {}, target.not_covered.map((one) => el("li", {}, el("b", {}, one.what), `: ${one.why}`)))
      : el("p", { class: "dim" }, "Nothing that memmgr knows of."),
  ]);
}

function captureSection(section) {
  const { capture, target, collector } = report;
  const { overhead, filter, stack } = capture;
  append(section, [el("div", { class: "columns" },
    el("div", {}, el("h3", {}, "Settings"), terms([
      ["mode", modeWords()],
      ["stacks", wordsFor({ fp: "frame pointers", dwarf: `copied, ${bytes(stack.bytes)} at most, unwound by tables` }, stack.kind)],
      ["because", stack.why],
      ["probes", `attached by ${capture.attach || "nothing"}, ${count(capture.probes_per_s)} hits/s`],
      ["hidden", [filter.min_age_s > 0 && `blocks younger than ${span(filter.min_age_s)}`, filter.min_size_bytes > 0 && `blocks below ${bytes(filter.min_size_bytes)}`].filter(Boolean).join(", ")],
      ["overhead", [overhead.achieved_percent !== null && `${overhead.achieved_percent.toFixed(1)} % measured`, overhead.budget_percent !== null && `${overhead.budget_percent} % allowed`].filter(Boolean).join(", ")],
      ...overhead.actions.map((action, index) => [index === 0 ? "to keep it" : "", `${action.t_s.toFixed(1)} s: ${action.what}`]),
      ["cgroup", target.cgroup],
    ])),
    el("div", {}, el("h3", {}, "Cost of memmgr itself"), terms([
      ["version", report.memmgr_version],
      ["highest resident", bytes(collector.rss_peak_bytes)],
      ["processor time", span(collector.cpu_s)],
      ["to attach", span(collector.attach_s)],
      ["to detach", span(collector.detach_s)],
      ["first event after", orNothing(collector.first_event_s, span)],
    ]))),
  target.allocators.map((allocator) => el("details", {},
    el("summary", {}, `${allocator.kind}: ${allocator.path}, ${counted(allocator.functions.length, "probed function")}`),
    plainTable("Probed functions", ["Function", "Role", "Probe", "#Hits"], allocator.functions.map((one) => [el("code", {}, one.symbol), one.role, one.site, count(one.hits)])))),
  stack.files.length > 0 && el("details", {}, el("summary", {}, `${counted(stack.files.length, "file")} and how they can be unwound`),
    plainTable("Files", ["File", "Unwound by"], stack.files.map((file) => [file.path, file.unwind])))]);
}
