// What a score means here: the threshold in force and what it rests on, the history, the gallery's health, and the gallery audited.

import * as api from "./api.js";
import { announce, button, count, el, failure, icon, loading } from "./dom.js";
import { evaluations, rate } from "./evaluation.js";
import { portrait } from "./faces.js";
import { corrections } from "./history.js";
import { axis, track } from "./scale.js";
import { getInfo } from "./server-info.js";
import { fileName, photoName, score } from "./words.js";

export const needs = "read";
export const title = "Report";

export async function mount(place, signal) {
  place.append(el("h1", null, title), loading("Loading the report…", 4));
  const [server, made] = await Promise.all([getInfo({ fresh: true }), api.calibration()]);
  if (signal.aborted) return;
  place.replaceChildren(
    el("h1", null, title),
    figures(server),
    thresholdSection(server, made.calibration),
    evaluationSection(),
    server.scopes.includes("enroll") ? section("History", corrections()) : "",
    onDemand("Health", "Every row, template and model file is read and compared: on a large gallery that takes a while.", "Run the check", api.check, health),
    onDemand("Audit", "All templates are compared with each other. What is found is for a person to look at, never to act on alone.", "Run the audit", api.audit, audited),
    facts("Engine", [
      ["model", server.model ?? "none yet: nobody is enrolled"],
      ["model pack", fileName(server.pack)],
      ["detection size", server.det_size],
      ["index", server.index],
      ["runs on", server.provider],
      ["database", server.database],
      ["gallery", server.gallery],
      ["version", server.version],
      ["pictures of faces", server.thumbnails ? "shown" : "not shown: facesearch serve --thumbnails"],
      ["this page may", server.scopes.join(", ")],
    ]),
    api.hasKey() ? el("div", null, button("Forget the key", leave, { glyph: "key" })) : "",
  );
}

function leave() {
  api.forgetKey();
  location.reload();
}

function figures(server) {
  const shown = [[server.subjects, "people"], [server.photos, "photos"], [server.templates, "templates"]];
  return el("dl", { class: "figures wide" }, shown.map(([value, name]) => el("div", null, el("dt", null, name), el("dd", null, value.toLocaleString("en")))));
}

const section = (name, ...children) => {
  const id = `${name.toLowerCase()}-title`;
  return el("section", { class: "block", "aria-labelledby": id }, el("h2", { id }, name), children);
};

function facts(name, rows) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined);
  return section(name, el("dl", { class: "facts" }, shown.map(([key, value]) => el("div", null, el("dt", null, key), el("dd", null, String(value))))));
}

function thresholdSection(server, calibration) {
  const line = track(server.threshold, server.threshold, Math.min(0, server.threshold));
  line.setAttribute("aria-label", `The threshold is ${score(server.threshold)}`);
  return section(
    "Threshold in force",
    el("p", { class: "big" }, score(server.threshold), el("small", null, " cosine similarity; at or above is a match")),
    el("div", { class: "alone" }, axis(server.threshold, Math.min(0, server.threshold)), line),
    el("p", null, `Where it comes from: ${server.threshold_basis}.`),
    server.threshold_warning ? el("div", { class: "notice bad" }, icon("warning"), el("p", null, server.threshold_warning)) : null,
    calibration ? calibrated(calibration) : uncalibrated(),
  );
}

function uncalibrated() {
  return el("p", { class: "hint" }, "This gallery has no calibration: how often strangers match is not known. ", el("code", null, "facesearch calibrate --fpir 0.001"), " makes one from the people enrolled.");
}

function calibrated(made) {
  const fpir = made.metric === "fpir";
  const rows = [
    ["calibrated for", `${fpir ? "FPIR" : "FAR"} ${rate(made.target)}`],
    ["which means", fpir ? `of 1,000 strangers searched, ${rate(made.target * 1000)} match somebody` : `of 1,000 comparisons of strangers, ${rate(made.target * 1000)} match`],
    ["rests on", made.basis],
    ["errors counted", `${made.errors.toLocaleString("en")} in ${made.trials.toLocaleString("en")} ${fpir ? "searches" : "comparisons"}`],
    ["estimate", `${rate(made.estimate)}, between ${rate(made.interval.low)} and ${rate(made.interval.high)} (${made.interval.method})`],
    ["people behind it", made.people.toLocaleString("en")],
    ...(fpir ? [["holds up to", count(made.valid_up_to, "person", "people")]] : []),
  ];
  return el("dl", { class: "facts" }, rows.map(([key, value]) => el("div", null, el("dt", null, key), el("dd", null, value))));
}

