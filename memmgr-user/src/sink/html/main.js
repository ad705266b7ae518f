// Draws the page, what matters first.

const place = (id) => document.getElementById(id);

header(place("head"));
verdictSection(place("verdict"));
const flame = flameSection(place("flame"));
tablesSection(place("tables"));
timelineSection(place("timeline"));
lifetimesSection(place("lifetimes"));
residentSection(place("resident"));
allocatorSection(place("allocator"));
figuresSection(place("figures"));
lossSection(place("loss"));
captureSection(place("capture"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => flame.draw());
document.documentElement.dataset.ready = "yes";
