// The newest evaluations of the gallery's model: how often people are found, at which rate of errors.

import { count, el } from "./dom.js";
import { roc } from "./roc.js";
import { date, score } from "./words.js";

const KINDS = {
  verification: { title: "Comparing two photos (1:1)", error: "FAR", rate: "TAR", found: "same people accepted", wrong: "of strangers accepted" },
  identification: { title: "Searching the gallery (1:N)", error: "FPIR", rate: "TPIR", found: "enrolled people found first", wrong: "of strangers matching somebody" },
};

/** A rate in as many digits as it needs. */
export const rate = (value) => (value === 0 ? "0" : value < 0.001 ? Number(value.toPrecision(2)).toExponential() : String(Number(value.toPrecision(3))));

const number = (value) => value.toLocaleString("en");

/** What is shown of `/v1/evaluation`. */
export function evaluations(found) {
  const made = Object.entries(KINDS).filter(([kind]) => found[kind]).map(([kind, words]) => evaluation(found[kind], words));
  return made.length ? made : [none()];
}

function none() {
  return el(
    "p",
    { class: "hint" },
    "This gallery's model was not evaluated yet: how often people are missed, and strangers taken for somebody, is measured on labelled photos. ",
    el("code", null, "facesearch eval pairs.txt --photos lfw/"),
    " does it; its figures are then kept in the gallery and shown here.",
  );
}

function evaluation(made, words) {
  const { counts } = made;
  const failed = counts.failed ? `, ${number(counts.failed)} failed` : "";
  const people = counts.subjects ? `, ${count(counts.subjects, "person", "people")}` : "";
  return el(
    "div",
    { class: "evaluation" },
    el("h3", null, words.title),
    el("p", { class: "hint" }, `${made.evaluated}, ${date(made.created_at)}: ${number(counts.mated)} mated and ${number(counts.non_mated)} non-mated trials${failed}${people}.`),
    el("div", { class: "evaluation-figures" }, made.curve.length ? roc(made, words) : null, table(made, words)),
    el("dl", { class: "facts" }, facts(made, words).map(([key, value]) => el("div", null, el("dt", null, key), el("dd", null, value)))),
  );
}

function facts(made, { error, rate: name, found, wrong }) {
  const rows = [
    [name, `share of ${found}`],
    [error, `share ${wrong}`],
  ];
  if (made.eer) rows.push(["equal error rate", `${rate(made.eer.value)}${between(made.eer)}`]);
  if (made.auc !== null) rows.push(["area under the curve", made.auc.toFixed(4)]);
  rows.push(["faces", made.faces]);
  if (made.report) rows.push(["whole report", made.report]);
  return rows;
}

const between = ({ low, high }) => (low === null ? "" : `, between ${rate(low)} and ${rate(high)}`);

function table({ points }, { error, rate: name }) {
  const head = [`${error} up to`, name, "95 % interval", "errors counted", "threshold"];
  return el(
    "div",
    { class: "scrolling", tabindex: "0", role: "region", "aria-label": `${name} at ${error}` },
    el(
      "table",
      null,
      el("thead", null, el("tr", null, head.map((each) => el("th", { scope: "col" }, each)))),
      el("tbody", null, points.map(row)),
    ),
  );
}

function row(point) {
  const target = el("th", { scope: "row" }, rate(point.target));
  if (point.rate === null) return el("tr", null, target, el("td", { colspan: 4, class: "hint" }, "more trials are needed to say"));
  const few = point.flag === "low_support" ? " (fewer than 30)" : "";
  const threshold = typeof point.threshold === "number" ? score(point.threshold) : point.threshold === "inf" ? "accepts nothing" : "accepts everything";
  return el(
    "tr",
    null,
    target,
    el("td", null, el("b", null, rate(point.rate))),
    el("td", null, point.low === null ? "–" : `${rate(point.low)} to ${rate(point.high)}`),
    el("td", null, `${number(point.errors)} of ${number(point.trials)}${few}`),
    el("td", null, threshold),
  );
}
