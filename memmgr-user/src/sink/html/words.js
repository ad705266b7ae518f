// Numbers and names as people read them; the same as in the text report.
"use strict";

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** Bytes in powers of 1024: `512 B`, `1.5 MiB`. */
function bytes(number) {
  let unit = 0;
  let value = number;
  while (Math.abs(value) >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${BYTE_UNITS[unit]}`;
}

/** A count with thousands separated. */
function count(number) {
  return Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A count and its noun: `1 block`, `2 blocks`. */
function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A span of time: `250ms`, `12.3s`, `4m05s`, `2h03m`, `3d04h`. */
function span(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "?";
  if (seconds > 0 && seconds < 0.0005) return "<1ms";
  if (seconds < 0.9995) return `${Math.round(seconds * 1e3)}ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h${two(Math.floor(whole / 60) % 60)}m`;
  return `${Math.floor(whole / 86400)}d${two(Math.floor(whole / 3600) % 24)}h`;
}

/** A share of a whole; `-` when there is no whole. */
function percent(part, whole) {
  return whole > 0 ? `${((part * 100) / whole).toFixed(1)}%` : "-";
}

/** How far an estimate may be off: two standard errors, which hold the truth in 95 of 100 cases. */
function margin(number, error) {
  if (!(error > 0 && number > 0)) return "";
  const share = Math.ceil((200 * error) / number);
  return share > 100 ? "±>100%" : `±${share}%`;
}

/** Bytes with their margin, if they have one: `71.1 MiB ±8%`. */
function estimate(number, error) {
  return `${bytes(number)} ${margin(number, error)}`.trimEnd();
}

/** Bytes a second; slow growth by the hour, where it is a number that one can picture. */
function rate(perSecond) {
  return perSecond > 0 && perSecond < 1 ? `${bytes(perSecond * 3600)}/h` : `${bytes(perSecond)}/s`;
}

/** The words for a key of the report; the key itself where this version knows none. */
function wordsFor(words, key) {
  return Object.hasOwn(words, key) ? words[key] : key;
}

/** The last part of a path. */
function baseName(path) {
  return path.split("/").findLast((part) => part !== "") ?? path;
}

/** The text with every character visible: those that are not are shown as `\u{1b}`. */
const visible = (() => {
  let hostile = null;
  return (text) => {
    hostile ??= new RegExp(`[${data.hostile}]`, "gu");
    return text.replace(hostile, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  };
})();

/** A function's name without its template arguments, which fill a line and tell nothing: `map<…>::find`. */
function shortName(name) {
  if (name.length < 40 || !name.includes("<")) return name;
  let short = "";
  let depth = 0;
  for (let i = 0; i < name.length; i += 1) {
    const operator = /^operator[<>=\-]+/.exec(name.slice(i, i + 12))?.[0];
    if (operator) {
      if (depth === 0) short += operator;
      i += operator.length - 1;
    } else if (name[i] === "<" && (depth > 0 || /\w/.test(name[i - 1] ?? ""))) {
      if (depth === 0) short += "<…>";
      depth += 1;
    } else if (name[i] === ">" && depth > 0 && name[i - 1] !== "-") {
      depth -= 1;
    } else if (depth === 0) {
      short += name[i];
    }
  }
  return depth === 0 ? short : name;
}
