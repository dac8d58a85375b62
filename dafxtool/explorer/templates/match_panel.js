// Match a reference: the best setting comes in while the search runs.

import { build, byId, press, selectById } from "./dom.js";
import { isAudioDrop } from "./recordings.js";

/** @typedef {import("./messages.js").Message} Message */
/** @typedef {import("./parameters.js").Stage} Stage */
/**
 * @typedef {object} MatchCallbacks
 * @property {(file: File) => Promise<{ key: string, name: string }>} upload
 * @property {(body: object, onMessage: (message: Message) => void, signal: AbortSignal) => Promise<void>} request
 * @property {() => { recording: string, effect: string }} current
 * @property {(stages: Stage[]) => void} onBest
 * @property {(error: unknown) => void} onError
 */

/** The panel with the drop zone, the progress and the answer of a search. */
export class MatchPanel {
  /** @type {AbortController | null} */
  #ending = null;
  /** @type {{ key: string, name: string } | null} */
  #reference = null;

  /** @param {MatchCallbacks} callbacks */
  constructor(callbacks) {
    this.callbacks = callbacks;
    const input = /** @type {HTMLInputElement} */ (byId("reference-input"));
    byId("choose-reference").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      if (input.files?.[0]) this.take(input.files[0]);
      input.value = "";
    });
    const zone = byId("match");
    zone.addEventListener("dragover", (event) => {
      if (!isAudioDrop(event)) return;
      event.preventDefault();
      event.stopPropagation();
      zone.classList.add("over");
    });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      zone.classList.remove("over");
      const file = event.dataTransfer?.files[0];
      if (!file) return;
      event.preventDefault();
      event.stopPropagation();
      document.body.classList.remove("dragging");
      this.take(file);
    });
    byId("match-start").addEventListener("click", () => this.#toggle());
  }

  get isRunning() {
    return this.#ending !== null;
  }

  /** @param {File} file */
  async take(file) {
    try {
      this.#say(`reading ${file.name}`);
      this.#reference = await this.callbacks.upload(file);
      byId("reference-name").textContent = this.#reference.name;
      byId("match-start").hidden = false;
      await this.start();
    } catch (error) {
      this.#say("");
      this.callbacks.onError(error);
    }
  }

  #toggle() {
    if (this.isRunning) this.stop();
    else this.start();
  }

  stop() {
    this.#ending?.abort();
    this.#ending = null;
    this.#showRunning();
    this.#say("stopped");
  }

  async start() {
    if (!this.#reference) return;
    this.#ending?.abort();
    const ending = (this.#ending = new AbortController());
    this.#showRunning();
    byId("match-answer").replaceChildren();
    this.#say("searching");
    const { recording, effect } = this.callbacks.current();
    const effects = selectById("match-scope").value === "this" ? [effect] : [];
    const mode = selectById("match-mode").value;
    const body = { recording, reference: this.#reference.key, mode, effects };
    try {
      await this.callbacks.request(body, (message) => this.#take(message), ending.signal);
    } catch (error) {
      if (!ending.signal.aborted) {
        this.#say("");
        this.callbacks.onError(error);
      }
    } finally {
      if (this.#ending === ending) this.#ending = null;
      this.#showRunning();
    }
  }

  /** @param {Message} message */
  #take({ content }) {
    if (content.kind === "progress") this.#say(`searching: ${content.done} candidates tried`);
    if (content.kind === "message") this.#say(content.text);
    if (content.kind === "best") this.callbacks.onBest(content.stages);
    if (content.kind !== "answer") return;
    this.#say("");
    if (content.stages.length) this.callbacks.onBest(content.stages);
    const rows = content.settings.map((/** @type {string[]} */ row) => {
      const [effect, name, value, asGood] = row;
      const cells = [effect, name, value, asGood && `as good from ${asGood}`];
      return build("tr", {}, ...cells.map((cell) => build("td", {}, cell)));
    });
    byId("match-answer").replaceChildren(
      build("p", {}, content.verdict),
      ...(rows.length ? [build("table", {}, ...rows)] : []),
    );
  }

  /** @param {string} text */
  #say(text) {
    byId("match-message").textContent = text;
  }

  #showRunning() {
    const button = byId("match-start");
    button.textContent = this.isRunning ? "Stop" : "Search again";
    press(button, this.isRunning);
    byId("match").classList.toggle("running", this.isRunning);
  }
}
