// Export what was found: lines to copy, audio, sheets and sessions.

import { byId, inputById, save } from "./dom.js";
import { sessionFile } from "./session.js";

/** @typedef {import("./messages.js").Server} Server */
/** @typedef {import("./kept.js").Scene} Scene */
/** @typedef {import("./session.js").State} State */
/** @typedef {import("./waveform.js").Recording} Recording */
/**
 * @typedef {object} ExportCallbacks
 * @property {() => Scene} scene
 * @property {() => State} state
 * @property {() => Recording[]} recordings
 * @property {(name: string, content: Blob) => Promise<void>} onSession
 * @property {(error: unknown) => void} onError
 */

/** The buttons at the end of the page. */
export class ExportPanel {
  /**
   * @param {Server} server
   * @param {ExportCallbacks} callbacks
   */
  constructor(server, callbacks) {
    this.server = server;
    this.callbacks = callbacks;
    const session = inputById("session-input");
    /** @type {Record<string, () => unknown>} */
    const actions = {
      "copy-effect": () => this.#copy("effect-line"),
      "copy-command": () => this.#copy("command-line"),
      "save-wav": () => this.saveWav(false),
      "save-complete": () => this.saveWav(true),
      "save-sheet": () => this.saveSheet(),
      "save-session": () => this.saveSession(),
      "open-session": () => session.click(),
    };
    for (const [id, act] of Object.entries(actions))
      byId(id).addEventListener("click", () => this.#act(byId(id), act));
    session.addEventListener("change", async () => {
      const file = session.files?.[0];
      if (file) await callbacks.onSession("session.json", file);
      session.value = "";
    });
  }

  /**
   * @param {HTMLElement} button
   * @param {() => unknown} act
   */
  async #act(button, act) {
    button.classList.add("working");
    try {
      await act();
    } catch (error) {
      this.callbacks.onError(error);
    } finally {
      button.classList.remove("working");
    }
  }

  /** @param {boolean} isComplete */
  async saveWav(isComplete) {
    const body = { ...this.callbacks.scene(), complete: isComplete };
    save(await this.server.file("wav", body), `${this.#stem}${isComplete ? "-complete" : ""}.wav`);
  }

  async saveSheet() {
    save(await this.server.file("sheet", this.callbacks.scene()), `${this.#stem}.png`);
  }

  async saveSession() {
    const state = this.callbacks.state();
    const used = new Set([state.scene, ...state.kept].map((each) => each.recording));
    const recordings = [];
    for (const { key, name, kind } of this.callbacks.recordings()) {
      if (kind !== "upload" || !used.has(key)) continue;
      const content = await this.server.file("original", { recording: key });
      recordings.push({ key, name, content });
    }
    save(await sessionFile(state, recordings), "explore-session.json");
  }

  /** Name of a file, without its suffix. */
  get #stem() {
    const { recording, effect } = this.callbacks.scene();
    const name = this.callbacks.recordings().find((each) => each.key === recording)?.name ?? "";
    const stem = `${name.replace(/\.[^.]*$/, "")} ${effect}`;
    return stem.replace(/[^\w-]+/g, "-").replace(/^-|-$/g, "");
  }

  /** @param {string} id */
  async #copy(id) {
    const text = byId(id).textContent ?? "";
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else getSelection()?.selectAllChildren(byId(id));
    byId("copied").textContent = navigator.clipboard ? "copied" : "selected: copy with your keys";
    setTimeout(() => (byId("copied").textContent = ""), 2000);
  }
}
