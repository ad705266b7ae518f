// RSS, explained: a bar whose parts add up to it.

const PARTS = [
  ["tracked_live_bytes", "Tracked heap", "allocated since the attach and outstanding"],
  ["allocator_retained_bytes", "Other heap", "older than the attach, kept after a free, or lost to fragmentation"],
  ["own_mappings_bytes", "Own mappings", "mapped by the program itself since the attach"],
  ["thread_stacks_bytes", "Thread stacks", "of all threads"],
  ["file_bytes", "File pages", "code and mapped files"],
  ["shmem_bytes", "Shared memory", "shared with other processes"],
  ["untracked_bytes", "The rest", "changed pages of files, and what is none of the above"],
];

function residentSection(section) {
  const { reconciliation } = report;
  if (data.processes.length > 0) {
    append(section, [processTable(), el("p", { class: "note" }, "Memory that processes share is in the resident set (RSS) of each, and divided in the proportional set (PSS).")]);
    return;
  }
  const rss = reconciliation.rss_bytes;
  const sum = PARTS.reduce((total, [key]) => total + reconciliation[key], 0);
  if (!(rss > 0 && sum > 0)) {
    append(section, [el("p", { class: "dim" }, "The kernel did not say what is resident.")]);
    return;
  }
  const bar = PARTS.map(([key, name], i) => {
    const words = `${name} ${bytes(reconciliation[key])}`;
    const part = el("div", { title: words }, el("i", { class: `part-${i}` }), reconciliation[key] * 12 > sum && el("span", {}, words));
    part.style.flexGrow = reconciliation[key] / sum;
    return part;
  });
  append(section, [
    el("div", { class: "resident-bar", role: "img", "aria-label": `What the resident ${bytes(rss)} are; the table has the numbers` }, bar),
    plainTable("What is resident", ["", "What", "#Bytes", "#Share", "Which is"], [
      ...PARTS.map(([key, name, words], i) => [el("i", { class: `swatch part-${i}` }), name, bytes(reconciliation[key]), percent(reconciliation[key], rss), el("span", { class: "dim" }, key === "allocator_retained_bytes" && reconciliation.runtime_heap !== null ? `${reconciliation.runtime_heap}, and what else the allocator has` : words)]),
      ["", el("b", {}, "Resident (RSS)"), el("b", {}, bytes(rss)), percent(rss, rss),
        sum === rss ? "the sum of the above" : el("span", { class: "warning" }, `the parts add up to ${bytes(sum)}: the memory moved while it was looked at`)],
    ]),
    reconciliation.explanation.map((sentence) => el("p", { class: "note" }, sentence)),
  ]);
}
