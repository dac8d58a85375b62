// An interactive map of labelled points: select, zoom, pan, search and colour them.
//
// The map is independent of audio and effects. It takes plain data and calls back; the callbacks
// define the action of a selected point.

import { drawOverlay, drawPoints, placeTooltip } from "./point_map_drawing.js";
import { listen } from "./point_map_input.js";
import { PointPainter, rgbOf } from "./point_painter.js";
import { PointView, boundsOf } from "./point_view.js";

/** @typedef {import("./point_painter.js").Marker} Marker */

/**
 * A category of points, such as an effect.
 * @typedef {{ name: string, colour: string, darkColour?: string, marker: Marker }} Category
 */

/**
 * A property that points can be coloured by. For kind "category", values has one index into
 * categories for each point. For kind "value", values has a number from 0 to 1 for each of rows
 * (for each point if there are no rows), and ticks name some of the values.
 * @typedef {object} Colouring
 * @property {string} name
 * @property {"category" | "value"} kind
 * @property {ArrayLike<number>} values
 * @property {ArrayLike<number>} [rows]
 * @property {Category[]} [categories]
 * @property {[number, string][]} [ticks]
 */

/**
 * Coordinates of points, and their colourings. The first colouring is of kind "category" and sets
 * the marker of every point. Points that are not prominent are small and faint.
 * @typedef {object} MapData
 * @property {ArrayLike<number>} x
 * @property {ArrayLike<number>} y
 * @property {Colouring[]} colourings
 * @property {ArrayLike<boolean>} [prominent]
 * @property {string[]} valueColours "#rrggbb" from value 0 to value 1
 * @property {string[]} [darkValueColours] valueColours of a dark page
 * @property {[string, string]} axisNames
 */

/**
 * @typedef {object} MapCallbacks
 * @property {(point: number) => string[]} describe lines of text, for the tooltip and search
 * @property {(point: number, extend: boolean) => void} [onSelect] click or Enter; extend with Shift
 * @property {(point: number | null) => void} [onHover]
 * @property {(x: number, y: number) => void} [onEmptyClick] plane coordinates
 * @property {(points: number[]) => void} [onBox] visible points in a box drawn with Shift
 * @property {() => void} [onChange] visibility, colouring or filter has changed
 */

/** @typedef {{ point: number, text: string }} Mark */

const MANY_POINTS = 5000; // beyond, drawn at a lower resolution while the view moves
const REST_MS = 250; // without movement, until the full resolution is drawn
const NEUTRAL = "#9a9a9a"; // points without a value
const EDGE_PX = 30; // least distance of a point reached by keyboard from the edges

/** A map of points in an element: canvases, tooltip and input. */
export class PointMap {
  view = new PointView();
  /** @type {MapData} */
  data;
  /** @type {number | null} point under the pointer or reached by keyboard */
  active = null;
  isByKeyboard = false;
  /** 1 for each point that is shown */
  visible = new Uint8Array(0);
  /** 1 for each point that a filter highlights */
  found = new Uint8Array(0);
  isFiltered = false;
  colouring = 0;
  /** @type {Set<number>[]} hidden categories of each colouring */
  hidden = [];
  /** points in the order of drawing, the last one on top */
  order = new Uint32Array(0);
  /** @type {Mark[]} */
  marks = [];
  /** @type {[number, number][]} plane coordinates */
  trail = [];
  /** @type {{ left: number, top: number, right: number, bottom: number } | null} pixels */
  box = null;
  pixelRatio = 1;
  isMoving = false;
  /** @type {{ colours: [number, number, number][], markers: Marker[] } | null} */
  #appearance = null;
  #radii = { small: 2, large: 6 };
  #isScheduled = false;
  #restTimer = 0;
  #arePointsDue = true;
  #isDark = window.matchMedia("(prefers-color-scheme: dark)");
  #ending = new AbortController();
  #observer = new ResizeObserver(() => this.#resize());

