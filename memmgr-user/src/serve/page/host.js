// The host: how much of it is used, how hard memory is to get, and how that went on since the page was opened.

const HISTORY = 300;

class HostView {
  constructor(section) {
    this.used = [];
    this.headline = el("p", { class: "headline" });
    this.usedBar = svg("rect", { class: "used", height: "100%" });
    this.swapBar = svg("rect", { class: "swap", y: "80%", height: "20%" });
    this.curve = svg("path");
    this.figures = el("dl", { class: "key-figures" });
    append(section, [this.headline,
      el("div", { class: "bar" }, svg("svg", { "aria-hidden": "true" }, svg("rect", { class: "whole", width: "100%", height: "100%" }), this.usedBar, this.swapBar)),
      el("div", { class: "history" }, svg("svg", { viewBox: `0 0 ${HISTORY - 1} 100`, preserveAspectRatio: "none", role: "img", "aria-label": "Used memory since this page was opened" }, this.curve)),
      this.figures]);
  }

  show({ host, oom_kills: kills }) {
    const { total_bytes: total, used_bytes: used, swap_total_bytes: swap, swap_free_bytes: swapFree } = host;
    this.headline.textContent = `${bytes(used)} of ${bytes(total)} used, ${percent(used, total)}`;
    const share = (part, whole) => `${whole > 0 ? (100 * part) / whole : 0}%`;
    this.usedBar.setAttribute("width", share(used, total));
    this.swapBar.setAttribute("width", share(swap - swapFree, swap));
    this.used.push(total > 0 ? used / total : 0);
    if (this.used.length > HISTORY) this.used.shift();
    const first = HISTORY - this.used.length;
    this.curve.setAttribute("d", this.used.map((part, i) => `${i === 0 ? "M" : "L"}${first + i} ${(100 - 100 * part).toFixed(2)}`).join(""));
    const figure = (term, value, more) => el("div", {}, el("dt", {}, term), el("dd", {}, el("b", {}, value), el("span", {}, more)));
    refill(this.figures,
      host.available_bytes !== null && figure("available", bytes(host.available_bytes), "without swapping"),
      figure("free", bytes(host.free_bytes), "holds nothing"),
      swap > 0 ? figure("swap in use", bytes(swap - swapFree), `of ${bytes(swap)}`) : figure("swap", "none", ""),
      this.pressure(figure, host.pressure),
      kills !== null && figure("killed for lack of memory", count(kills), "since boot"));
  }

  pressure(figure, pressure) {
    if (pressure === null) return figure("pressure", "not known", "the kernel keeps none");
    return [["some", "some tasks waited"], ["full", "all tasks waited"]].map(([key, words]) => {
      const line = pressure[key];
      return figure(`pressure, ${words}`, `${line.avg10}%`, `of 10s; ${line.avg60}% of 1m, ${line.avg300}% of 5m`);
    });
  }
}
