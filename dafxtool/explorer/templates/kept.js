// Kept settings with names, and the slider between two of them.

import { build, byId, inputById, press, save } from "./dom.js";
import { drawSign } from "./images.js";
import { settingText, toNormalised } from "./parameters.js";

/** @typedef {import("./messages.js").Message} Message */
/** @typedef {import("./parameters.js").Effect} Effect */
/** @typedef {import("./parameters.js").Setting} Setting */
/** @typedef {{ recording: string, start: number, effect: string, setting: Setting }} Scene */
/** @typedef {Scene & { name: string, recordingName: string, description: Effect }} Kept */
/** @typedef {{ wet: Float32Array, arrays: Message["arrays"], limitDb: number }} Step */

/**
 * @typedef {object} KeptCallbacks
 * @property {() => Kept | null} current what would be kept, with an empty name
 * @property {(kept: Kept) => void} onRecall
 * @property {() => void} onListChange
 * @property {(body: object, onMessage: (message: Message) => void, signal: AbortSignal) => Promise<void>} request
 * @property {(body: object) => Promise<Blob>} sheet
 * @property {(steps: Map<number, Step>, position: number, last: number) => void} onMove
 * @property {(locations: [number, number][] | null) => void} onPath
 * @property {(error: unknown) => void} onError
 */

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** The list of kept settings, and the path from one to another. */
export class KeptSettings {
  /** @type {Kept[]} */
  list = [];
  /** @type {Map<number, Step>} */
  steps = new Map();
  lastStep = 8;
  isActive = false; // the path plays
  isDetailed = false;
  /** @type {[number, number]} indices into the list */
  ends = [0, 1];
  #ending = new AbortController();
  #requested = "";

