// The waveform of a recording, and the segment of it that plays.

import { byId, canvasById, sharpen, themeColour } from "./dom.js";
import { clamp } from "./parameters.js";

/**
 * @typedef {object} Recording
 * @property {string} key
 * @property {string} name
 * @property {"built-in" | "file" | "upload"} kind
 * @property {number} seconds
 * @property {number} sampleRate
 * @property {number} channels
 */
/**
 * A recording with its outline: lowest and highest sample of n even spans, one after the other.
 * @typedef {Recording & { nSamples: number, loudestStart: number, outline: Float32Array }} Outlined
 */

const KEY_SECONDS = 0.1;

/** Draws the outline, and lets the user move the segment over it. */
export class Waveform {
  /** @type {Outlined | null} */
  recording = null;
  start = 0; // samples at the rate of segments
  #canvas = canvasById("waveform");
  /** @type {number | null} samples between the start and where it was taken */
  #grip = null;

  /**
   * @param {number} nSamples of a segment
   * @param {number} sampleRate Hz, of segments
   * @param {(start: number, isFinal: boolean) => void} onMove
   */
  constructor(nSamples, sampleRate, onMove) {
    this.nSamples = nSamples;
    this.sampleRate = sampleRate;
    this.onMove = onMove;
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
    const isDark = window.matchMedia("(prefers-color-scheme: dark)");
    isDark.addEventListener("change", () => this.draw());
  }

  /**
   * @param {Outlined} recording
   * @param {number} start samples
   */
  show(recording, start) {
    this.recording = recording;
    this.#moveTo(start);
    this.draw();
  }

  get lastStart() {
    return Math.max(0, (this.recording?.nSamples ?? 0) - this.nSamples);
  }

  /** @param {number} start */
  #moveTo(start) {
    this.start = Math.round(clamp(start, 0, this.lastStart));
    const canvas = this.#canvas;
    canvas.setAttribute("aria-valuemax", (this.lastStart / this.sampleRate).toFixed(2));
    canvas.setAttribute("aria-valuenow", (this.start / this.sampleRate).toFixed(2));
    canvas.setAttribute("aria-valuetext", this.text);
    byId("segment-text").textContent = this.recording ? this.text : "";
  }

  get text() {
    const from = this.start / this.sampleRate;
    const total = (this.recording?.nSamples ?? 0) / this.sampleRate;
    const to = Math.min(from + this.nSamples / this.sampleRate, total);
    return `${from.toFixed(2)} to ${to.toFixed(2)} s of ${total.toFixed(2)} s`;
  }

  /** @param {MouseEvent} event */
  #sampleAt(event) {
    const box = this.#canvas.getBoundingClientRect();
    const total = this.#total;
    return ((event.clientX - box.left) / box.width) * total;
  }

  /** @param {PointerEvent} event */
  #press(event) {
    if (!this.recording || event.button > 0) return;
    const sample = this.#sampleAt(event);
    const isInside = sample >= this.start && sample < this.start + this.nSamples;
    this.#grip = isInside ? sample - this.start : this.nSamples / 2;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#drag(event);
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    if (this.#grip === null) return;
    this.#change(this.#sampleAt(event) - this.#grip, false);
  }

  /** @param {PointerEvent} event */
  #release(event) {
    if (this.#grip === null) return;
    this.#drag(event);
    this.#grip = null;
    this.onMove(this.start, true);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const step = KEY_SECONDS * this.sampleRate;
    /** @type {Record<string, number>} */
    const targets = {
      ArrowLeft: this.start - step,
      ArrowRight: this.start + step,
      PageUp: this.start - this.nSamples,
      PageDown: this.start + this.nSamples,
      Home: 0,
      End: this.lastStart,
    };
    if (!(event.key in targets)) return;
    event.preventDefault();
    this.#change(targets[event.key], true);
  }

  /**
   * @param {number} start
   * @param {boolean} isFinal
   */
  #change(start, isFinal) {
    const before = this.start;
    this.#moveTo(start);
    this.draw();
    if (this.start !== before) this.onMove(this.start, isFinal);
  }

  /**
   * Show the position of playback, above the canvas: the waveform is not drawn for each frame.
   * @param {number} position s in the segment
   */
  setPosition(position) {
    const playhead = /** @type {HTMLElement} */ (byId("waveform-frame").querySelector(".playhead"));
    playhead.hidden = position <= 0;
    const sample = this.start + position * this.sampleRate;
    playhead.style.left = `${(100 * sample) / this.#total}%`;
  }

  /** Samples from the left to the right end of the canvas. */
  get #total() {
    return Math.max(this.recording?.nSamples ?? 0, this.nSamples);
  }

  draw() {
    const { context, width, height } = sharpen(this.#canvas);
    const { recording } = this;
    if (!recording || !width) return;
    const total = this.#total;
    const covered = (width * recording.nSamples) / total;
    const left = (width * this.start) / total;
    const span = (width * Math.min(this.nSamples, total)) / total;
    context.fillStyle = themeColour("--wash");
    context.fillRect(left, 0, span, height);
    const n = recording.outline.length / 2;
    const peak = Math.max(...recording.outline.map(Math.abs), 1e-9);
    const scale = (0.46 * height) / peak;
    for (const [isInside, colour] of /** @type {const} */ ([[false, "--faint"], [true, "--ink"]])) {
      context.fillStyle = themeColour(colour);
      for (let pixel = 0; pixel < covered; pixel++) {
        if ((pixel >= left && pixel < left + span) !== isInside) continue;
        const first = Math.floor((pixel / covered) * n);
        const last = Math.max(first + 1, Math.ceil(((pixel + 1) / covered) * n));
        let [low, high] = [Infinity, -Infinity];
        for (let i = first; i < Math.min(last, n); i++) {
          low = Math.min(low, recording.outline[i]);
          high = Math.max(high, recording.outline[n + i]);
        }
        const top = height / 2 - high * scale;
        context.fillRect(pixel, top, 1, Math.max(1, (high - low) * scale));
      }
    }
    context.fillStyle = themeColour("--blue");
    context.fillRect(left, 0, 2, height);
    context.fillRect(left + span - 2, 0, 2, height);
  }
}
