// Which boxes of the flame graph are wide enough to be drawn, and where.

/** Levels below the zoomed frame that are drawn; zooming shows deeper ones. */
const LEVELS_MAX = 150;
/** Pixels below which a box is drawn as part of the rest of its caller. */
const WIDTH_MIN = 1;

/**
 * Rows of boxes from the zoomed node down, largest to the left. A box without a node stands for
 * `rest` callees that are too narrow.
 */
function layOut(root, total, width) {
  const rows = [[{ node: root, x: 0, width }]];
  while (rows.length <= LEVELS_MAX) {
    const below = [];
    for (const box of rows.at(-1)) {
      if (box.node === null) continue;
      const scale = box.width / total[box.node];
      const children = childrenOf(box.node, total);
      let x = box.x;
      for (const [i, node] of children.entries()) {
        const share = total[node] * scale;
        if (share < WIDTH_MIN) {
          const rest = children.slice(i);
          const held = rest.reduce((sum, child) => sum + total[child], 0);
          if (held * scale >= WIDTH_MIN) below.push({ node: null, x, width: held * scale, rest: rest.length, held });
          break;
        }
        below.push({ node, x, width: share });
        x += share;
      }
    }
    if (below.length === 0) break;
    rows.push(below);
  }
  return rows;
}
