// How long the blocks of the largest stacks live.

const LIFETIMES_SHOWN = 10;

function lifetimesSection(section) {
  const known = Array.from({ length: stackCount }, (_, i) => i).filter((i) => stacks.class[i] === MAIN && stacks.lifetime[i] !== null);
  if (known.length === 0) {
    append(section, [el("p", { class: "dim" }, "This report holds no lifetimes.")]);
    return;
  }
  const largest = known.sort((a, b) => stacks.live_bytes[b] - stacks.live_bytes[a]).slice(0, LIFETIMES_SHOWN);
  append(section, [
    plainTable("Lifetimes", ["Allocated by", "#Outstanding", "Half of the blocks live", "#Outlive every age", "#Freed", "Share that lives longer"], largest.map((stack) => {
      const life = lifetime(stack);
      return [
        el("button", { type: "button", class: "plain", click: () => stackLinks.show(stack) }, callers(stack)),
        bytes(stacks.live_bytes[stack]),
        life.median === null ? "longer than the capture" : `at most ${span(life.median)}`,
        percent(life.immortal, 1), count(life.freed),
        life.ages.length > 0 ? survivalCurve(life.ages, life.shares, 200, 30) : "-",
      ];
    })),
    el("p", { class: "dim note" }, "The curves fall from left to right as blocks die, ages growing by factors of two; the dotted line is a half. "
      + "Blocks that are still outstanding count as “at least this old”, not as freed (Kaplan and Meier)."),
  ]);
}
