// What codes mean, in words.

/** A number with its digits, a true minus, and no negative zero. */
export function signed(value, digits) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : text.replace("-", "−");
}

/** A similarity score; nothing else, no share of anything. */
export const score = (value) => (value === null || value === undefined ? "–" : signed(value, 3));

const REASONS = {
  inaccessible: "This file or folder could not be opened",
  unreadable: "This file cannot be read as a photo",
  unsupported_format: "This kind of file is not supported",
  too_large: "This photo is too large",
  face_not_found: "No face was found",
  multiple_faces: "Several faces, and it is not clear which one is meant",
  face_too_small: "The face is too small",
  low_detection_score: "It is hardly a face: the detector is unsure",
  blurred: "The face is blurred",
  extreme_pose: "The face is turned or tilted too far",
  duplicate: "The same photo is there already",
  identity_conflict: "It matches somebody else",
  model_failure: "The model failed on this photo",
  erased: "The person was erased",
  removed: "Somebody removed this photo or person before",
  unusable_name: "That cannot be a person's name",
};

const PROBLEMS = {
  bad_request: "The request cannot be understood.",
  busy: "The server has too much to do.",
  cannot_undo: "That cannot be undone.",
  corrupt_gallery: "The gallery is damaged.",
  cross_origin: "Pages of other sites may not use this server.",
  disk_full: "The server's disk is full.",
  evaluation: "The data support no error rate.",
  face_count: "The photo holds another number of faces than is needed.",
  face_not_found: "No face was found.",
  face_search: "The server cannot do that.",
  gallery: "The gallery cannot do that.",
  gallery_conflict: "Others changed the same at the same time.",
  gallery_locked: "The gallery is encrypted, and its key is missing.",
  gallery_not_found: "There is no gallery.",
  gallery_unavailable: "The gallery's database does not answer.",
  headers_too_large: "The request's headers are too large.",
  incomplete: "The request ended too early.",
  installation: "The server's installation is incomplete.",
  internal_error: "The server failed.",
  invalid_request: "Something in the request cannot be used.",
  method_not_allowed: "That cannot be done here.",
  missing_scope: "The key in use may not do that.",
  model: "The model cannot be used.",
  model_integrity: "A model file is not what it should be.",
  model_mismatch: "The gallery's templates are of another model.",
  model_not_found: "The gallery's model is not on the server.",
  multiple_faces: "Several faces, and it is not clear which one is meant.",
  not_found: "It does not exist, or not any more.",
  provider: "The server cannot run its models.",
  schema_outdated: "The gallery was made by another version.",
  server: "The server does not answer as it should.",
  slow_body: "The photos took too long to arrive.",
  subject_exists: "The name is somebody else's.",
  too_large: "The photo is too large.",
  unauthorized: "The server needs a valid key.",
  unknown_subject: "Nobody of that name is enrolled.",
  unsupported_media_type: "That is not a photo.",
  vector_database: "The gallery's vector database does not answer.",
  wrong_host: "This server has another address.",
};

/** An error code of the server in words; null for one that is not known here. */
export const problem = (code) => PROBLEMS[code] ?? null;

/** A reason code in words. */
export const reason = (code) => REASONS[code] ?? (code ? problem(code) ?? code.replaceAll("_", " ") : "It was refused");

/** What a detail adds to the words of its reason; null where it says the same. */
export const further = (code, detail) => (detail && !detail.startsWith(reason(code)) ? sentence(detail) : null);

/** Reasons of quality: a person may accept the photo anyway. */
export const POOR = new Set(["face_too_small", "low_detection_score", "blurred", "extreme_pose"]);

/** The decision on one face: a title and a sentence. `others` are the candidates not set aside. */
export function decision(result, others = result.candidates, removed = 0) {
  const [best, runnerUp] = others;
  const at = score(result.threshold);
  if (result.decision === "unusable") {
    return { tone: "unusable", title: "Cannot be searched", text: sentence(result.detail ?? reason(result.reason)) };
  }
  if (!best) {
    const text = removed ? "Nobody else is on the candidate list." : "The gallery is empty.";
    return { tone: "unknown", title: "No match", text };
  }
  if (best.score < result.threshold) {
    const text = `The closest is ${best.subject} with ${score(best.score)}, below the threshold of ${at}.`;
    return { tone: "unknown", title: removed ? "Nobody else matches" : "No match", text };
  }
  const ahead = runnerUp ? `, ${score(best.score - runnerUp.score)} ahead of ${runnerUp.subject}` : "";
  const text = `Score ${score(best.score)}, threshold ${at}${ahead}.`;
  if (removed) return { tone: "ambiguous", title: `Next: ${best.subject}`, text };
  if (result.decision === "ambiguous") {
    return { tone: "ambiguous", title: `${best.subject} or ${runnerUp.subject}?`, text: `${text} Too close to call.` };
  }
  return { tone: "match", title: best.subject, text: `Match. ${text}` };
}

function sentence(text) {
  return /[.!?]$/u.test(text) ? text : `${text}.`;
}

/** The last part of a path. */
export const fileName = (path) => path.split(/\/|\\(?!x[0-9a-f]{2})/u).at(-1);

/** What a photo of the gallery is called on the page. */
export const photoName = (photo) => (photo.startsWith("upload:") ? "Uploaded photo" : fileName(photo));

/** A date as people write it. */
export const date = (iso) => new Date(iso).toLocaleDateString("en", { year: "numeric", month: "short", day: "numeric" });
