// Elements. Every text of the page passes through here: it becomes a text node, with nothing invisible in it.

/** An element with its attributes, listeners (functions) and children (texts, elements, nothing). */
function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for a picture. */
function svg(tag, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, visible(String(value)));
    }
  }
  append(element, children);
  return element;
}

/** Appends texts and elements; leaves out what is nothing. */
function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : visible(String(child)));
  }
}

/** Puts new children in the place of the old ones. */
function refill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** A list of terms and values; rows without a value are left out. */
function terms(rows) {
  const known = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "terms" }, known.map(([term, value]) =>
    el("div", {}, el("dt", {}, term), el("dd", {}, value))));
}

/** A plain table: a caption, headings with a leading `#` for numbers, and rows. */
function plainTable(caption, headings, rows, empty) {
  const numeric = headings.map((heading) => heading.startsWith("#"));
  const cell = (tag, value, i) => el(tag, { class: numeric[i] && "number", scope: tag === "th" && "col" }, value);
  const body = rows.length > 0
    ? rows.map((row) => el("tr", {}, row.map((value, i) => cell("td", value, i))))
    : el("tr", {}, el("td", { colspan: headings.length, class: "dim" }, empty ?? "Nothing."));
  return el("div", { class: "scroll" }, el("table", {},
    el("caption", { class: "unseen" }, caption),
    el("thead", {}, el("tr", {}, headings.map((heading, i) => cell("th", heading.replace(/^#/, ""), i)))),
    el("tbody", {}, body)));
}