/** The newest evaluations; where they cannot be read, the rest of the report stands. */
function evaluationSection() {
  const shown = el("div", { class: "found" });
  const load = async () => {
    shown.replaceChildren(loading("Loading the evaluation…", 2));
    try {
      shown.replaceChildren(...evaluations(await api.evaluation()));
    } catch (error) {
      shown.replaceChildren(failure(error, load));
    }
  };
  load();
  return section("Evaluation", shown);
}

/** A part that costs the server something, and is made when somebody asks for it. */
function onDemand(name, text, label, ask, draw) {
  const shown = el("div", { class: "found" });
  const run = async () => {
    start.disabled = true;
    shown.replaceChildren(loading("Working…", 3));
    try {
      shown.replaceChildren(...draw(await ask()));
    } catch (error) {
      shown.replaceChildren(failure(error));
    }
    start.disabled = false;
  };
  const start = button(label, run);
  return section(name, el("p", { class: "hint" }, text), start, shown);
}

function health({ ok, findings }) {
  const verdict = ok ? "The gallery is sound." : "Something is wrong with the gallery.";
  announce(verdict);
  return [
    el("div", { class: `notice ${ok ? "good" : "bad"}` }, icon(ok ? "check" : "warning"), el("p", null, verdict, ok ? null : " Run facesearch check --fix, or restore a backup.")),
    el("ul", { class: "findings" }, findings.map((each) =>
      el("li", { class: each.ok ? "good" : "bad" }, icon(each.ok ? "check" : "warning"), el("b", null, each.subject), el("span", null, each.ok ? "" : "Problem: ", each.detail)))),
  ];
}

const KINDS = [
  ["look_alike", "People who match each other", "Look-alikes, or one person enrolled twice."],
  ["mislabelled", "Photos far from their person", "A wrong label, or a bad photo."],
  ["duplicate", "Near-duplicate photos", "Two photos of one person that are nearly the same."],
];

function audited({ threshold, templates, people, totals, findings, complete }) {
  const all = Object.values(totals).reduce((sum, each) => sum + each, 0);
  const verdict = all ? `${count(all, "finding")} to look at.` : "Nothing to look at.";
  announce(verdict);
  const compared = `${count(templates, "template")} of ${count(people, "person", "people")} were compared.`;
  return [
    el("div", { class: `notice ${all ? "" : "good"}` }, icon(all ? "search" : "check"), el("p", null, `${verdict} ${compared}`)),
    complete ? null : el("p", { class: "warn" }, "More pairs reach the threshold than are kept: the highest are listed."),
    ...KINDS.filter(([kind]) => totals[kind]).map(([kind, heading, text]) => {
      const some = findings.filter((each) => each.kind === kind);
      const more = totals[kind] > some.length ? `The first ${some.length} of ${totals[kind].toLocaleString("en")}.` : null;
      return el("div", null, el("h3", null, `${heading} (${totals[kind].toLocaleString("en")})`), el("p", { class: "hint" }, text, " ", more),
        el("ul", { class: "audit-pairs" }, some.map((each) => pair(each, threshold))));
    }),
  ].filter(Boolean);
}

function pair({ score: value, a, b, note }, threshold) {
  return el("li", null, side(a), side(b), el("div", { class: "pair-score" }, el("span", { class: "number" }, score(value)), track(value, threshold)), note ? el("small", null, note) : null);
}

function side(each) {
  return el(
    "a",
    { class: "side", href: each.subject_id ? `#/people/${each.subject_id}` : "#/people" },
    portrait(each.subject, { photoId: each.photo_id, size: "card" }),
    el("b", null, each.subject),
    el("small", null, photoName(each.photo)),
  );
}
