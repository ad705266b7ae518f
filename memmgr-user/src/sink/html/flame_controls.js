// What stands around the flame graph: what is counted, the search, where one has zoomed to.

/** Opens the flame graph at the node of a stack; set by the section. */
const flameLinks = { showStack: () => {}, searchFor: () => {} };

function flameSection(section) {
  const said = el("p", { class: "unseen", "aria-live": "polite" });
  const crumbs = el("ol", { class: "crumbs", "aria-label": "Zoomed to" });
  const found = el("output", { class: "found-share", for: "search" });
  const search = el("input", { id: "search", type: "search", placeholder: "Search functions and files  ( / )", "aria-label": "Search the flame graph", autocomplete: "off", spellcheck: "false" });
  const reset = el("button", { type: "button", id: "reset" }, "Reset");
  let flame = null;
  const around = {
    selected: (text) => refill(said, text),
    zoomed: (name) => refill(said, `Zoomed to ${name}`),
    drawn: () => {
      if (flame === null) return;
      // Only when they change: a button that is replaced while it is pressed is never clicked.
      if (crumbs.dataset.root !== String(flame.root)) refill(crumbs, crumbsTo(flame));
      crumbs.dataset.root = flame.root;
      reset.disabled = flame.root === 0 && search.value === "";
      refill(found, foundShare(flame, search.value));
    },
  };
  flame = new Flame(around);
  search.addEventListener("input", () => flame.search(search.value.trim()));
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { search.value = ""; flame.search(""); flame.canvas.focus(); }
  });
  reset.addEventListener("click", () => { search.value = ""; flame.matches = null; flame.zoom(0); });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) { event.preventDefault(); search.focus(); }
  });
  view.watchers.push(() => flame.recount());

  append(section, [
    el("div", { class: "tools" },
      choice("Kind of memory", "class", CLASSES.map((kind, i) => ({ title: kind.title, chosen: () => i === view.class, disabled: kind.stacks === 0, choose: () => view.set({ class: i }) }))),
      choice("What is counted", "metric", METRICS.map((metric) => ({
        title: metric.title, chosen: () => metric === view.metric,
        disabled: metric.column === grown && !grown.some((value) => value > 0),
        choose: () => view.set({ metric }),
      }))),
      search, reset),
    el("div", { class: "below-tools" }, crumbs, found),
    flame.element, said, legend(flame.hues),
    el("p", { class: "dim note" }, "Callers above, the allocation below. Click or Enter zooms, Escape resets, arrows move, / searches. "
      + "Growth is what a stack gained between the end of the first third of the capture and its end."),
  ]);
  flameLinks.showStack = (stack) => {
    if (stacks.class[stack] !== view.class) view.set({ class: stacks.class[stack] });
    const node = tree.leaf[stack];
    if (!(flame.total[node] > 0)) view.set({ metric: METRICS.find((metric) => metric.column === stacks.alloc_bytes) });
    flame.zoom(node);
    section.scrollIntoView();
    flame.canvas.focus({ preventScroll: true });
  };
  flameLinks.searchFor = (name) => {
    search.value = name;
    flame.search(name);
    section.scrollIntoView();
    search.focus({ preventScroll: true });
  };
  flame.draw();
  return flame;
}

/** A row of radio buttons that follow the view. */
function choice(title, name, options) {
  const buttons = options.map((option) =>
    el("input", { type: "radio", name, disabled: option.disabled, change: option.choose }));
  const follow = () => options.forEach((option, i) => { buttons[i].checked = option.chosen(); });
  view.watchers.push(follow);
  follow();
  return el("fieldset", { class: "choice" }, el("legend", { class: "unseen" }, title), options.map((option, i) =>
    el("label", { class: option.disabled && "disabled" }, buttons[i], el("span", {}, option.title))));
}

/** The callers of the zoomed frame, those in the middle left out. */
function crumbsTo(flame) {
  const line = lineTo(flame.root);
  const shown = line.length <= 7 ? line : [0, null, ...line.slice(-5)];
  return shown.map((node) => {
    if (node === null) return el("li", {}, "…");
    const name = shortName(nodeName(node));
    return el("li", {}, node === flame.root
      ? el("b", { "aria-current": "true" }, name)
      : el("button", { type: "button", class: "plain", click: () => flame.zoom(node) }, name));
  });
}

function foundShare(flame, text) {
  if (flame.matches === null) return null;
  const functions = flame.matches.reduce((sum, match) => sum + match, 0);
  const { held, matchingStacks } = matchedWithin(flame.root, flame.matches, flame.total, view.class);
  return functions === 0
    ? `Nothing is named like “${text.trim()}”`
    : `${counted(functions, "function")} in ${counted(matchingStacks, "stack")}: ${view.metric.amount(held)}, ${percent(held, flame.total[flame.root])} of what is shown`;
}

/** Which file has which hue. */
function legend(hues) {
  const named = [...hues.files, ...(hues.more ? ["other files"] : []) ];
  return el("ul", { class: "legend", "aria-label": "Colours" }, named.map((name, i) =>
    el("li", {}, el("i", { class: `swatch hue-${i}` }), name)));
}
