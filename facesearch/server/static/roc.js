// A ROC curve: the rate over the error, which is on a logarithmic axis, with the operating points and their intervals.

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [480, 300];
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 14, 34, 52];

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** `curve` are [error, rate], errors falling; `points` as in `/v1/evaluation`. The table beside it says the same. */
export function roc({ curve, points }, { error, rate }) {
  const shown = points.filter((each) => each.rate !== null && each.errors > 0);
  const left = Math.floor(Math.log10(curve.at(-1)[0]) + 1e-9);
  const lowest = Math.min(...curve.map(([, value]) => value), ...shown.map((each) => each.low ?? each.rate));
  const step = stepOf(1 - lowest);
  const low = Math.min(1 - 2 * step, Math.floor(lowest / step + 1e-9) * step);
  const x = (value) => LEFT + ((WIDTH - LEFT - RIGHT) * (Math.log10(value) - left)) / -left;
  const y = (value) => TOP + ((HEIGHT - TOP - BOTTOM) * (1 - value)) / (1 - low);
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "roc", role: "img", "aria-label": `${rate} over ${error}: ${curve.at(-1)[1].toFixed(3)} at ${curve.at(-1)[0]}, ${curve[0][1].toFixed(3)} at ${curve[0][0]}` },
    ...decades(left, x),
    ...levels(low, step, y),
    text(`${error} (logarithmic)`, { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" }),
    text(rate, { x: LEFT - 8, y: 16, "text-anchor": "end" }),
    svg("path", { class: "curve", d: stairs(curve, x, y) }),
    ...shown.flatMap((each) => mark(each, x, y)),
  );
}

const text = (content, attributes) => svg("text", attributes, content);

function decades(left, x) {
  const every = left < -5 ? 2 : 1;
  return Array.from({ length: -left + 1 }, (_, index) => left + index).flatMap((power) => {
    const line = svg("line", { class: "grid", x1: x(10 ** power), x2: x(10 ** power), y1: TOP, y2: HEIGHT - BOTTOM });
    if (power % every) return [line];
    const label = power >= -3 ? String(Number((10 ** power).toPrecision(1))) : `1e${power}`;
    return [line, text(label.replace("-", "−"), { x: x(10 ** power), y: HEIGHT - BOTTOM + 19, "text-anchor": "middle" })];
  });
}

/** Between lines of the rate, so that there are a few and their numbers are round. */
const stepOf = (range) => [0.02, 0.05, 0.1, 0.2].find((step) => range <= 6 * step) ?? 0.2;

function levels(low, step, y) {
  return Array.from({ length: Math.round((1 - low) / step) + 1 }, (_, index) => low + step * index).flatMap((value) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
    text(value.toFixed(2), { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }),
  ]);
}

/** Between two errors that were seen, the rate is that of the lower one: nothing is drawn that was not measured. */
function stairs(curve, x, y) {
  const rising = [...curve].reverse();
  const steps = rising.map(([error, rate], index) => (index ? `H${x(error).toFixed(1)}V${y(rate).toFixed(1)}` : `M${x(error).toFixed(1)} ${y(rate).toFixed(1)}`));
  return steps.join("");
}

function mark({ errors, trials, rate, low, high }, x, y) {
  const [across, up] = [x(errors / trials), y(rate)];
  const made = svg("rect", { class: "point", x: across - 4, y: up - 4, width: 8, height: 8 });
  if (low === null) return [made];
  return [svg("line", { class: "whisker", x1: across, x2: across, y1: y(low), y2: y(high) }), made];
}