  /**
   * Build a map inside an element; it fills the element.
   * @param {HTMLElement} element
   * @param {MapData} data
   * @param {MapCallbacks} callbacks
   * @param {string} label for screen readers
   */
  constructor(element, data, callbacks, label = "Map of points") {
    this.element = element;
    this.callbacks = callbacks;
    this.canvas = document.createElement("canvas");
    this.overlay = document.createElement("canvas");
    this.tooltip = document.createElement("div");
    this.announcer = document.createElement("div");
    this.painter = new PointPainter(this.canvas);
    this.data = data;
    element.classList.add("point-map");
    this.overlay.tabIndex = 0;
    this.overlay.setAttribute("role", "application");
    const keys =
      "Arrow keys move to the nearest point, Enter selects it, plus and minus zoom, 0 shows all.";
    this.overlay.setAttribute("aria-label", `${label}. ${keys}`);
    this.tooltip.className = "point-map-tooltip";
    this.tooltip.hidden = true;
    this.announcer.className = "point-map-announcer";
    this.announcer.setAttribute("aria-live", "polite");
    element.replaceChildren(this.canvas, this.overlay, this.tooltip, this.announcer);
    this.setData(data);
    listen(this, this.#ending.signal);
    const { signal } = this.#ending;
    this.#isDark.addEventListener("change", () => this.#recolour(), { signal });
    this.#observer.observe(element);
    this.#resize();
    this.view.fit();
  }

  // --- content --------------------------------------------------------------------------------

  /**
   * Show other points without moving the view.
   * @param {MapData} data
   */
  setData(data) {
    this.data = data;
    this.view.bounds = boundsOf(data.x, data.y);
    if (this.hidden.length !== data.colourings.length) {
      this.hidden = data.colourings.map(() => new Set());
      this.colouring = 0;
    }
    const { prominent } = data;
    const rows = Array.from({ length: data.x.length }, (_, row) => row);
    if (prominent) rows.sort((a, b) => Number(prominent[a]) - Number(prominent[b]) || a - b);
    this.order = Uint32Array.from(rows);
    const count = prominent ? rows.filter((row) => prominent[row]).length : rows.length;
    const large = Math.min(Math.max(6 * (Math.max(count, 1) / 60) ** -0.2, 2), 6.5);
    const small = Math.min(2.75 * Math.min(1, (1000 / (rows.length + 1)) ** 0.15), large);
    this.#radii = { small, large };
    this.found = new Uint8Array(rows.length);
    this.isFiltered = false;
    if (this.active !== null && this.active >= rows.length) this.active = null;
    this.#appearance = null;
    this.#updateVisible();
  }

  /**
   * Draw rings with letters around points, unless the points are hidden.
   * @param {Mark[]} marks
   */
  setMarks(marks) {
    this.marks = marks;
    this.redraw();
  }

  /**
   * Draw a line through plane coordinates, with a dot at its end.
   * @param {[number, number][]} trail
   */
  setTrail(trail) {
    this.trail = trail;
    this.redraw();
  }

  /**
   * Draw a box in pixels; null removes it.
   * @param {PointMap["box"]} box
   */
  setBox(box) {
    this.box = box;
    this.redraw();
  }

  /**
   * Colour by another property.
   * @param {number} index into data.colourings
   */
  setColouring(index) {
    this.colouring = index;
    this.#recolour();
    this.callbacks.onChange?.();
  }

  /**
   * Show or hide a category of a colouring.
   * @param {number} colouring
   * @param {number} category
   * @param {boolean} isHidden
   */
  setHidden(colouring, category, isHidden) {
    if (isHidden) this.hidden[colouring].add(category);
    else this.hidden[colouring].delete(category);
    this.#updateVisible();
  }

  /** Show all categories of all colourings. */
  showAll() {
    for (const each of this.hidden) each.clear();
    this.#updateVisible();
  }

  /**
   * Highlight some points and fade the others; null highlights none and fades none.
   * @param {ArrayLike<number> | null} points
   */
  setFilter(points) {
    this.found.fill(0);
    for (const point of Array.from(points ?? [])) this.found[point] = 1;
    this.isFiltered = points !== null;
    this.redraw(true);
    this.callbacks.onChange?.();
  }

  /**
   * Return the visible points in the order of drawing.
   * @returns {number[]}
   */
  visiblePoints() {
    return Array.from(this.order).filter((point) => this.visible[point]);
  }

  // --- the active point -----------------------------------------------------------------------

  /**
   * Make a point the active one; null deactivates it.
   * @param {number | null} point
   * @param {boolean} isByKeyboard
   */
  setActive(point, isByKeyboard = false) {
    const isSame = point === this.active && isByKeyboard === this.isByKeyboard;
    if (isSame) return;
    this.active = point;
    this.isByKeyboard = isByKeyboard;
    this.callbacks.onHover?.(point);
    this.redraw();
  }

  /**
   * Make a point the active one, move it into view and announce it.
   * @param {number} point
   */
  focusPoint(point) {
    this.setActive(point, true);
    const [left, top] = this.pixelOf(point);
    const { width, height } = this.view;
    const right = Math.max(EDGE_PX - left, 0) - Math.max(left - width + EDGE_PX, 0);
    const down = Math.max(EDGE_PX - top, 0) - Math.max(top - height + EDGE_PX, 0);
    if (right || down) this.pan(right, down);
    this.announcer.textContent = this.callbacks.describe(point).join(", ");
  }

  // --- the view -------------------------------------------------------------------------------

  /**
   * Move the content by pixels.
   * @param {number} right
   * @param {number} down
   */
  pan(right, down) {
    this.view.pan(right, down);
    this.#viewChanged();
  }

  /**
   * Zoom about a pixel, by default the middle.
   * @param {number} factor
   * @param {number} left
   * @param {number} top
   */
  zoom(factor, left = this.view.width / 2, top = this.view.height / 2) {
    this.view.zoom(left, top, factor);
    this.#viewChanged();
  }

  /** Show all points. */
  reset() {
    this.view.fit();
    this.#viewChanged();
  }

  #viewChanged() {
    // One finger scrolls the page while all points are shown, and pans the zoomed map.
    this.overlay.style.touchAction = this.view.isFitted ? "pan-y" : "none";
    this.isMoving = this.data.x.length > MANY_POINTS;
    clearTimeout(this.#restTimer);
    if (this.isMoving) this.#restTimer = window.setTimeout(() => this.#rest(), REST_MS);
    this.redraw(true);
  }

  #rest() {
    this.isMoving = false;
    this.redraw(true);
  }

