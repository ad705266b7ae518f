// What explains one process or cgroup: read once, when somebody asks, because the kernel has to walk page tables for it.

class DetailView {
  constructor(section) {
    this.section = section;
    this.asked = 0;
  }

  /** Asks the server, and shows what it says. */
  async open(title, address, view) {
    const asked = ++this.asked;
    const again = () => this.open(title, address, view);
    const show = (...content) => refill(this.section,
      el("h2", {}, title), content,
      el("div", { class: "actions" },
        el("button", { type: "button", click: again }, "Read again"),
        el("button", { type: "button", click: () => { this.asked += 1; this.section.hidden = true; } }, "Close")));
    show(el("p", { class: "dim" }, "Reading…"));
    this.section.hidden = false;
    this.section.focus();
    const content = await ask(address).then(view, (error) => el("p", { class: "qualified" }, error.message));
    if (asked === this.asked) show(content);
  }

  process(row) {
    this.open(`${row.comm} (${row.pid})`, `/api/v1/stat/process/${row.pid}`, ({ process }) => {
      const figure = (title, key, words = bytes) => [title, process[key] === null ? null : words(process[key])];
      return [
        sum(process.lines, process.rss_bytes, "resident"),
        terms([
          ["command", process.cmdline.join(" ") || process.exe], ["executable", process.exe], ["cgroup", process.cgroup?.path],
          figure("proportional", "pss_bytes"), figure("private", "uss_bytes"), figure("highest resident", "rss_peak_bytes"),
          figure("swapped out", "swap_bytes"), figure("page tables", "page_tables_bytes"), figure("mappings", "mappings", count),
        ]),
        process.notes.map((note) => el("p", { class: "note" }, note)),
      ];
    });
  }

  cgroup(row) {
    this.open(`cgroup ${row.path}`, `/api/v1/stat/cgroup?path=${encodeURIComponent(row.path)}`, ({ cgroup }) => [
      sum(cgroup.lines, cgroup.usage_bytes, "charged"),
      terms([
        ["limit", cgroup.limit_bytes === null ? "none" : bytes(cgroup.limit_bytes)],
        ["highest usage", cgroup.peak_bytes === null ? null : bytes(cgroup.peak_bytes)],
        ["swap", cgroup.swap_bytes === null ? null : bytes(cgroup.swap_bytes)],
        ["processes", count(cgroup.processes.length)],
      ]),
    ]);
  }
}

/** Lines that add up to a sum. */
function sum(lines, whole, word) {
  const rows = lines.filter((line) => line.bytes !== 0).map((line) =>
    [line.what, bytes(line.bytes), percent(line.bytes, whole ?? 0)]);
  if (whole !== null) rows.push([el("b", {}, word), el("b", {}, bytes(whole)), ""]);
  return plainTable(`What is ${word}`, ["what", "#bytes", "#share"], rows, "Not explained.");
}
