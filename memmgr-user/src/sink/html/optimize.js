// An action of `optimize`, or a plan: what it changed first, then the figures around it.

const data = JSON.parse(document.getElementById("data").textContent);
const { report, tables, rates } = data;
const place = (id) => document.getElementById(id);

const VERDICTS = {
  helped: ["Helped", "good"], harmed: ["Harmed", "critical"],
  no_effect: ["No effect", "warning"], unknown: ["Unknown", "warning"],
};

const UNITS = {
  bytes, count,
  index: (value) => value.toFixed(3),
  bytes_per_second: (value) => `${bytes(value)}/s`,
  per_second: (value) => `${value.toFixed(1)}/s`,
  percent: (value) => `${value.toFixed(1)}%`,
};

function head() {
  append(place("head"), [
    el("div", { class: "title" }, el("h1", {}, `${report.action} of ${data.subject}`)),
    el("div", { class: "facts dim" }, el("span", {}, report.at), el("span", {}, `memmgr ${report.memmgr_version}`)),
  ]);
  document.title = `memmgr: ${report.action} of ${visible(data.subject)}`;
}

function verdict() {
  const { changed, suggestions } = report;
  const notes = report.notes.map((note) => el("p", { class: "note" }, note));
  if (changed) {
    const [word, look] = VERDICTS[changed.effect.verdict] ?? [changed.effect.verdict, "warning"];
    append(place("verdict"), [
      el("p", { class: `headline ${look}` }, word),
      el("p", {}, data.effect),
      changed.effect.why.map((why) => el("p", { class: "qualified" }, why)),
      el("dl", { class: "key-figures" },
        keyFigure("gained at once", changed.effect.gained_bytes), keyFigure("kept", changed.effect.kept_bytes),
        el("div", {}, el("dt", {}, "took"), el("dd", {}, el("b", {}, span(changed.took_s)), el("span", {}, `and settled for ${span(changed.settled.at_s - changed.after.at_s)}`)))),
      notes,
    ]);
  } else if (report.action === "plan") {
    const found = (suggestions ?? []).map((one) => el("li", { class: `finding ${one.cannot ? "" : "warning"}` },
      el("h3", {}, one.action, el("span", { class: "numbers" }, `  ${gain(one)}, risk ${one.risk}`)),
      el("p", {}, one.why),
      one.cannot ? el("p", { class: "recommendation" }, `Not here: ${one.cannot}`) : el("p", {}, el("code", {}, one.command), " (a dry run; --apply does it)")));
    append(place("verdict"), [
      el("p", { class: "headline" }, found.length > 0 ? "What would help" : "Nothing that memmgr knows would give back memory here"),
      notes, el("ul", { class: "findings" }, found),
    ]);
  } else {
    append(place("verdict"), [el("p", { class: "headline warning" }, "Dry run: nothing was done"), el("p", {}, "--apply does it."), notes]);
  }
}

function keyFigure(name, number) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, el("b", {}, signed(number, bytes))));
}

function gain(one) {
  if (one.gain_bytes === null) return "no figure";
  return `${one.at_most ? "at most" : "about"} ${bytes(one.gain_bytes)}`;
}

function signed(number, words) {
  const size = words(Math.abs(number));
  return size === words(0) ? "=" : `${number < 0 ? "−" : "+"}${size}`;
}

function figures() {
  const known = report.changed ? ["#before", "#after", "#settled"] : ["#now"];
  const all = tables.map((table) => [table, known]);
  if (rates) all.push([rates, ["#before", "#settling"]]);
  if (!report.changed) place("figures-title").textContent = "Figures now";
  append(place("figures"), all.map(([table, moments]) => {
    const several = moments.length > 1;
    const rows = table.rows.map((row) => {
      const words = UNITS[row.unit] ?? String;
      const values = row.values.map((value) => (value === null ? "-" : words(value)));
      const [first, last] = [row.values[0], row.values.at(-1)];
      const change = first === null || last === null ? "-" : signed(last - first, words);
      return [row.what, ...values, ...(several ? [change] : [])];
    });
    return el("div", { class: moments.length === 3 ? "moments" : "" }, el("h3", {}, table.title), plainTable(table.title, ["", ...moments, ...(several ? ["#change"] : [])], rows));
  }));
}

function done() {
  if (report.action === "plan") {
    place("done").hidden = true;
    return;
  }
  append(place("done"), [terms([
    ["does", report.does], ["can cost", report.costs], ["undone", report.undo],
    ...report.steps.map((step) => [report.applied ? "done" : "would", step]),
    ["logged", report.logged ? `in ${report.logged}` : null],
  ])]);
}

function mappings() {
  const meant = report.mappings ?? [];
  if (meant.length === 0) {
    place("mappings").hidden = true;
    return;
  }
  const sorted = meant.toSorted((a, b) => b.rss_bytes - a.rss_bytes);
  const rows = sorted.slice(0, 200).map((one) =>
    [bytes(one.rss_bytes), one.pid, `${one.start.toString(16)}-${one.end.toString(16)}`, one.name]);
  append(place("mappings"), [
    plainTable("Mappings that are meant", ["#in memory", "#pid", "addresses", "name"], rows),
    meant.length > rows.length && el("p", { class: "dim" }, `and ${counted(meant.length - rows.length, "more")}`),
  ]);
}

head();
verdict();
figures();
done();
mappings();
document.documentElement.dataset.ready = "yes";
