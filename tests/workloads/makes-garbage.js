// Makes garbage that survives young collections, so that it stays until somebody asks for a full one.
let kept = [];
for (let block = 0; block < 400; block += 1) kept.push(new Array(16384).fill(block + 0.5));
kept = [];
console.log("ready");
// Until it is told to end.
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