  /**
   * Return the position of a point in pixels of the map.
   * @param {number} point
   * @returns {[number, number]}
   */
  pixelOf(point) {
    return [this.view.left(this.data.x[point]), this.view.top(this.data.y[point])];
  }

  /**
   * Return the radius of a point's marker in pixels.
   * @param {number} point
   */
  radiusOf(point) {
    const { prominent } = this.data;
    return !prominent || prominent[point] ? this.#radii.large : this.#radii.small;
  }

  // --- appearance -----------------------------------------------------------------------------

  /**
   * Return the colour of a category, for a dark page its dark colour if it has one.
   * @param {Category} category
   */
  colourOf(category) {
    return (this.#isDark.matches && category.darkColour) || category.colour;
  }

  /** Colours from value 0 to value 1. */
  get valueColours() {
    const { valueColours, darkValueColours } = this.data;
    return (this.#isDark.matches && darkValueColours) || valueColours;
  }

  /** Colours and markers of all points. */
  get appearance() {
    this.#appearance ??= { colours: this.#colours(), markers: this.#markers() };
    return this.#appearance;
  }

  /** @returns {[number, number, number][]} */
  #colours() {
    const { values, rows, categories } = this.data.colourings[this.colouring];
    const neutral = rgbOf(NEUTRAL);
    const n = this.data.x.length;
    if (categories) {
      const table = categories.map((each) => rgbOf(this.colourOf(each)));
      return Array.from({ length: n }, (_, point) => table[values[point]] ?? neutral);
    }
    const table = this.valueColours.map(rgbOf);
    const colours = Array(n).fill(neutral);
    for (let i = 0; i < values.length; i++)
      colours[rows ? rows[i] : i] = table[Math.round(values[i] * (table.length - 1))] ?? neutral;
    return colours;
  }

  /** @returns {Marker[]} */
  #markers() {
    const current = this.data.colourings[this.colouring];
    const { categories = [], values } = current.categories ? current : this.data.colourings[0];
    const n = this.data.x.length;
    return Array.from({ length: n }, (_, point) => categories[values[point]]?.marker ?? "circle");
  }

  #recolour() {
    this.#appearance = null;
    this.redraw(true);
  }

  #updateVisible() {
    const n = this.data.x.length;
    this.visible = new Uint8Array(n).fill(1);
    this.data.colourings.forEach(({ kind, values }, index) => {
      if (kind !== "category" || !this.hidden[index].size) return;
      for (let point = 0; point < n; point++)
        if (this.hidden[index].has(values[point])) this.visible[point] = 0;
    });
    if (this.active !== null && !this.visible[this.active]) this.setActive(null);
    this.redraw(true);
    this.callbacks.onChange?.();
  }

  /**
   * Draw again in the next frame.
   * @param {boolean} arePointsDue also the points, not only the overlay
   */
  redraw(arePointsDue = false) {
    this.#arePointsDue ||= arePointsDue;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      if (this.#arePointsDue) drawPoints(this);
      this.#arePointsDue = false;
      drawOverlay(this);
      placeTooltip(this);
    });
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    this.pixelRatio = window.devicePixelRatio || 1;
    this.overlay.width = Math.max(1, Math.round(width * this.pixelRatio));
    this.overlay.height = Math.max(1, Math.round(height * this.pixelRatio));
    this.view.resize(width, height);
    this.#viewChanged();
    // A move to a screen of another density does not change the size, so no observer reports it.
    const density = window.matchMedia(`(resolution: ${this.pixelRatio}dppx)`);
    const { signal } = this.#ending;
    density.addEventListener("change", () => this.#resize(), { once: true, signal });
  }

  /** Remove the map from the page. */
  destroy() {
    this.#ending.abort();
    clearTimeout(this.#restTimer);
    this.#observer.disconnect();
    this.element.replaceChildren();
  }
}
