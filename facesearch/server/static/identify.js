// Who is this? Photos, a box over every face, and for the chosen one the candidates and what to do about them.

import * as api from "./api.js";
import { announce, button, count, el, empty, failure, loading } from "./dom.js";
import { facePanel } from "./face-panel.js";
import { photoIntake } from "./intake.js";
import { pictureOf, release } from "./picture.js";
import { fromTheLeft, stage } from "./stage.js";
import { photoStrip } from "./strip.js";
import { decision, further, reason, score } from "./words.js";

export const needs = "read";
export const title = "Who is this?";

const CANDIDATES = 10;
const MOST = 100; // photos at a time: their pictures are in memory
const AT_ONCE = 2; // requests: the server has others to answer

/** The photos in hand: they stay while other views are looked at. A `state` is waiting, searching, failed or done. */
let probes = [];
/** The one that is looked at. */
let probe = null;
let leftOut = 0;
let searching = null;
let strip = null;
/** Where results go: the view as it was shown last. */
let target = null;

export async function mount(place, signal) {
  const [row, shown] = [el("div", { class: "strip-place" }), el("div", { class: "result" })];
  const intake = photoIntake(search, signal);
  place.append(el("h1", null, title), intake, row, shown);
  target = { row, shown, intake };
  if (probe) begin();
}

