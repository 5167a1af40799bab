// Everybody in the gallery, page by page.

import * as api from "./api.js";
import { announce, breakable, button, count, el, empty, failure, icon, loading } from "./dom.js";
import { portrait } from "./faces.js";
import { settled } from "./person-picker.js";
import { getInfo } from "./server-info.js";

export const needs = "read";
export const title = "People";

const PAGE = 48;

export async function mount(place, signal, { query }) {
  const where = query.getAll("where");
  const total = el("p", { class: "count", role: "status" });
  const search = el("input", {
    type: "search",
    value: query.get("search") ?? "",
    placeholder: "Part of a name",
    "aria-label": "Search people by name",
  });
  const shown = el("div", { class: "people-shown" });
  const typed = settled(() => {
    const kept = new URLSearchParams(where.map((each) => ["where", each]));
    if (search.value) kept.set("search", search.value);
    history.replaceState(null, "", `#/people${kept.size ? `?${kept}` : ""}`);
    fill();
  });
  search.addEventListener("input", typed);
  place.append(
    el("div", { class: "heading" }, el("h1", null, title), total),
    el("div", { class: "toolbar", role: "search" }, el("label", { class: "searching" }, icon("search"), search), filters(where)),
    shown,
  );
  let asked = 0;

  async function fill() {
    const turn = (asked += 1);
    if (!shown.childElementCount) shown.replaceChildren(loading("Loading people…", 6));
    try {
      const page = await api.subjects({ search: search.value, where, limit: PAGE, signal });
      if (turn !== asked || signal.aborted) return;
      total.textContent = amount(page.total);
      shown.replaceChildren(...(page.total ? grid(page) : [nobody()]));
    } catch (error) {
      if (!signal.aborted && turn === asked) shown.replaceChildren(failure(error, fill));
    }
  }

  const amount = (people) => (search.value || where.length ? `${count(people, "person", "people")} found` : count(people, "person", "people"));

  function nobody() {
    if (search.value || where.length) return empty("search", "Nobody found", "No name contains that. Try fewer letters.");
    const start = el("a", { class: "button primary", href: "#/enroll" }, "Enroll people");
    return empty("people", "The gallery is empty", "Enroll a folder with one folder per person, and they stand here.", start);
  }

  function grid(first) {
    const list = el("ul", { class: "people-grid" });
    const more = el("div", { class: "actions middle" });
    let shownNow = 0;
    const add = (page) => {
      const cards = page.subjects.map((each) => card(each, signal));
      list.append(...cards);
      shownNow += cards.length;
      more.replaceChildren();
      if (page.next !== null) more.append(button(`Show more (${(page.total - shownNow).toLocaleString("en")} left)`, () => next(page.next)));
      return cards;
    };
    const next = async (after) => {
      more.firstChild.disabled = true;
      try {
        const cards = add(await api.subjects({ search: search.value, where, limit: PAGE, after, signal }));
        cards[0]?.querySelector("a").focus();
        announce(`${cards.length} more`);
      } catch (error) {
        if (!signal.aborted) more.replaceChildren(failure(error, () => next(after)));
      }
    };
    add(first);
    return [list, more];
  }

  await fill();
}

function filters(where) {
  return where.map((each) => {
    const rest = new URLSearchParams(where.filter((other) => other !== each).map((other) => ["where", other]));
    const without = el("a", { href: `#/people${rest.size ? `?${rest}` : ""}`, "aria-label": `Remove the filter ${each.replace("=", ": ")}` }, icon("cross"));
    return el("span", { class: "chip" }, each.replace("=", ": "), without);
  });
}

function card(person, signal) {
  const face = el("span", { class: "slot" }, portrait(person.subject, { size: "card" }));
  const made = el(
    "li",
    null,
    el(
      "a",
      { class: "person-card", href: `#/people/${person.id}` },
      face,
      el("b", { title: person.subject }, breakable(person.subject)),
      el("small", null, count(person.photos, "photo")),
    ),
  );
  whenSeen(made, signal, () => pictureOf(person).then((found) => found && face.replaceChildren(found)));
  return made;
}

/** The first photo with a picture; asked only for people who are scrolled to, on servers that show pictures. */
async function pictureOf(person) {
  if (!(await getInfo()).thumbnails) return null;
  const { photos } = await api.photosOf(person.id).catch(() => ({ photos: [] }));
  const first = photos.find((each) => each.thumbnail);
  return first ? portrait(person.subject, { photoId: first.id, size: "card" }) : null;
}

function whenSeen(element, signal, task) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((each) => each.isIntersecting)) return;
    observer.disconnect();
    task();
  });
  observer.observe(element);
  signal.addEventListener("abort", () => observer.disconnect());
}
