// Keeps 64 MiB more for each line that it reads, in the heap of its runtime.
const kept = [];
console.log("ready");
require("readline").createInterface({ input: process.stdin }).on("line", () => {
  for (let block = 0; block < 1024; block += 1) kept.push(new Array(8192).fill(block + 0.5));
  console.log("grown");
});