  /**
   * @param {boolean} canDecode
   * @param {KeptCallbacks} callbacks
   */
  constructor(canDecode, callbacks) {
    this.canDecode = canDecode;
    this.callbacks = callbacks;
    byId("keep").addEventListener("click", () => this.keep());
    byId("between-slider").addEventListener("input", () => this.move());
    byId("path-decoded").addEventListener("click", () => this.#choose(false));
    byId("path-detailed").addEventListener("click", () => this.#choose(true));
    byId("show-sheet").addEventListener("click", () => this.#showSheet());
    byId("swap-ends").addEventListener("click", () => {
      this.ends = [this.ends[1], this.ends[0]];
      this.#update();
    });
  }

  /** Keep the present setting under the next free letter. */
  keep() {
    const kept = this.callbacks.current();
    if (!kept) return;
    const names = new Set(this.list.map((each) => each.name));
    kept.name = [...LETTERS].find((each) => !names.has(each)) ?? `${this.list.length + 1}`;
    this.list.push(kept);
    if (this.list.length > 1) this.ends = [this.ends[0], this.list.length - 1];
    this.#update();
  }

  /** @param {Kept[]} list */
  restore(list) {
    this.list = list;
    this.ends = [0, Math.max(1, list.length - 1)];
    this.#update();
  }

  get pair() {
    const [a, b] = this.ends.map((index) => this.list[index]);
    return a && b && a !== b ? { a, b } : null;
  }

  /** A detailed path needs two settings on one segment. */
  get canBeDetailed() {
    const { pair } = this;
    return Boolean(pair && pair.a.recording === pair.b.recording && pair.a.start === pair.b.start);
  }

  /** @param {boolean} isDetailed */
  #choose(isDetailed) {
    this.isDetailed = isDetailed;
    this.#update();
  }

  /** @param {number} index */
  #remove(index) {
    this.list.splice(index, 1);
    this.ends = /** @type {[number, number]} */ (
      this.ends.map((end) => Math.max(0, end > index || end >= this.list.length ? end - 1 : end))
    );
    if (this.ends[0] === this.ends[1]) this.ends = [0, Math.max(1, this.list.length - 1)];
    this.#update();
  }

  #update() {
    byId("kept-list").replaceChildren(...this.list.map((each, index) => this.#item(each, index)));
    byId("kept-hint").hidden = this.list.length > 1;
    this.#prepare();
    this.callbacks.onListChange();
  }

  /**
   * @param {Kept} kept
   * @param {number} index
   */
  #item(kept, index) {
    const name = /** @type {HTMLInputElement} */ (
      build("input", { type: "text", class: "name", maxlength: 24, "aria-label": "Name" })
    );
    name.value = kept.name;
    name.size = Math.max(2, kept.name.length);
    name.addEventListener("change", () => {
      kept.name = name.value.trim() || kept.name;
      this.#update();
    });
    const sign = /** @type {HTMLCanvasElement} */ (build("canvas", { class: "sign" }));
    const values = kept.description.parameters.map((p) => toNormalised(p, kept.setting[p.name]));
    requestAnimationFrame(() => drawSign(sign, values));
    const text = settingText(kept.description, kept.setting);
    const recall = build(
      "button",
      { type: "button", class: "plain recall", click: () => this.callbacks.onRecall(kept) },
      build("strong", {}, kept.effect),
      build("span", {}, text ? ` ${text}` : ""),
      build("span", { class: "quiet" }, kept.recordingName),
    );
    const roles = ["from", "to"].map((role, end) => {
      const button = build("button", { type: "button", class: "end" }, role);
      press(button, this.ends[end] === index);
      button.addEventListener("click", () => this.#setEnd(end, index));
      return button;
    });
    const remove = build(
      "button",
      { type: "button", class: "plain remove", "aria-label": `Remove ${kept.name}` },
      "\u00d7",
    );
    remove.addEventListener("click", () => this.#remove(index));
    return build("li", { class: "kept" }, name, sign, recall, ...roles, remove);
  }

  /**
   * @param {number} end 0 from, 1 to
   * @param {number} index
   */
  #setEnd(end, index) {
    if (this.ends[1 - end] === index) this.ends[1 - end] = this.ends[end];
    this.ends[end] = index;
    this.#update();
  }

  // --- the path ---------------------------------------------------------------------------------

  get body() {
    const { pair } = this;
    if (!pair) return null;
    const scene = (/** @type {Kept} */ { recording, start, effect, setting }) => ({
      ...{ recording, start, effect, setting },
    });
    return { a: scene(pair.a), b: scene(pair.b), detailed: this.isDetailed };
  }

  /** Request the steps of the path, unless they are there. */
  async #prepare() {
    const { pair } = this;
    byId("between").hidden = !pair;
    if (!this.canDecode) this.isDetailed = true;
    if (!this.canBeDetailed && this.canDecode) this.isDetailed = false;
    if (!pair) return;
    byId("between-a").textContent = pair.a.name;
    byId("between-b").textContent = pair.b.name;
    /** @type {HTMLButtonElement} */ (byId("path-detailed")).disabled = !this.canBeDetailed;
    /** @type {HTMLButtonElement} */ (byId("path-decoded")).disabled = !this.canDecode;
    press(byId("path-decoded"), !this.isDetailed);
    press(byId("path-detailed"), this.isDetailed);
    const request = JSON.stringify(this.body);
    if (request === this.#requested) return;
    this.#requested = request;
    this.#ending.abort();
    this.#ending = new AbortController();
    this.steps = new Map();
    byId("between-sheet").replaceChildren();
    this.callbacks.onPath(null);
    this.#showReady();
    if (!this.canDecode && !this.canBeDetailed) {
      byId("between-message").textContent =
        "Without a run, a path needs two settings on one segment.";
      return;
    }
    try {
      const { signal } = this.#ending;
      await this.callbacks.request(this.body ?? {}, (message) => this.#take(message), signal);
    } catch (error) {
      if (this.#requested === request) this.#requested = "";
      this.callbacks.onError(error);
    }
  }

  /** @param {Message} message */
  #take({ content, arrays }) {
    if (content.kind === "path") {
      this.lastStep = content.nSteps - 1;
      if (content.locations) this.callbacks.onPath(content.locations);
    }
    if (content.kind === "step") {
      const wet = /** @type {Float32Array} */ (arrays.wet.values);
      this.steps.set(content.index, { wet, arrays, limitDb: content.limitDb });
      if (this.isActive) this.move();
    }
    this.#showReady();
  }

  #showReady() {
    const total = this.lastStep + 1;
    const isReady = this.steps.size === total;
    byId("between-message").textContent = isReady
      ? ""
      : `preparing the steps: ${this.steps.size} of ${total}`;
    inputById("between-slider").disabled = this.steps.size < 2;
    const ticks = Array.from({ length: total }, (_, index) =>
      build("span", { class: this.steps.has(index) ? "ready" : "" }),
    );
    byId("between-ticks").replaceChildren(...ticks);
  }

  async #showSheet() {
    const { body, pair } = this;
    if (!body || !pair) return;
    const button = byId("show-sheet");
    button.classList.add("working");
    try {
      const content = await this.callbacks.sheet(body);
      const [a, b] = [pair.a.name, pair.b.name];
      const address = URL.createObjectURL(content);
      const image = build("img", { alt: `Spectrograms from ${a} to ${b}`, src: address });
      const click = () => save(content, `${a}-to-${b}.png`);
      const saveButton = build("button", { type: "button", click }, "Save PNG");
      byId("between-sheet").replaceChildren(image, saveButton);
    } catch (error) {
      this.callbacks.onError(error);
    } finally {
      button.classList.remove("working");
    }
  }

  /** Position of the slider from 0 to 1. */
  get position() {
    return Number(inputById("between-slider").value) / 1000;
  }

  /** Hear the path at the slider. */
  move() {
    const slider = inputById("between-slider");
    slider.style.setProperty("--at", `${100 * this.position}%`);
    slider.setAttribute("aria-valuetext", `${this.position.toFixed(2)} from A to B`);
    byId("between-value").textContent = this.position.toFixed(2);
    if (this.steps.size < 2) return;
    this.isActive = true;
    this.callbacks.onMove(this.steps, this.position, this.lastStep);
  }
}

/**
 * Return the two steps around a position that are there, and the share of the second.
 * @param {Map<number, Step>} steps
 * @param {number} position 0 to 1
 * @param {number} last index of the last step
 * @returns {{ low: number, high: number, share: number }}
 */
export function stepsAround(steps, position, last) {
  const at = position * last;
  const there = [...steps.keys()].sort((a, b) => a - b);
  const low = there.filter((each) => each <= at + 1e-9).pop() ?? there[0];
  const high = there.find((each) => each >= at - 1e-9) ?? there[there.length - 1];
  return { low, high, share: high > low ? (at - low) / (high - low) : 0 };
}
