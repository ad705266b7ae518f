// The kernel's own figures of the process, its cgroup and the host at the end.

const orNothing = (value, words) => (value === null || value === undefined ? null : words(value));

function figuresSection(section) {
  append(section, [el("div", { class: "columns" }, processFigures(), cgroupFigures(), hostFigures())]);
}

function processFigures() {
  const { process } = report;
  const row = (title, key, words = bytes) => [title, orNothing(process[key], words)];
  return el("div", {}, el("h3", {}, "Process"), terms([
    row("resident", "rss_bytes"), row("highest resident", "rss_peak_bytes"), row("proportional", "pss_bytes"), row("private", "uss_bytes"),
    row("anonymous", "anon_bytes"), row("file pages", "file_bytes"), row("shared memory", "shmem_bytes"), row("swapped out", "swap_bytes"),
    row("page tables", "page_tables_bytes"), row("locked", "locked_bytes"), row("huge pages", "hugetlb_bytes"), row("virtual", "virtual_bytes"),
    row("threads", "threads", count), row("mappings", "mappings", count), row("minor faults", "minor_faults", count), row("major faults", "major_faults", count),
  ]));
}

function cgroupFigures() {
  const { cgroup } = report;
  if (cgroup === null) return el("div", {}, el("h3", {}, "Cgroup"), el("p", { class: "dim" }, "The process is in no memory cgroup that could be read."));
  const events = Object.entries(cgroup.events);
  const stat = Object.entries(cgroup.stat).sort(([, a], [, b]) => b - a);
  return el("div", {}, el("h3", {}, `Cgroup ${cgroup.version}`),
    el("p", { class: "path" }, cgroup.path),
    terms([
      ["usage", orNothing(cgroup.usage_bytes, bytes)],
      ["limit", cgroup.limit_bytes === null ? "none" : bytes(cgroup.limit_bytes)],
      ...events.map(([name, times]) => [`event ${name}`, times > 0 ? el("b", {}, count(times)) : "0"]),
      ...pressureRows(cgroup.pressure),
    ]),
    stat.length > 0 && el("details", {}, el("summary", {}, `memory.stat: ${counted(stat.length, "field")}`),
      terms(stat.map(([name, value]) => [name, /^(pg|workingset|thp_|zsw|numa)/.test(name) ? count(value) : bytes(value)]))));
}

function hostFigures() {
  const { host } = report;
  return el("div", {}, el("h3", {}, "Host"), terms([
    ["memory", bytes(host.total_bytes)], ["used", bytes(host.used_bytes)], ["available", orNothing(host.available_bytes, bytes)], ["free", bytes(host.free_bytes)],
    ["swap", host.swap_total_bytes > 0 ? `${bytes(host.swap_total_bytes - host.swap_free_bytes)} of ${bytes(host.swap_total_bytes)} used` : "none"],
    ...pressureRows(host.pressure),
  ]));
}

function pressureRows(pressure) {
  return pressure === null ? [] : [["some", "some tasks stalled"], ["full", "all tasks stalled"]].map(([key, title]) => {
    const line = pressure[key];
    return [title, `${line.avg10}% of 10s, ${line.avg60}% of 1m, ${line.avg300}% of 5m`];
  });
}