/** Search photos, the first ones first; it is shown. */
async function search(files) {
  searching?.abort();
  searching = new AbortController();
  const { signal } = searching;
  for (const each of probes) release(each.picture);
  probes = files.slice(0, MOST).map((file) => ({ file, picture: null, results: [], position: 0, aside: new Map(), degraded: null, state: "waiting", error: null }));
  leftOut = files.length - probes.length;
  [probe] = probes;
  strip = probes.length > 1 ? photoStrip(probes, choosePhoto) : null;
  begin();
  announce(probes.length > 1 ? `Searching ${count(probes.length, "photo")}…` : "Searching…");
  const waiting = [...probes];
  const work = async () => {
    for (let next = waiting.shift(); next && !signal.aborted; next = waiting.shift()) await ask(next, signal);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (!signal.aborted && strip) announce(`${count(probes.length, "photo")} searched`);
}

/** Search one photo; `face` is chosen when it is done. */
async function ask(mine, signal, face = 1) {
  mine.state = "searching";
  tell(mine);
  try {
    const { results } = await api.identify(mine.file, { k: CANDIDATES, degraded: mine.degraded, signal });
    const readable = results[0].box !== null || results[0].reason === "face_not_found";
    mine.picture ??= readable ? await pictureOf(mine.file) : { url: null, scale: 1 };
    if (signal.aborted) return release(mine.picture);
    mine.results = results[0].box === null ? results : fromTheLeft(results);
    mine.aside = new Map();
    mine.position = Math.max(0, mine.results.findIndex((each) => each.face === face));
    mine.state = "done";
  } catch (error) {
    if (signal.aborted) return;
    mine.state = "failed";
    mine.error = error;
  }
  tell(mine);
  if (mine === probe && mine.state === "done") announce(summary(mine));
}

const again = (mine, face) => ask(mine, searching.signal, face);

/** What went wrong; where the gallery's engine is down, some people can be searched without it. */
function failed(mine) {
  const shown = failure(mine.error, () => again(mine));
  if (mine.error.reason === "vector_database") {
    const makeDo = () => ((mine.degraded = true), again(mine));
    shown.lastChild.append(" ", button("Search the newest people only", makeDo));
  }
  return shown;
}

/** Show what is new of a photo. */
function tell(mine) {
  strip?.update(mine, mine.state === "done" ? gist(mine) : { text: "", said: mine.state, tone: mine.state });
  if (mine === probe) draw();
}

function begin() {
  target.intake.classList.add("slim");
  target.row.replaceChildren(...[strip?.element, leftOut ? el("p", { class: "hint" }, `${count(leftOut, "photo")} more than fit at a time: left out.`) : null].filter(Boolean));
  strip?.select(probe);
  draw();
}

function choosePhoto(mine) {
  probe = mine;
  strip.select(mine);
  draw();
  announce(mine.state === "done" ? `${mine.file.name}. ${summary(mine)}` : `${mine.file.name}. ${mine.state}`);
}

/** How many of the faces are matched, in a few characters and in words. */
function gist(mine) {
  if (mine.results[0].box === null) return { text: "–", said: reason(mine.results[0].reason), tone: "unusable" };
  const tones = mine.results.map((each) => decision(each, remaining(mine, each), aside(mine, each).length).tone);
  const matched = tones.filter((each) => each === "match").length;
  return { text: `${matched}/${tones.length}`, said: summary(mine), tone: matched === tones.length ? "match" : "unknown" };
}

const INCOMPLETE = "– not everybody was searched";
const incomplete = (mine) => mine.results.some((each) => each.complete === false);

/** What is said of all faces in one sentence. */
function summary(mine) {
  const { results } = mine;
  if (results[0].box === null) return `${reason(results[0].reason)}. ${further(results[0].reason, results[0].detail) ?? ""}`;
  const tones = results.map((each) => decision(each, remaining(mine, each), aside(mine, each).length).tone);
  const matched = results.filter((_, index) => tones[index] === "match").map((each) => each.subject);
  const unsure = tones.filter((each) => each === "ambiguous").length;
  const rest = results.length - matched.length - unsure;
  const parts = [matched.length ? matched.join(", ") : null, unsure ? `${unsure} too close to call` : null];
  if (rest) parts.push(results.length === 1 ? "no match" : `${rest} without a match`);
  const some = incomplete(mine) ? ` ${INCOMPLETE}` : "";
  return `${count(results.length, "face")}: ${parts.filter(Boolean).join("; ")}${some}`;
}

/** A face as the stage shows it. */
function boxed(mine, result, position) {
  const others = remaining(mine, result);
  const { tone, title: words, text } = decision(result, others, aside(mine, result).length);
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
const aside = (mine, result) => mine.aside.get(result.face) ?? [];
const remaining = (mine, result) => result.candidates.filter((each) => !aside(mine, result).includes(each));

function draw() {
  const mine = probe;
  const { results, picture, file, state } = mine;
  const { shown } = target;
  if (state === "waiting" || state === "searching") return shown.replaceChildren(loading("Searching…", 2));
  if (state === "failed") return shown.replaceChildren(failed(mine));
  if (results[0].box === null) {
    const shape = empty("photo", reason(results[0].reason), further(results[0].reason, results[0].detail) ?? "Try another photo.");
    const preview = picture.url && el("div", { class: "stage" }, el("img", { class: "preview", src: picture.url, alt: "" }));
    shown.replaceChildren(el("div", { class: preview ? "columns" : "" }, preview, shape));
    return;
  }
  const panel = el("section", { class: "panel", "aria-label": "The chosen face" });
  const photo = stage({ picture, name: file.name, faces: results.map((each, index) => boxed(mine, each, index)), onselect: choose });
  const heading = el("p", { class: incomplete(mine) ? "summary warn" : "summary" }, summary(mine));

  /** `outcome` tells what became of a face that was enrolled here; it stays when the face is searched anew. */
  function choose(position, outcome = el("div", { class: "outcome", role: "status" })) {
    const { results } = mine;
    mine.position = position;
    photo.select(position);
    panel.replaceChildren(
      facePanel({
        probe: mine,
        result: results[position],
        position,
        others: remaining(mine, results[position]),
        aside: aside(mine, results[position]),
        choose,
        setAside,
        outcome,
        enrolled: () => searchAgain(position, outcome),
      }),
    );
  }

  /** Somebody is enrolled from this photo now: say of all its faces who they are. */
  async function searchAgain(position, outcome) {
    const { results } = await api.identify(mine.file, { k: CANDIDATES, degraded: mine.degraded });
    if (results[0].box === null) return;
    mine.results = fromTheLeft(results);
    mine.aside = new Map();
    mine.results.forEach((each, index) => photo.relabel(index, boxed(mine, each, index)));
    if (mine.position === position) choose(position, outcome);
    heading.replaceChildren(summary(mine));
    strip?.update(mine, gist(mine));
  }

  function setAside(result, candidate) {
    mine.aside.set(result.face, candidate ? [...aside(mine, result), candidate] : []);
    const position = mine.results.indexOf(result);
    photo.relabel(position, boxed(mine, result, position));
    choose(position);
    announce(decision(result, remaining(mine, result), aside(mine, result).length).title);
    heading.replaceChildren(summary(mine));
    strip?.update(mine, gist(mine));
  }

  shown.replaceChildren(heading, el("div", { class: "columns" }, photo.element, panel));
  choose(mine.position);
}
