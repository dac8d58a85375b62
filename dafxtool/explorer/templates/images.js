// Draw the spectrograms: dry, wet, and wet over dry, with the colours of the figures.

import { build, byId, canvasById, sharpen, themeColour } from "./dom.js";

/** @typedef {import("./messages.js").NamedArray} NamedArray */
/**
 * @typedef {object} ImageStyle
 * @property {number[]} colours RGB of 256 levels
 * @property {number[]} differenceColours RGB of an odd number of steps
 * @property {number} floorDb
 * @property {number} seconds
 * @property {[number, string][]} ticks height from 0 to 1, and frequency
 */

const NAMES = /** @type {const} */ (["dry", "wet", "difference"]);

/** Three spectrograms with one time axis. */
export class Spectrograms {
  #images = /** @type {Record<string, NamedArray>} */ ({});

  /**
   * @param {ImageStyle} style
   * @param {(share: number) => void} onSeek a click, as a share of the segment
   */
  constructor(style, onSeek) {
    this.style = style;
    for (const name of NAMES) {
      const frame = byId(`${name}-frame`);
      for (const [height, text] of style.ticks) {
        const tick = build("span", { class: "tick", "aria-hidden": "true" }, text);
        tick.style.bottom = `${100 * height}%`;
        frame.append(tick);
      }
      frame.addEventListener("click", (event) => {
        const box = frame.getBoundingClientRect();
        onSeek((event.clientX - box.left) / box.width);
      });
    }
    this.#drawTimes();
    this.#drawScale("level-scale", style.colours);
    this.#drawScale("difference-scale", style.differenceColours);
    byId("level-low").textContent = `\u2212${-style.floorDb} dB`;
  }

  /**
   * @param {Record<string, NamedArray>} arrays
   * @param {number} limitDb range of the difference
   */
  show(arrays, limitDb) {
    this.#images = arrays;
    byId("difference-low").textContent = `\u2212${limitDb} dB`;
    byId("difference-high").textContent = `+${limitDb} dB`;
    for (const name of NAMES) this.#draw(name);
  }

  /** @param {"dry" | "wet" | "difference"} name */
  #draw(name) {
    const { values, shape } = this.#images[`${name}Image`];
    const [rows, columns] = shape;
    const colours = name === "difference" ? this.style.differenceColours : this.style.colours;
    const image = new ImageData(columns, rows);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const pixel = 4 * ((rows - 1 - row) * columns + column);
        const colour = 3 * values[row * columns + column];
        image.data[pixel] = colours[colour];
        image.data[pixel + 1] = colours[colour + 1];
        image.data[pixel + 2] = colours[colour + 2];
        image.data[pixel + 3] = 255;
      }
    }
    const canvas = canvasById(`${name}-image`);
    [canvas.width, canvas.height] = [columns, rows];
    canvas.getContext("2d")?.putImageData(image, 0, 0);
  }

  #drawTimes() {
    const axis = byId("time-axis");
    const step = this.style.seconds > 4 ? 1 : this.style.seconds > 1 ? 0.5 : 0.1;
    for (let second = 0; second < this.style.seconds - 0.05 * step; second += step) {
      const text = second === 0 ? "0 s" : `${Math.round(10 * second) / 10}`;
      const tick = build("span", { "aria-hidden": "true" }, text);
      tick.style.left = `${(100 * second) / this.style.seconds}%`;
      axis.append(tick);
    }
  }

  /**
   * @param {string} id
   * @param {number[]} colours
   */
  #drawScale(id, colours) {
    const canvas = canvasById(id);
    const n = colours.length / 3;
    [canvas.width, canvas.height] = [n, 1];
    const image = new ImageData(n, 1);
    for (let i = 0; i < n; i++) image.data.set([...colours.slice(3 * i, 3 * i + 3), 255], 4 * i);
    canvas.getContext("2d")?.putImageData(image, 0, 0);
  }

  /**
   * Move the playheads.
   * @param {number} share of the segment, 0 to 1
   */
  setPosition(share) {
    for (const name of NAMES) {
      const playhead = /** @type {HTMLElement} */ (byId(`${name}-frame`).querySelector(".playhead"));
      playhead.hidden = share <= 0;
      playhead.style.left = `${100 * share}%`;
    }
  }
}

/**
 * Draw a small sign of a setting: one bar for each parameter, from 0 to 1.
 * @param {HTMLCanvasElement} canvas
 * @param {number[]} values
 */
export function drawSign(canvas, values) {
  const { context, width, height } = sharpen(canvas);
  const bar = width / Math.max(values.length, 1);
  values.forEach((value, i) => {
    context.fillStyle = themeColour("--faint");
    context.fillRect(i * bar + 1, 0, Math.max(bar - 2, 1), height);
    context.fillStyle = themeColour("--blue");
    const size = Math.max(2, height * value);
    context.fillRect(i * bar + 1, height - size, Math.max(bar - 2, 1), size);
  });
}
