// One run of an enrolment: photos in groups to the server, progress, and a card for each photo a person should look at.

import * as api from "./api.js";
import { announce, button, count, el, failure } from "./dom.js";
import { getInfo, may } from "./server-info.js";
import { refused } from "./refused.js";

const GROUP = 8; // photos in a request: progress moves, and little waits for a slow one
const GROUP_BYTES = 24 * 2 ** 20;
const SHOWN = 100; // cards at a time

/**
 * Entries are `{ file, path, person, who }`, `who` as `api.enroll` takes it. Returns `{ element, start, busy }`.
 * `quiet` leaves out the way to the people; `ondone` hears the end, and again when a refused photo was settled, with the
 * number of photos that still are refused.
 */
export function enrolment(entries, { strict = false, quiet = false, ondone = null } = {}) {
  const counts = { enrolled: 0, unchanged: 0, rejected: 0 };
  let done = 0;
  let busy = false;
  let stopped = false;
  let remaining = [];
  const bar = el("progress", { max: entries.length, value: 0, "aria-label": "Photos done" });
  const headline = el("h2", { tabindex: "-1" }, "Enrolling…");
  const now = el("p", { class: "hint now" });
  const figures = el("dl", { class: "figures" });
  const problem = el("div", null);
  const control = el("div", { class: "actions" });
  const cards = el("ul", { class: "refusals" });
  const conflicts = el("ul", { class: "refusals" });
  const hidden = el("p", { class: "hint" });
  const look = el("section", { hidden: true, "aria-labelledby": "conflicts-title" }, el("h3", { id: "conflicts-title" }, "Enrolled, but look at these"), conflicts);
  const mend = el("section", { hidden: true, "aria-labelledby": "refused-title" }, el("h3", { id: "refused-title" }, "Not enrolled"), cards, hidden);
  const element = el("div", { class: "run" }, headline, bar, now, figures, problem, control, mend, look);

  function draw() {
    bar.value = done;
    const rows = [["enrolled", counts.enrolled], ["there already", counts.unchanged], ["not enrolled", counts.rejected]];
    figures.replaceChildren(...rows.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value.toLocaleString("en")))));
    now.textContent = busy ? `${done.toLocaleString("en")} of ${count(entries.length, "photo")}: ${remaining[0]?.person ?? ""}` : "";
    control.replaceChildren(
      ...(busy
        ? [button(stopped ? "Stopping…" : "Stop", () => ((stopped = true), draw()), { disabled: stopped })]
        : remaining.length
          ? [button(`Continue with ${count(remaining.length, "photo")}`, run, { kind: "primary" })]
          : []),
    );
  }

  function place(entry, record) {
    done += 1;
    counts[record.status] += 1;
    const conflict = record.status === "enrolled" && record.reason === "identity_conflict";
    if (record.status !== "rejected" && !conflict) return;
    const list = conflict ? conflicts : cards;
    list.parentElement.hidden = false;
    if (list.childElementCount < SHOWN) list.append(refused(entry, record, { strict, onresolved }));
    else hidden.textContent = `Only the first ${SHOWN} are shown: run the same folder again for the rest.`;
  }

  function onresolved(card, enrolled) {
    counts.rejected -= 1;
    if (enrolled) counts.enrolled += 1;
    draw();
    const following = card.nextElementSibling ?? card.previousElementSibling;
    if (!enrolled) card.remove();
    if (!cards.childElementCount) cards.parentElement.hidden = true;
    (following?.querySelector("button") ?? headline).focus();
    if (!busy) ondone?.(counts.rejected);
  }

  async function next(limit) {
    const group = take(remaining, limit);
    const large = group[0].file.size > limit;
    const answer = large ? tooLarge(limit) : await api.enroll(group.map((each) => each.file), group[0].who, { strict }).catch((error) => refusedAll(group, error));
    remaining = remaining.slice(group.length);
    for (const record of answer.results) place(group[record.photo_index], record);
  }

  const warn = (event) => event.preventDefault();

  async function run() {
    busy = true;
    addEventListener("beforeunload", warn);
    stopped = false;
    problem.replaceChildren();
    draw();
    try {
      const limit = (await getInfo()).max_photo_bytes;
      while (remaining.length && !stopped) {
        await next(limit);
        draw();
      }
    } catch (error) {
      problem.replaceChildren(failure(error));
    }
    busy = false;
    removeEventListener("beforeunload", warn);
    finish();
  }

  function finish() {
    const said = `${count(counts.enrolled, "photo")} enrolled, ${counts.rejected} not, ${counts.unchanged} there already`;
    headline.textContent = remaining.length ? "Stopped" : "Done";
    draw();
    announce(`${headline.textContent}: ${said}`);
    getInfo({ fresh: true });
    if (!remaining.length && counts.enrolled + counts.unchanged && !quiet) {
      may("read").then((allowed) => allowed && control.append(el("a", { class: "button", href: "#/people" }, "See the people")));
    }
    ondone?.(counts.rejected);
  }

  function start() {
    remaining = [...entries];
    headline.focus();
    return run();
  }

  return { element, start, busy: () => busy };
}

/** The next photos of one person that go into one request. */
function take(remaining, limit) {
  const group = [];
  let bytes = 0;
  for (const entry of remaining.slice(0, GROUP)) {
    bytes += entry.file.size;
    const fits = group.length === 0 || (entry.person === group[0].person && bytes <= GROUP_BYTES && entry.file.size <= limit);
    if (!fits) break;
    group.push(entry);
    if (entry.file.size > limit) break;
  }
  return group;
}

/** A request that cannot be used, whatever is in it: the run goes on with the others. */
function refusedAll(group, error) {
  if (![413, 415, 422].includes(error.status)) throw error;
  const { reason, message: detail } = error;
  return { results: group.map((_, index) => ({ photo_index: index, status: "rejected", reason, detail })) };
}

function tooLarge(limit) {
  const detail = `It is larger than ${Math.floor(limit / 2 ** 20)} MB.`;
  return { results: [{ photo_index: 0, status: "rejected", reason: "too_large", detail }] };
}
