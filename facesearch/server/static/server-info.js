// What the server is and allows, asked once and again where something may have changed.

import * as api from "./api.js";

let known = null;

/** The answer of /v1/info; `fresh` asks again. */
export function getInfo({ fresh = false } = {}) {
  if (fresh || known === null) {
    known = api.info();
    known.catch(() => (known = null));
  }
  return known;
}

/** Whether the key in use may `enroll` or `delete`. */
export async function may(scope) {
  return (await getInfo()).scopes.includes(scope);
}
