// The processes of a merged report: resident memory is known of each by itself.

function processTable() {
  const total = data.processes.reduce((sum, process) => sum + process.live_bytes, 0);
  const whole = (process) => (process.complete ? "" : el("span", { class: "warning" }, "not all of it was seen"));
  const came = (process) => (process.since_s < 0.5 ? "" : `after ${span(process.since_s)}`);
  return plainTable("Processes", ["#Pid", "Name", "#Outstanding", "#Share", "#Allocated", "#RSS", "#PSS", "#Captured", "Joined", "Ended", "", "Verdict"],
    data.processes.map((process) => [process.pid, process.comm, estimate(process.live_bytes, process.live_bytes_error), percent(process.live_bytes, total),
      bytes(process.alloc_bytes), orNothing(process.rss_bytes, bytes) ?? "-", orNothing(process.pss_bytes, bytes) ?? "-", span(process.duration_s),
      came(process), wordsFor(ENDED, process.ended), whole(process), process.verdict]));
}
