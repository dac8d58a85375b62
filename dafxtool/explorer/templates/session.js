// A tab's session: its identifier and state over a reload, and as a file.

/** @typedef {import("./kept.js").Scene} Scene */
/**
 * What a tab looks like.
 * @typedef {object} State
 * @property {Scene} scene
 * @property {(Scene & { name: string, recordingName: string })[]} kept
 * @property {boolean} isLevelMatched
 * @property {boolean} isLooping
 * @property {boolean} isBypassed
 * @property {"dry" | "wet"} heard
 */
/** @typedef {{ key: string, name: string, data: string }} StoredRecording data in base64 */

const STORED = "dafxtool-explore";
const KIND = "dafxtool explore session";
const VERSION = 1;
const LARGEST_STORED_BYTES = 40e6; // recordings in a session file

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Return the session of this tab and its state. A duplicated tab has a copy of both in its storage;
 * it gets a session of its own, and keeps the state.
 * @returns {Promise<{ key: string, state: State | null }>}
 */
export async function claimSession() {
  let stored = null;
  try {
    stored = JSON.parse(sessionStorage.getItem(STORED) ?? "null");
  } catch {
    // Of another version.
  }
  const key = /^[0-9a-f]{32}$/.test(stored?.key) ? stored.key : newKey();
  const state = stored?.state ?? null;
  if (await holdLock(key)) return { key, state };
  const other = newKey();
  await holdLock(other);
  return { key: other, state };
}

/**
 * Hold a lock until the tab is closed; false if another tab has it.
 * @param {string} key
 * @returns {Promise<boolean>}
 */
function holdLock(key) {
  if (!navigator.locks) return Promise.resolve(true); // not a secure address: another machine
  return new Promise((resolve) => {
    navigator.locks.request(`dafxtool-${key}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock ? new Promise(() => {}) : undefined;
    });
  });
}

/**
 * Remember a state over a reload of this tab.
 * @param {string} key
 * @param {State} state
 */
export function remember(key, state) {
  try {
    sessionStorage.setItem(STORED, JSON.stringify({ key, state }));
  } catch {
    // No room: the tab works, and a reload starts afresh.
  }
}

/**
 * Write a session file; recordings that were uploaded are in it.
 * @param {State} state
 * @param {{ key: string, name: string, content: Blob }[]} recordings
 * @returns {Promise<Blob>}
 */
export async function sessionFile(state, recordings) {
  /** @type {StoredRecording[]} */
  const stored = [];
  let size = 0;
  for (const { key, name, content } of recordings) {
    size += content.size;
    if (size > LARGEST_STORED_BYTES) throw new Error("The recordings are too large for a session.");
    stored.push({ key, name, data: await toBase64(content) });
  }
  const content = { kind: KIND, version: VERSION, state, recordings: stored };
  return new Blob([JSON.stringify(content, null, 1)], { type: "application/json" });
}

/**
 * Read a session file; an Error with a sentence if it is none.
 * @param {Blob} file
 * @returns {Promise<{ state: State, recordings: { name: string, content: Blob }[] }>}
 */
export async function readSessionFile(file) {
  let content;
  try {
    content = JSON.parse(await file.text());
  } catch {
    throw new Error("The file is not a session: it is not JSON.");
  }
  if (content?.kind !== KIND || content.version !== VERSION || !content.state?.scene)
    throw new Error("The file is not a session of this version of dafxtool explore.");
  const recordings = (content.recordings ?? []).map((/** @type {StoredRecording} */ each) => ({
    name: String(each.name),
    content: fromBase64(String(each.data)),
  }));
  return { state: content.state, recordings };
}

/**
 * @param {Blob} content
 * @returns {Promise<string>}
 */
function toBase64(content) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",")[1] ?? "");
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(content);
  });
}

/** @param {string} text */
function fromBase64(text) {
  return new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))]);
}
