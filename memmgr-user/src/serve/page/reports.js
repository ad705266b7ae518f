// Reports of captures, the newest first.

class ReportsView {
  constructor(section) {
    this.section = section;
    this.shown = el("div");
    section.append(this.shown);
  }

  show({ reports, unread }) {
    this.section.hidden = reports.length === 0 && unread === 0;
    const name = (report) => {
      const words = `${report.comm} (${report.pid})`;
      return report.has_page ? el("a", { href: `/reports/${encodeURIComponent(report.name)}` }, words) : words;
    };
    const rows = reports.map((report) =>
      [name(report), report.captured_at.slice(0, 19).replace("T", " "), report.severity ?? "", report.verdict]);
    refill(this.shown, plainTable("Reports of captures", ["process", "captured, UTC", "severity", "verdict"], rows),
      unread > 0 && el("p", { class: "dim note" }, `${count(unread)} more could not be read.`));
  }
}
