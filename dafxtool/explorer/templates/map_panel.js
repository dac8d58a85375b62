// The latent map: the present setting with its trail, its neighbours, and what they are.

import { build, byId } from "./dom.js";
import { PointMap } from "./point_map.js";
import { PointMapControls } from "./point_map_controls.js";

/** @typedef {import("./point_map.js").MapData} MapData */
/** @typedef {{ labels: string[], recordings: string[], recording: number[], excerpts: string[] }} Points */
/**
 * Where a setting lies.
 * @typedef {object} Placement
 * @property {number} x
 * @property {number} y
 * @property {number[]} neighbours nearest points
 * @property {[string, number][]} shares of effects among the nearest points
 * @property {number} voting number of those points
 */
/**
 * @typedef {object} MapPanelCallbacks
 * @property {(point: number) => void} onPoint
 * @property {(x: number, y: number) => void} onPlace
 */

const LONGEST_TRAIL = 200;

/** Connects the map component with the page. */
export class MapPanel {
  /** @type {PointMap | null} */
  map = null;
  /** @type {Points} */
  points = { labels: [], recordings: [], recording: [], excerpts: [] };
  /** @type {[number, number][]} */
  trail = [];
  /** @type {[number, number][] | null} */
  #path = null;
  /** @type {PointMapControls | null} */
  #controls = null;
  #areControlsDue = false;

  /** @param {MapPanelCallbacks} callbacks */
  constructor(callbacks) {
    this.callbacks = callbacks;
  }

  /**
   * Report how far the map is; an empty text hides the line.
   * @param {string} text
   * @param {number} share
   */
  showProgress(text, share = 0) {
    byId("map-message").hidden = !text;
    byId("map-message").textContent = text;
    const bar = byId("map-progress");
    bar.hidden = !text || !share;
    /** @type {HTMLProgressElement} */ (bar).value = share;
  }

  /**
   * @param {MapData} data
   * @param {Points} points
   */
  show(data, points) {
    this.points = points;
    this.showProgress("");
    byId("map-body").hidden = false;
    this.map = new PointMap(
      byId("map-plot"),
      data,
      {
        describe: (point) => this.describe(point),
        onSelect: (point) => this.callbacks.onPoint(point),
        onEmptyClick: (x, y) => this.callbacks.onPlace(x, y),
        onChange: () => this.#updateControls(),
      },
      "Latent map: one point a segment. Click a point to hear it, an empty place to decode it",
    );
    this.#controls = new PointMapControls(byId("map-controls"), this.map);
    this.#draw();
  }

  #updateControls() {
    if (this.#areControlsDue) return;
    this.#areControlsDue = true;
    queueMicrotask(() => {
      this.#areControlsDue = false;
      this.#controls?.update();
    });
  }

  /** @param {number} point */
  describe(point) {
    const { labels, recordings, recording, excerpts } = this.points;
    return [labels[point], recordings[recording[point]], excerpts[point]];
  }

  /**
   * Move the present point.
   * @param {Placement} placement
   */
  place(placement) {
    const last = this.trail[this.trail.length - 1];
    if (!last || last[0] !== placement.x || last[1] !== placement.y)
      this.trail.push([placement.x, placement.y]);
    this.trail.splice(0, this.trail.length - LONGEST_TRAIL);
    this.#draw();
    this.#showShares(placement);
    this.#showNeighbours(placement.neighbours);
  }

  /** Start a new trail, at its present end. */
  startTrail() {
    this.trail = this.trail.slice(-1);
    this.#draw();
  }

  /**
   * Draw a path in place of the trail; null draws the trail again.
   * @param {[number, number][] | null} path
   */
  showPath(path) {
    this.#path = path;
    this.#draw();
  }

  /**
   * Ring a point; null rings none.
   * @param {number | null} point
   */
  mark(point) {
    this.map?.setMarks(point === null ? [] : [{ point, text: "\u266a" }]);
  }

  #draw() {
    this.map?.setTrail(this.#path ?? this.trail);
  }

  /** @param {Placement} placement */
  #showShares({ shares, voting }) {
    const rows = shares.map(([name, share]) => {
      const bar = build("span", { class: "bar" });
      bar.style.width = `${100 * share}%`;
      return build(
        "li",
        {},
        build("span", { class: "share-name" }, name),
        build("span", { class: "track" }, bar),
        build("span", { class: "share" }, `${Math.round(share * voting)} of ${voting}`),
      );
    });
    byId("shares").replaceChildren(...rows);
  }

  /** @param {number[]} neighbours */
  #showNeighbours(neighbours) {
    const items = neighbours.map((point) => {
      const [label, recording] = this.describe(point);
      const text = [build("strong", {}, label), build("span", { class: "quiet" }, ` ${recording}`)];
      const play = () => this.callbacks.onPoint(point);
      return build("li", {}, build("button", { type: "button", class: "plain", click: play }, ...text));
    });
    byId("neighbours").replaceChildren(...items);
  }
}
