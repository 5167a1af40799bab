// Scores on a line: where the threshold is, and which side of it a score lies on.

import { el } from "./dom.js";
import { score as text, signed } from "./words.js";

/** Where scales begin: 0, or lower where a score is. */
export function lowEnd(scores) {
  const lowest = Math.min(0, ...scores);
  return Math.max(-1, Math.floor(lowest * 10) / 10);
}

function share(value, low) {
  return `${(100 * Math.min(1, Math.max(0, (value - low) / (1 - low)))).toFixed(2)}%`;
}

function placed(kind, value, low) {
  const mark = el("span", { class: kind });
  mark.style.left = share(value, low);
  return mark;
}

/** One score and the threshold. */
export function track(score, threshold, low = lowEnd([score])) {
  const above = score >= threshold;
  const bar = el("span", { class: "bar" });
  bar.style.width = share(score, low);
  const label = `Score ${text(score)}, ${above ? "at or above" : "below"} the threshold of ${text(threshold)}`;
  return el(
    "span",
    { class: `track ${above ? "above" : "below"}`, role: "img", "aria-label": label },
    bar,
    placed("mark", threshold, low),
    placed("dot", score, low),
  );
}

/** The axis over tracks: its ends and the threshold. */
export function axis(threshold, low = 0) {
  const name = placed("name", threshold, low);
  name.append(`threshold ${text(threshold)}`);
  name.classList.toggle("late", (threshold - low) / (1 - low) > 0.6);
  return el(
    "div",
    { class: "axis", "aria-hidden": "true" },
    el("span", { class: "end" }, low === 0 ? "0" : signed(low, 1)),
    name,
    el("span", { class: "end" }, "1"),
  );
}
