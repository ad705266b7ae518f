// Asks for the last look again and again, and shows it.

const place = (id) => document.getElementById(id);
/** Longest wait for an answer. */
const PATIENCE_MS = 10_000;

const host = new HostView(place("host"));
const detail = new DetailView(place("detail"));
const reports = new ReportsView(place("reports"));
let sort = "size";
let paused = false;

const sorted = (by) => {
  sort = by;
  refresh();
};
const processes = new LiveTable({
  name: "Processes", sorted, key: (row) => `${row.pid} ${row.start_time_s}`,
  columns: [
    { title: "process", name: true, value: (row) => row.comm, open: (row) => detail.process(row) },
    { title: "pid", number: true, value: (row) => row.pid },
    { title: "resident", number: true, sort: "size", value: (row) => bytes(row.rss_bytes) },
    { title: "growth", number: true, sort: "growth", value: (row) => growth(row.growth_bytes_per_s), mark: (row) => mark(row.growth_bytes_per_s) },
    { title: "virtual", number: true, wide: true, value: (row) => bytes(row.virtual_bytes) },
    { title: "major faults", number: true, wide: true, value: (row) => count(row.major_faults) },
    { title: "threads", number: true, wide: true, value: (row) => count(row.threads) },
    { title: "state", wide: true, value: (row) => row.state },
  ],
});
const cgroups = new LiveTable({
  name: "Cgroups", sorted, key: (row) => row.path,
  columns: [
    { title: "cgroup", name: true, value: (row) => row.path, open: (row) => detail.cgroup(row) },
    { title: "usage", number: true, sort: "size", value: (row) => bytes(row.usage_bytes) },
    { title: "growth", number: true, sort: "growth", value: (row) => growth(row.growth_bytes_per_s), mark: (row) => mark(row.growth_bytes_per_s) },
    { title: "limit", number: true, value: (row) => (row.limit_bytes === null ? "none" : bytes(row.limit_bytes)) },
    { title: "of the limit", number: true, value: (row) => (row.limit_bytes === null ? "" : percent(row.usage_bytes, row.limit_bytes)) },
    { title: "killed", number: true, wide: true, value: (row) => (row.oom_kills === null ? "" : count(row.oom_kills)) },
  ],
});

/** The server's answer; an error with its words where it has none. */
async function ask(address) {
  const answer = await fetch(address, { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" })
    .catch(() => { throw new Error("memmgr does not answer"); });
  const json = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(json.error ?? `memmgr answers with ${answer.status}`);
  return json;
}

function shown(total, omitted, nouns) {
  const which = sort === "size" ? "largest" : "fastest growing";
  return `${count(total)} ${nouns}${omitted > 0 ? `, the ${which} ${count(total - omitted)} are shown` : ""}.`;
}

function show(look) {
  host.show(look);
  const unread = look.processes_unread > 0 ? ` ${count(look.processes_unread)} more could not be read.` : "";
  processes.show(look.processes, sort, shown(look.processes_total, look.processes_omitted, "processes") + unread);
  cgroups.show(look.cgroups, sort, shown(look.cgroups_total, look.cgroups_omitted, "cgroups"));
  place("time").textContent = `${look.taken_at.slice(11, 19)} UTC`;
  say(`A look every ${span(look.interval_s)}.`, false);
  document.documentElement.dataset.ready = "yes";
}

/** How it goes; told to screen readers only when it changes. */
function say(words, stale) {
  const state = place("state");
  if (state.textContent !== words) state.textContent = words;
  state.classList.toggle("stale", stale);
}

/** Reports come one a minute at most: they are asked for less often than figures. */
const REPORTS_EVERY_MS = 10_000;
let reportsAsked = -REPORTS_EVERY_MS;
async function refreshReports() {
  if (performance.now() - reportsAsked < REPORTS_EVERY_MS) return;
  reportsAsked = performance.now();
  // Without an answer the last ones stay.
  await ask("/api/v1/reports").then((shelf) => reports.show(shelf), () => {});
}

let running = false;
/** Asks, one question at a time; returns how long to wait for the next. */
async function refresh() {
  if (running) return 1;
  running = true;
  let interval = 1;
  try {
    for (let wanted = null; wanted !== sort;) {
      wanted = sort;
      const look = await ask(`/api/v1/look?sort=${wanted}`);
      if (wanted === sort && !paused) show(look);
      interval = look.interval_s;
    }
    await refreshReports();
  } catch (error) {
    say(`! These figures are old: ${visible(error.message)}.`, true);
  }
  running = false;
  return interval;
}

async function goOn() {
  const interval = paused || document.hidden ? 1 : await refresh();
  // More often than twice a second nobody can read it.
  setTimeout(goOn, 1000 * Math.max(interval, 0.5));
}

place("where").textContent = location.host;
place("processes").append(processes.element);
place("cgroups").append(cgroups.element);
place("pause").addEventListener("click", () => {
  paused = !paused;
  place("pause").setAttribute("aria-pressed", String(paused));
  place("pause").textContent = paused ? "Go on" : "Pause";
  if (paused) say("Paused.", true);
});
place("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = (root.dataset.theme ?? system) === "dark" ? "light" : "dark";
});
goOn();
