// The API under v1, beside the page wherever a proxy puts it: one function per need, errors with a message and a hint, and a key where the server wants one.

import { problem as words } from "./words.js";

const KEY = "facesearch.key";
const PATIENCE = 8; // answers of "busy" before giving up

/** What the server, or the way to it, refused. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || words(problem.reason) || `The server answered ${status}.`);
    this.status = status;
    this.reason = problem.reason ?? null;
    this.hint = problem.hint ?? null;
  }
}

let askForKey = async () => null;
let asking = null;

/** `ask(wasWrong)` resolves to a key, or null where nobody gives one. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export function forgetKey() {
  sessionStorage.removeItem(KEY);
}

async function newKey() {
  asking ??= askForKey(hasKey()).finally(() => (asking = null));
  const key = await asking;
  if (key !== null) sessionStorage.setItem(KEY, key);
  return key !== null;
}

const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

async function send(method, path, body, signal) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key !== null) headers.Authorization = `Bearer ${key}`;
  if (body !== null && !(body instanceof FormData)) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  try {
    return await fetch(`v1${path}`, { method, headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { detail: "The server cannot be reached.", hint: "Is facesearch serve still running?" });
  }
}

async function problemOf(response) {
  const problem = await response.json().catch(() => ({}));
  return new ApiError(response.status, problem);
}

async function answer(method, path, { body = null, signal } = {}) {
  for (let attempt = 1; ; attempt++) {
    const response = await send(method, path, body, signal);
    if (response.ok) return response;
    if (response.status === 401 && (await newKey())) continue;
    if (response.status !== 429 || attempt >= PATIENCE) throw await problemOf(response);
    await pause(Number(response.headers.get("Retry-After")) || 1, signal);
  }
}

const json = async (...request) => (await answer(...request)).json();

function query(parameters) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of [value].flat()) if (each !== null && each !== undefined && each !== "") found.append(name, each);
  }
  const text = found.toString();
  return text ? `?${text}` : "";
}

function form(photos, fields = {}) {
  const made = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== null && value !== undefined && value !== false) made.append(name, String(value));
  }
  for (const photo of photos) made.append("photo", photo, photo.name || "photo");
  return made;
}

export const info = (options) => json("GET", "/info", options);
export const check = () => json("GET", "/check");
export const evaluation = () => json("GET", "/evaluation");
export const calibration = () => json("GET", "/calibration");
export const audit = () => json("GET", "/audit");
export const detect = (photo) => json("POST", "/detect", { body: form([photo]) });
export const identify = (photo, { k, degraded, signal }) =>
  json("POST", `/identify${query({ k, degraded })}`, { body: form([photo]), signal });
export const subjects = ({ signal, ...parameters }) => json("GET", `/subjects${query(parameters)}`, { signal });
export const subject = (id) => json("GET", `/subjects/${id}`);
export const photosOf = (id, options) => json("GET", `/subjects/${id}/photos`, options);
export const lookAlikes = (id) => json("GET", `/subjects/${id}/lookalikes`);
export const rename = (id, name) => json("PATCH", `/subjects/${id}`, { body: { subject: name } });
export const setAttributes = (id, attributes) =>
  json("PATCH", `/subjects/${id}/attributes`, { body: { attributes } });
export const history = (parameters) => json("GET", `/history${query(parameters)}`);
export const undo = (entry) => json("POST", "/undo", { body: { entry } });
export const merge = (id, into) => json("POST", `/subjects/${id}/merge`, { body: { into } });
export const removePerson = (id) => json("POST", `/subjects/${id}/remove`);
export const erase = (id) => json("DELETE", `/subjects/${id}`);
export const removePhoto = (id, photo) => json("DELETE", `/subjects/${id}/photos/${photo}`);
/** A JPEG of a photo that the browser cannot show, and how wide the photo itself is. */
export async function preview(photo) {
  const response = await answer("POST", "/preview", { body: form([photo]) });
  return { blob: await response.blob(), width: Number(response.headers.get("Photo-Width")) };
}
export const thumbnail = async (id) => (await answer("GET", `/photos/${id}/thumbnail`)).blob();

/** Enroll photos as `who`: `{ id }` of somebody who is there, or `{ name }`. */
export function enroll(photos, who, { faces, strict, anyQuality, signal } = {}) {
  const fields = { faces, strict: strict || null, any_quality: anyQuality || null };
  if (who.id) return json("POST", `/subjects/${who.id}/photos`, { body: form(photos, fields), signal });
  return json("POST", "/subjects", { body: form(photos, { subject: who.name, ...fields }), signal });
}
