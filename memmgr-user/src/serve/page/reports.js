// Reports of captures, the newest first.

/** Those that are shown before somebody asks for the others. */
const NEWEST = 5;

class ReportsView {
  constructor(section) {
    this.section = section;
    this.newest = el("div");
    this.others = el("div");
    this.summary = el("summary");
    this.older = el("details", {}, this.summary, this.others);
    this.note = el("p", { class: "dim note" });
    append(section, [this.newest, this.older, this.note]);
  }

  show({ reports, unread }) {
    this.section.hidden = reports.length === 0 && unread.length === 0;
    refill(this.newest, this.table(reports.slice(0, NEWEST)));
    const older = reports.slice(NEWEST);
    this.older.hidden = older.length === 0;
    this.summary.textContent = `${count(older.length)} older`;
    refill(this.others, this.table(older));
    this.note.hidden = unread.length === 0;
    refill(this.note, `Not read: ${unread.map(({ name, why }) => `${name} (${why})`).join("; ")}.`);
  }

  table(reports) {
    const name = (report) => {
      const words = `${report.comm} (${report.pid})`;
      return report.has_page ? el("a", { href: `/reports/${encodeURIComponent(report.name)}` }, words) : words;
    };
    return plainTable("Reports of captures", ["process", "captured, UTC", "verdict"], reports.map((report) =>
      [name(report), report.captured_at.slice(0, 19).replace("T", " "), report.verdict]));
  }
}
