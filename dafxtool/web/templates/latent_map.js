// The latent map of a page: select a point to hear it, and a second one to interpolate to it.

import { MapAudio, bytesOf } from "./map_audio.js";
import { CHANNELS, Player } from "./player.js";
import { PointMap } from "./point_map.js";
import { PointMapControls } from "./point_map_controls.js";

/** @typedef {import("./player.js").Channel} Channel */
/** @typedef {import("./map_audio.js").AudioData} AudioData */
/** @typedef {import("./point_map.js").MapData} MapData */

/**
 * Written by web/latent_map.py.
 * @typedef {object} PageData
 * @property {MapData} map
 * @property {{ labels: string[], recordings: string[], recording: number[], excerpts: string[] }} points
 * @property {AudioData | null} audio
 * @property {string} colours base64 of 256 red, green, blue
 * @property {number} floorDb level of the darkest colour
 * @property {[number, string][]} ticks height from 0 to 1, and frequency
 */

/** Connect a point map with audio, thumbnails and the controls of a page. */
class LatentMap {
  /** @type {number | null} slots of both ends of the path; b is the selected point */
  a = null;
  /** @type {number | null} */
  b = null;
  isHeld = false; // further points become B
  /** @type {number | null} loaded step; null if an original is loaded */
  step = null;
  isPathPlaying = false;
  #path = 0; // number of the path, to discard audio that was requested for an earlier one
  #areControlsDue = false;

