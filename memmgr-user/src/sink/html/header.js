// What was looked at, how and when.

const ENDED = {
  "": "", duration: "", interrupted: "interrupted by the user",
  exited: "until the target exited", exec: "until the target executed another program",
};

const SECTIONS = [
  ["verdict", "Verdict"], ["flame", "Flame graph"], ["tables", "Stacks"], ["timeline", "Over time"], ["lifetimes", "Lifetimes"],
  ["resident", "Resident"], ["allocator", "Allocator"], ["figures", "Figures"], ["loss", "Loss"], ["capture", "Capture"],
];

function modeWords() {
  const { mode, sample_interval_bytes: interval, observed } = report.capture;
  const margin = observed === null ? "the truth lies within ± in 95 of 100 cases" : "± is the error of sampling alone";
  return wordsFor({
    sample: `samples, one per ${bytes(interval)} on average: figures are estimates; ${margin}`,
    exact: observed === null ? "exact, every allocation" : `exact within windows: figures are estimates; ${margin}`,
    auto: interval > 0 ? `auto, within the budget samples, one per up to ${bytes(interval)} on average: figures are estimates; ${margin}`
      : observed === null ? "auto, the budget allowed every allocation"
        : `auto, within the budget every allocation in windows: figures are estimates; ${margin}`,
    growth: interval === 0 ? "growth, no allocator probes: page faults and mappings only"
      : `growth, no allocator probes: mappings, and one page fault per ${bytes(interval)} on average: figures are estimates; the truth lies within ± in 95 of 100 cases`,
    "": "unknown mode",
  }, mode);
}

function header(place) {
  const { target } = report;
  const command = target.cmdline.length > 0 ? target.cmdline.join(" ") : target.exe;
  document.title = visible(`memmgr: ${data.target}`);
  const ended = wordsFor(ENDED, target.ended);
  append(place, [
    el("div", { class: "title" },
      target.pid > 0 ? el("h1", {}, target.comm, el("span", { class: "pid" }, `pid ${target.pid}`)) : el("h1", {}, data.target),
      el("button", { type: "button", id: "theme", click: toggleTheme }, "Dark or light")),
    el("p", { class: "command", title: command }, command),
    el("p", { class: "facts" },
      el("span", {}, [`captured ${span(report.duration_s)}`, ended].filter(Boolean).join(", ")),
      el("span", {}, report.captured_at.replace(/^(\d{4}-\d\d-\d\d)T([\d:]+)(\.\d+)?Z$/, "$1 $2 UTC")),
      el("span", {}, modeWords()),
      target.container_id && el("span", {}, `container ${target.container_id.slice(0, 12)}`),
      el("span", { class: report.capture.complete ? "good" : "bad" },
        report.capture.complete ? "✓ complete, nothing was lost" : `! ${data.completeness}`)),
    el("nav", { "aria-label": "Sections" }, SECTIONS.map(([id, title]) => el("a", { href: `#${id}` }, title))),
  ]);
}

/** Dark becomes light and the other way; the page forgets it when it is closed. */
function toggleTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
  view.set({});
}
