// The stacks as a tree: a node for each place in the flame graph.

/** Nodes in preorder, so that a subtree is a range of nodes and a range of stacks. Node 0 is the root. */
const tree = (() => {
  const most = paths.length + 1;
  const parent = new Int32Array(most);
  const label = new Int32Array(most).fill(-1);
  const depth = new Int32Array(most);
  const end = new Int32Array(most);
  const firstStack = new Int32Array(most);
  const endStack = new Int32Array(most);
  const leaf = new Int32Array(stackCount);
  const line = [0];
  let size = 1;
  const close = (length, stack) => {
    while (line.length > length) {
      const node = line.pop();
      end[node] = size;
      endStack[node] = stack;
    }
  };
  for (let stack = 0; stack < stackCount; stack += 1) {
    const start = pathStart[stack];
    const length = pathStart[stack + 1] - start;
    let at = 0;
    while (at < length && at + 1 < line.length && label[line[at + 1]] === frames.label[paths[start + at]]) at += 1;
    close(at + 1, stack);
    for (; at < length; at += 1) {
      const node = size++;
      parent[node] = line[at];
      label[node] = frames.label[paths[start + at]];
      depth[node] = at + 1;
      firstStack[node] = stack;
      line.push(node);
    }
    leaf[stack] = line[length];
  }
  close(0, stackCount);
  return { size, parent, label, depth, end, firstStack, endStack, leaf };
})();

/** What each node holds itself and with all below it. */
function totalsOf(metric, kind) {
  const self = new Float64Array(tree.size);
  for (let stack = 0; stack < stackCount; stack += 1) {
    if (stacks.class[stack] === kind) self[tree.leaf[stack]] += metric.column[stack];
  }
  const total = self.slice();
  for (let node = tree.size - 1; node > 0; node -= 1) total[tree.parent[node]] += total[node];
  return { self, total };
}

/** The nodes directly below a node that hold anything, largest first. */
function childrenOf(node, total) {
  const children = [];
  for (let child = node + 1; child < tree.end[node]; child = tree.end[child]) {
    if (total[child] > 0) children.push(child);
  }
  return children.sort((a, b) => total[b] - total[a] || a - b);
}

/** From the root to a node. */
function lineTo(node) {
  const line = [node];
  while (line[0] !== 0) line.unshift(tree.parent[line[0]]);
  return line;
}

/** The frame of a node in the first of its stacks. */
function frameOf(node) {
  return paths[pathStart[tree.firstStack[node]] + tree.depth[node] - 1];
}

function nodeName(node) {
  return node === 0 ? "all" : frameName(labelFrame[tree.label[node]]);
}

/** Where a node's code is; several lines of one function may stand in it. */
function nodePlace(node) {
  const place = sourceLine(frameOf(node));
  for (let stack = tree.firstStack[node] + 1; stack < tree.endStack[node]; stack += 1) {
    if (sourceLine(paths[pathStart[stack] + tree.depth[node] - 1]) !== place) return `${place} and other lines`;
  }
  return place;
}

/** What the nodes of matching labels hold together: nested ones count once. Also how many stacks pass through them. */
function matchedWithin(root, matches, total, kind) {
  let held = 0;
  let matchingStacks = 0;
  for (let node = root; node < tree.end[root];) {
    if (node !== 0 && total[node] > 0 && matches[tree.label[node]]) {
      held += total[node];
      for (let stack = tree.firstStack[node]; stack < tree.endStack[node]; stack += 1) {
        if (stacks.class[stack] === kind) matchingStacks += 1;
      }
      node = tree.end[node];
    } else {
      node += 1;
    }
  }
  return { held, matchingStacks };
}
