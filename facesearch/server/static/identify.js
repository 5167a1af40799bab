// Who is this? A photo, a box over every face, and for the chosen one the candidates and what to do about them.

import * as api from "./api.js";
import { announce, count, el, empty, failure, loading } from "./dom.js";
import { facePanel } from "./face-panel.js";
import { photoIntake } from "./intake.js";
import { fromTheLeft, stage } from "./stage.js";
import { decision, further, reason, score } from "./words.js";

export const title = "Who is this?";

const CANDIDATES = 10;

/** The photo in hand: it stays while other views are looked at. */
let probe = null;
let searching = null;

export async function mount(place, signal) {
  const shown = el("div", { class: "result" });
  const intake = photoIntake((file) => search(file, shown, intake), signal);
  place.append(el("h1", null, title), intake, shown);
  if (probe) draw(shown, intake);
}

async function search(file, shown, intake, { face = null } = {}) {
  searching?.abort();
  searching = new AbortController();
  const { signal } = searching;
  intake.classList.add("slim");
  shown.replaceChildren(loading("Searching…", 2));
  announce("Searching…");
  const url = probe?.file === file ? probe.url : URL.createObjectURL(file);
  if (probe && probe.url !== url) URL.revokeObjectURL(probe.url);
  probe = { file, url, results: [], position: 0, aside: new Map() };
  try {
    const { results } = await api.identify(file, { k: CANDIDATES, signal });
    probe.results = results[0].box === null ? results : fromTheLeft(results);
  } catch (error) {
    if (signal.aborted) return;
    shown.replaceChildren(failure(error, () => search(file, shown, intake)));
    return;
  }
  probe.position = Math.max(0, probe.results.findIndex((each) => each.face === (face ?? 0)));
  draw(shown, intake);
  announce(summary(probe.results));
}

/** What is said of all faces in one sentence. */
function summary(results) {
  if (results[0].box === null) return `${reason(results[0].reason)}. ${further(results[0].reason, results[0].detail) ?? ""}`;
  const matched = results.filter((each) => each.decision === "match").map((each) => each.subject);
  const unsure = results.filter((each) => each.decision === "ambiguous").length;
  const rest = results.length - matched.length - unsure;
  const parts = [matched.length ? matched.join(", ") : null, unsure ? `${unsure} too close to call` : null];
  if (rest) parts.push(results.length === 1 ? "no match" : `${rest} without a match`);
  return `${count(results.length, "face")}: ${parts.filter(Boolean).join("; ")}`;
}

/** A face as the stage shows it. */
function boxed(result, position) {
  const others = remaining(result);
  const { tone, title: words, text } = decision(result, others, removed(result));
  const labels = {
    match: () => `${others[0].subject} ${score(others[0].score)}`,
    ambiguous: () => `${others[0].subject}? ${score(others[0].score)}`,
    unknown: () => "no match",
    unusable: () => "unusable",
  };
  return {
    box: result.box,
    tone,
    label: labels[tone](),
    description: `Face ${position + 1}: ${words}. ${text}`,
  };
}

const removed = (result) => probe.aside.get(result.face)?.size ?? 0;
const remaining = (result) => {
  const aside = probe.aside.get(result.face);
  return aside ? result.candidates.filter((each) => !aside.has(each.template_id)) : result.candidates;
};

function draw(shown, intake) {
  intake.classList.add("slim");
  const { results, url, file } = probe;
  if (results[0].box === null) {
    const shape = empty("photo", reason(results[0].reason), further(results[0].reason, results[0].detail) ?? "Try another photo.");
    const preview = el("img", { class: "preview", src: url, alt: "" });
    preview.addEventListener("error", () => preview.remove());
    shown.replaceChildren(el("div", { class: "columns" }, el("div", { class: "stage" }, preview), shape));
    return;
  }
  const panel = el("section", { class: "panel", "aria-label": "The chosen face" });
  const photo = stage({ url, name: file.name, faces: results.map(boxed), onselect: choose });
  const heading = el("p", { class: "summary" }, summary(results));

  function choose(position) {
    probe.position = position;
    photo.select(position);
    panel.replaceChildren(
      facePanel({
        probe,
        result: results[position],
        position,
        others: remaining(results[position]),
        removed: removed(results[position]),
        choose,
        setAside,
        again: () => search(file, shown, intake, { face: results[position].face }),
      }),
    );
  }

  function setAside(result, candidate) {
    const aside = probe.aside.get(result.face) ?? new Set();
    if (candidate) aside.add(candidate.template_id);
    else aside.clear();
    probe.aside.set(result.face, aside);
    const position = results.indexOf(result);
    photo.relabel(position, boxed(result, position));
    choose(position);
    announce(decision(result, remaining(result), aside.size).title);
  }

  shown.replaceChildren(heading, el("div", { class: "columns" }, photo.element, panel));
  choose(probe.position);
}