  /**
   * @param {HTMLElement} root
   * @param {PageData} data
   * @param {MapAudio | null} audio
   */
  constructor(root, data, audio) {
    this.root = root;
    this.data = data;
    this.audio = audio;
    this.colours = bytesOf(data.colours);
    const prominent = audio && data.points.labels.map((_, point) => audio.slots.has(point));
    this.player = new Player(
      () => this.#showPlaying(),
      () => this.#playNext(),
    );
    this.map = new PointMap(
      this.#find(".map-plot"),
      prominent ? { ...data.map, prominent } : data.map,
      {
        describe: (point) => this.#describe(point),
        onSelect: (point, extend) => this.#select(point, extend),
        onBox: (points) => this.#showMessage(this.#boxText(points)),
        onChange: () => this.#updateControls(),
      },
      "Latent map: one point a segment",
    );
    this.controls = new PointMapControls(this.#find(".map-controls"), this.map);
    if (audio) this.#listen();
  }

  /**
   * @param {string} selector
   * @returns {HTMLElement}
   */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.root.querySelector(selector));
  }

  #updateControls() {
    if (this.#areControlsDue || !this.controls) return;
    this.#areControlsDue = true;
    queueMicrotask(() => {
      this.#areControlsDue = false;
      this.controls.update();
    });
  }

  /** @param {number} point */
  #describe(point) {
    const { labels, recordings, recording, excerpts } = this.data.points;
    return [labels[point], recordings[recording[point]], excerpts[point]];
  }

  /** @param {string} text */
  #showMessage(text) {
    const line = this.#find(".map-message");
    line.hidden = !text;
    line.textContent = text;
  }

  /**
   * Count the points of a box by effect.
   * @param {number[]} points
   */
  #boxText(points) {
    const { categories = [], values } = this.data.map.colourings[0];
    const counts = new Map();
    for (const point of points) counts.set(values[point], (counts.get(values[point]) ?? 0) + 1);
    const parts = [...counts].map(([value, count]) => `${count} ${categories[value].name}`);
    return points.length ? `In the box: ${parts.join(", ")}. Escape ends the selection.` : "";
  }

  // --- selection ------------------------------------------------------------------------------

  /**
   * @param {number} point
   * @param {boolean} extend
   */
  #select(point, extend) {
    const slot = this.audio?.slots.get(point);
    if (slot === undefined) {
      const description = this.#describe(point).join(", ");
      this.#showMessage(`${this.audio ? "This point has no audio: " : ""}${description}.`);
      return;
    }
    // The same point again is played again, without a change of A.
    if (slot !== this.b && (this.a === null || !(this.isHeld || extend))) this.a = this.b;
    this.b = slot;
    this.#showMessage("");
    this.#showPoint(slot);
    this.#mark();
    this.#showPath();
    this.#playOriginal();
  }

  #mark() {
    const { a, b } = this;
    const rows = this.audio?.data.rows ?? [];
    const isPath = a !== null && a !== b;
    this.map.setMarks([
      ...(isPath ? [{ point: rows[a], text: "A" }] : []),
      ...(b === null ? [] : [{ point: rows[b], text: isPath ? "B" : "A" }]),
    ]);
  }

  /** @param {number} slot */
  #showPoint(slot) {
    const { audio } = this;
    if (!audio) return;
    this.#find(".map-now").hidden = false;
    const [label, recording, excerpt] = this.#describe(audio.data.rows[slot]);
    this.#find(".map-label").textContent = label;
    this.#find(".map-recording").textContent = recording;
    this.#find(".map-excerpt").textContent = excerpt;
    CHANNELS.forEach((name, channel) => {
      this.#draw(`.map-${name}-thumbnail`, audio.thumbnail("originals", slot, channel));
    });
  }

  #playOriginal() {
    const { audio, b } = this;
    if (!audio || b === null) return;
    this.isPathPlaying = false;
    this.step = null;
    this.player.load({ dry: audio.addressOf(b, 0), wet: audio.addressOf(b, 1) });
  }

  // --- the path from A to B -------------------------------------------------------------------

  #showPath() {
    const { a, b, audio } = this;
    const section = this.#find(".map-path");
    section.hidden = a === null || a === b;
    const path = ++this.#path;
    if (!audio || a === null || b === null || section.hidden) return;
    audio.releaseSteps();
    const name = (/** @type {number} */ slot) => {
      const [label, recording] = this.#describe(audio.data.rows[slot]);
      return `${label} (${recording})`;
    };
    this.#find(".map-a").textContent = name(a);
    this.#find(".map-b").textContent = name(b);
    CHANNELS.forEach((channelName, channel) => {
      this.#stepButtons().forEach((button, index) => {
        const canvas = button.querySelector(`.map-step-${channelName}`);
        this.#draw(/** @type {HTMLElement} */ (canvas), audio.step(a, b, index, channel));
      });
    });
    this.#prepare(path, a, b);
  }

  /**
   * Synthesise all steps in advance, so that a click plays at once.
   * @param {number} path
   * @param {number} a
   * @param {number} b
   */
  async #prepare(path, a, b) {
    for (const channel of [1, 0]) {
      for (let index = 0; index < this.#stepButtons().length; index++) {
        await new Promise((resolve) => setTimeout(resolve, 30));
        if (path !== this.#path) return;
        await this.audio?.stepAddress(a, b, index, channel);
      }
    }
  }

  /** @returns {HTMLButtonElement[]} */
  #stepButtons() {
    return [...this.root.querySelectorAll("button.map-step")].map(
      (each) => /** @type {HTMLButtonElement} */ (each),
    );
  }

  /** @param {number} index */
  async #playStep(index) {
    const { a, b, audio } = this;
    if (!audio || a === null || b === null) return;
    const path = this.#path;
    this.step = index;
    this.player.stop();
    const wet = await audio.stepAddress(a, b, index, 1);
    const dry = await audio.stepAddress(a, b, index, 0);
    if (path === this.#path && this.step === index) this.player.load({ dry, wet });
  }

  #playNext() {
    const isPathEnd = this.step === null || this.step + 1 >= this.#stepButtons().length;
    if (this.isPathPlaying && !isPathEnd) this.#playStep((this.step ?? -1) + 1);
    else this.isPathPlaying = false;
    this.#showPlaying();
  }

  // --- controls -------------------------------------------------------------------------------

  #listen() {
    const on = (/** @type {string} */ selector, /** @type {() => void} */ act) =>
      this.#find(selector).addEventListener("click", act);
    for (const channel of CHANNELS) {
      on(`.map-${channel}`, () => {
        if (this.step === null || this.player.isPlaying) this.player.play(channel);
        else this.player.channel = channel;
        if (!this.player.isPlaying && this.step !== null) this.#playOriginal();
      });
    }
    on(".map-stop", () => this.#stop());
    on(".map-hold", () => this.#hold());
    on(".map-play-path", () => {
      const wasPlaying = this.isPathPlaying;
      this.#stop();
      this.isPathPlaying = !wasPlaying;
      if (this.isPathPlaying) this.#playStep(0);
    });
    this.#stepButtons().forEach((button, index) => {
      button.addEventListener("click", () => {
        const isSame = this.step === index && this.player.isPlaying;
        this.#stop();
        if (!isSame) this.#playStep(index);
      });
    });
    document.addEventListener("keydown", (event) => this.#key(event));
    for (const frame of this.root.querySelectorAll(".thumbnails .frame")) this.#drawTicks(frame);
  }

  #stop() {
    this.isPathPlaying = false;
    this.player.stop();
  }

  #hold() {
    this.isHeld = !this.isHeld;
    this.#find(".map-hold").setAttribute("aria-pressed", String(this.isHeld));
    if (!this.isHeld) return;
    this.a = this.b;
    this.#mark();
    this.#showPath();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    const isTyping = target.matches("input, select, textarea");
    if (this.b === null || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "d") this.player.play(this.player.channel === "wet" ? "dry" : "wet");
    if (event.key === " " && this.player.isPlaying) {
      event.preventDefault();
      this.#stop();
    }
  }

  #showPlaying() {
    const { player } = this;
    for (const channel of CHANNELS) this.#press(`.map-${channel}`, channel === player.channel);
    this.#press(".map-play-path", this.isPathPlaying);
    this.#stepButtons().forEach((button, index) => {
      button.setAttribute("aria-pressed", String(player.isPlaying && this.step === index));
    });
    this.#moveCursors();
  }

  /**
   * @param {string} selector
   * @param {boolean} isPressed
   */
  #press(selector, isPressed) {
    this.root.querySelector(selector)?.setAttribute("aria-pressed", String(isPressed));
  }

  #moveCursors() {
    const { player } = this;
    const isShown = player.isPlaying && this.step === null;
    for (const each of this.root.querySelectorAll(".cursor")) {
      const cursor = /** @type {HTMLElement} */ (each);
      cursor.hidden = !isShown;
      cursor.style.left = `${100 * player.position}%`;
    }
    if (isShown) requestAnimationFrame(() => this.#moveCursors());
  }

  // --- thumbnails -----------------------------------------------------------------------------

  /**
   * Draw power-law values in decibels, the lowest band at the bottom.
   * @param {string | HTMLElement} canvas or its selector
   * @param {Float32Array} values
   */
  #draw(canvas, values) {
    const { audio } = this;
    if (!audio) return;
    const { bands, times, exponent } = audio.data;
    const image = new ImageData(times, bands);
    values.forEach((value, i) => {
      const decibels = value > 0 ? (20 / exponent) * Math.log10(value) : -Infinity;
      const height = 1 - decibels / this.data.floorDb;
      const colour = 3 * Math.max(0, Math.min(255, Math.round(255 * height)));
      const pixel = 4 * ((bands - 1 - Math.floor(i / times)) * times + (i % times));
      image.data.set(this.colours.subarray(colour, colour + 3), pixel);
      image.data[pixel + 3] = 255;
    });
    const element = typeof canvas === "string" ? this.#find(canvas) : canvas;
    /** @type {HTMLCanvasElement} */ (element).getContext("2d")?.putImageData(image, 0, 0);
  }

  /** @param {Element} frame */
  #drawTicks(frame) {
    for (const [height, text] of this.data.ticks) {
      const tick = document.createElement("span");
      tick.className = "tick";
      tick.style.bottom = `${100 * height}%`;
      tick.textContent = text;
      frame.append(tick);
    }
  }
}

const root = document.getElementById("latent-map");
if (root) {
  /** @type {PageData} */
  const data = JSON.parse(root.querySelector(".map-data")?.textContent ?? "");
  const audio = data.audio ? await MapAudio.unpack(data.audio) : null;
  // Accessible to tests and in the browser's console.
  Object.assign(root, { latentMap: new LatentMap(root, data, audio) });
}
