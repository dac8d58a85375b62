// Paint many points quickly by stamping markers into an array of pixels. On two busy cores without
// a GPU, 20,000 points take 5 ms; as canvas paths they take 23 ms, as canvas images 209 ms.

/** Outlines of markers with radius 1, as SVG path data. */
export const MARKERS = {
  circle: "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z",
  "triangle-up": "M0-1.15L1.1.8H-1.1Z",
  square: "M-.88-.88H.88V.88H-.88Z",
  diamond: "M0-1.25L1.25 0 0 1.25-1.25 0Z",
  "triangle-down": "M0 1.15L1.1-.8H-1.1Z",
  plus: "M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
  cross: "M-1-.45L-.45-1 0-.55.45-1 1-.45.55 0 1 .45.45 1 0 .55-.45 1-1 .45-.55 0Z",
  pentagon: "M0-1.15L1.1-.35.68.93H-.68L-1.1-.35Z",
};

/** @typedef {keyof typeof MARKERS} Marker */
/**
 * The pixels of a marker: their offsets from its centre in the image, and their opacity (0 to 255).
 * @typedef {{ offsets: Int32Array, alphas: Uint8Array }} Stamp
 */

const PADDING = 64; // device pixels around the image, so that markers at its edges need no clipping

/**
 * Convert "#rrggbb" to red, green and blue.
 * @param {string} colour
 * @returns {[number, number, number]}
 */
export function rgbOf(colour) {
  const value = parseInt(colour.trim().slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/** Paint markers onto a canvas with a plain background. */
export class PointPainter {
  #canvas;
  #context;
  /** @type {ImageData | null} */
  #image = null;
  #pixels = new Int32Array(0);

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  }

  /**
   * Start an image: fill it with the background.
   * @param {string} background
   */
  start(background) {
    const width = this.#canvas.width + 2 * PADDING;
    const height = this.#canvas.height + 2 * PADDING;
    if (!this.#image || this.#image.width !== width || this.#image.height !== height) {
      this.#image = new ImageData(width, height);
      this.#pixels = new Int32Array(this.#image.data.buffer);
    }
    const [red, green, blue] = rgbOf(background);
    this.#pixels.fill((255 << 24) | (blue << 16) | (green << 8) | red);
  }

  /** Copy the image to the canvas. */
  finish() {
    if (this.#image) this.#context.putImageData(this.#image, -PADDING, -PADDING);
  }

  /**
   * Paint one marker; left and top are in device pixels.
   * @param {number} left
   * @param {number} top
   * @param {Stamp} stamp
   * @param {readonly [number, number, number]} rgb
   * @param {number} opacity 0 to 1
   */
  paint(left, top, { offsets, alphas }, rgb, opacity) {
    const { width, height } = this.#canvas;
    const edge = PADDING / 2;
    if (left < -edge || top < -edge || left >= width + edge || top >= height + edge) return;
    const pixels = this.#pixels;
    const strength = Math.round(256 * opacity);
    const redBlue = rgb[0] | (rgb[2] << 16);
    const green = rgb[1] << 8;
    const middle = (Math.floor(top) + PADDING) * (width + 2 * PADDING) + Math.floor(left) + PADDING;
    for (let i = 0; i < alphas.length; i++) {
      // Two colour channels at a time, with alpha in 7 bits: products stay below 2 ** 31.
      const alpha = ((alphas[i] + 1) * strength) >> 9; // 0 to 128
      const rest = 128 - alpha;
      const index = middle + offsets[i];
      const under = pixels[index];
      const mixed = (((under & 0xff00ff) * rest + redBlue * alpha) >> 7) & 0xff00ff;
      const mixedGreen = (((under & 0xff00) * rest + green * alpha) >> 7) & 0xff00;
      pixels[index] = 0xff000000 | mixed | mixedGreen;
    }
  }

  /**
   * Rasterise a marker with smooth edges. The offsets are valid for the present canvas width.
   * @param {Marker} marker
   * @param {number} radius device pixels, below PADDING / 2.6
   * @returns {Stamp}
   */
  stamp(marker, radius) {
    const half = Math.min(Math.ceil(1.3 * radius) + 1, PADDING / 2 - 1);
    const size = 2 * half + 1;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = size;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(radius, 0, 0, radius, half + 0.5, half + 0.5);
    context.fill(new Path2D(MARKERS[marker]));
    const { data } = context.getImageData(0, 0, size, size);
    const covered = Array.from({ length: size * size }, (_, index) => index).filter(
      (index) => data[4 * index + 3] > 0,
    );
    const width = this.#canvas.width + 2 * PADDING;
    return {
      offsets: Int32Array.from(
        covered,
        (index) => (Math.floor(index / size) - half) * width + (index % size) - half,
      ),
      alphas: Uint8Array.from(covered, (index) => data[4 * index + 3]),
    };
  }
}
