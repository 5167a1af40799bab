// Who is this? A photo, a box over every face, and for the chosen one the candidates and what to do about them.

import * as api from "./api.js";
import { announce, count, el, empty, failure, loading } from "./dom.js";
import { facePanel } from "./face-panel.js";
import { photoIntake } from "./intake.js";
import { fromTheLeft, stage } from "./stage.js";
import { decision, further, reason, score } from "./words.js";

export const title = "Who is this?";

const CANDIDATES = 10;

/** The photo in hand: it stays while other views are looked at. `state` is searching, failed or done. */
let probe = null;
let searching = null;
/** Where results go: the view as it was shown last. */
let target = null;

export async function mount(place, signal) {
  const shown = el("div", { class: "result" });
  const intake = photoIntake(search, signal);
  place.append(el("h1", null, title), intake, shown);
  target = { shown, intake };
  if (probe) draw();
}

/** Search a photo; `others` were dropped with it and are not looked at. `face` is chosen when it is done. */
async function search(file, { others = 0, face = 0 } = {}) {
  searching?.abort();
  searching = new AbortController();
  const { signal } = searching;
  const url = probe?.file === file ? probe.url : URL.createObjectURL(file);
  if (probe && probe.url !== url) URL.revokeObjectURL(probe.url);
  const mine = { file, url, others, results: [], position: 0, aside: new Map(), state: "searching", error: null };
  probe = mine;
  draw();
  announce("Searching…");
  try {
    const { results } = await api.identify(file, { k: CANDIDATES, signal });
    mine.results = results[0].box === null ? results : fromTheLeft(results);
    mine.position = Math.max(0, mine.results.findIndex((each) => each.face === face));
    mine.state = "done";
  } catch (error) {
    if (signal.aborted) return;
    mine.state = "failed";
    mine.error = error;
  }
  draw();
  if (mine.state === "done") announce(summary(mine.results));
}

/** What is said of all faces in one sentence. */
function summary(results) {
  if (results[0].box === null) return `${reason(results[0].reason)}. ${further(results[0].reason, results[0].detail) ?? ""}`;
  const tones = results.map((each) => decision(each, remaining(each), aside(each).length).tone);
  const matched = results.filter((_, index) => tones[index] === "match").map((each) => each.subject);
  const unsure = tones.filter((each) => each === "ambiguous").length;
  const rest = results.length - matched.length - unsure;
  const parts = [matched.length ? matched.join(", ") : null, unsure ? `${unsure} too close to call` : null];
  if (rest) parts.push(results.length === 1 ? "no match" : `${rest} without a match`);
  return `${count(results.length, "face")}: ${parts.filter(Boolean).join("; ")}`;
}

/** A face as the stage shows it. */
function boxed(result, position) {
  const others = remaining(result);
  const { tone, title: words, text } = decision(result, others, aside(result).length);
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

/** Candidates of whom a person said that it is not them. */
const aside = (result) => probe.aside.get(result.face) ?? [];
const remaining = (result) => result.candidates.filter((each) => !aside(result).includes(each));

function draw() {
  const { shown, intake } = target;
  const { results, url, file, others, state, error } = probe;
  intake.classList.add("slim");
  if (state === "searching") return shown.replaceChildren(loading("Searching…", 2));
  if (state === "failed") return shown.replaceChildren(failure(error, () => search(file)));
  if (results[0].box === null) {
    const shape = empty("photo", reason(results[0].reason), further(results[0].reason, results[0].detail) ?? "Try another photo.");
    const preview = el("img", { class: "preview", src: url, alt: "" });
    preview.addEventListener("error", () => preview.remove());
    shown.replaceChildren(el("div", { class: "columns" }, el("div", { class: "stage" }, preview), shape));
    return;
  }
  const panel = el("section", { class: "panel", "aria-label": "The chosen face" });
  const photo = stage({ url, name: file.name, faces: results.map(boxed), onselect: choose });
  const first = others ? `The first of ${others + 1} photos. ` : "";
  const heading = el("p", { class: "summary" }, first, summary(results));

  function choose(position) {
    probe.position = position;
    photo.select(position);
    panel.replaceChildren(
      facePanel({
        probe,
        result: results[position],
        position,
        others: remaining(results[position]),
        aside: aside(results[position]),
        choose,
        setAside,
        again: () => search(file, { face: results[position].face }),
      }),
    );
  }

  function setAside(result, candidate) {
    probe.aside.set(result.face, candidate ? [...aside(result), candidate] : []);
    const position = results.indexOf(result);
    photo.relabel(position, boxed(result, position));
    choose(position);
    announce(decision(result, remaining(result), aside(result).length).title);
    heading.replaceChildren(first, summary(results));
  }

  shown.replaceChildren(heading, el("div", { class: "columns" }, photo.element, panel));
  choose(probe.position);
}
