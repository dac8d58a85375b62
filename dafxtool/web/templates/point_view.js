// The visible part of the plane: x to the right, y up, both on one scale.

/** @typedef {{ left: number, right: number, bottom: number, top: number }} Bounds */

const LARGEST_ZOOM = 200; // relative to the scale that shows all points
const MARGIN_PX = 24;

/**
 * Return the bounds of all points.
 * @param {ArrayLike<number>} x
 * @param {ArrayLike<number>} y
 * @returns {Bounds}
 */
export function boundsOf(x, y) {
  const bounds = { left: Infinity, right: -Infinity, bottom: Infinity, top: -Infinity };
  for (let i = 0; i < x.length; i++) {
    bounds.left = Math.min(bounds.left, x[i]);
    bounds.right = Math.max(bounds.right, x[i]);
    bounds.bottom = Math.min(bounds.bottom, y[i]);
    bounds.top = Math.max(bounds.top, y[i]);
  }
  return x.length ? bounds : { left: -1, right: 1, bottom: -1, top: 1 };
}

/** Map plane coordinates to pixels: pan, zoom and fit. */
export class PointView {
  width = 1; // pixels
  height = 1;
  scale = 1; // pixels per unit
  centreX = 0; // plane coordinates of the centre of the view
  centreY = 0;
  /** @type {Bounds} */
  bounds = { left: -1, right: 1, bottom: -1, top: 1 };

  /** Scale that shows all points. */
  get fitScale() {
    const { left, right, bottom, top } = this.bounds;
    const width = Math.max(this.width - 2 * MARGIN_PX, 10);
    const height = Math.max(this.height - 2 * MARGIN_PX, 10);
    const scale = Math.min(width / (right - left), height / (top - bottom));
    return Number.isFinite(scale) && scale > 0 ? scale : 1;
  }

  get isFitted() {
    return this.scale <= this.fitScale * 1.001;
  }

  /** Show all points. */
  fit() {
    const { left, right, bottom, top } = this.bounds;
    this.scale = this.fitScale;
    this.centreX = (left + right) / 2;
    this.centreY = (bottom + top) / 2;
  }

  /**
   * Change the size in pixels; a fitted view stays fitted.
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    const wasFitted = this.isFitted;
    this.width = Math.max(width, 1);
    this.height = Math.max(height, 1);
    if (wasFitted) this.fit();
  }

  /** @param {number} x */
  left(x) {
    return this.width / 2 + (x - this.centreX) * this.scale;
  }

  /** @param {number} y */
  top(y) {
    return this.height / 2 - (y - this.centreY) * this.scale;
  }

  /**
   * Return the plane coordinates of a pixel.
   * @param {number} left
   * @param {number} top
   * @returns {[number, number]}
   */
  toPlane(left, top) {
    return [
      this.centreX + (left - this.width / 2) / this.scale,
      this.centreY - (top - this.height / 2) / this.scale,
    ];
  }

  /**
   * Move the content by pixels.
   * @param {number} right
   * @param {number} down
   */
  pan(right, down) {
    this.centreX -= right / this.scale;
    this.centreY += down / this.scale;
    this.#keepPointsInView();
  }

  /**
   * Zoom about a pixel: the plane coordinates under it stay the same.
   * @param {number} left
   * @param {number} top
   * @param {number} factor
   */
  zoom(left, top, factor) {
    const [x, y] = this.toPlane(left, top);
    const fitted = this.fitScale;
    this.scale = Math.min(Math.max(this.scale * factor, fitted), fitted * LARGEST_ZOOM);
    this.centreX = x - (left - this.width / 2) / this.scale;
    this.centreY = y + (top - this.height / 2) / this.scale;
    if (this.isFitted) this.fit();
    else this.#keepPointsInView();
  }

  #keepPointsInView() {
    const { left, right, bottom, top } = this.bounds;
    this.centreX = Math.min(Math.max(this.centreX, left), right);
    this.centreY = Math.min(Math.max(this.centreY, bottom), top);
  }
}
