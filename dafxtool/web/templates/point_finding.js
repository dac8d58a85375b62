// Find points of a map: under the pointer, in a box, next to another point, or by description.

/** @typedef {import("./point_map.js").PointMap} PointMap */

const MOUSE_REACH_PX = 4; // beyond the edge of a marker
const TOUCH_REACH_PX = 22; // from the middle of a marker

/**
 * Return the visible point with the lowest cost, or null. Of points with equal costs, return the
 * one drawn last, which is on top.
 * @param {PointMap} map
 * @param {(point: number) => number} costOf Infinity excludes a point
 * @returns {number | null}
 */
function cheapest(map, costOf) {
  let best = null;
  let least = Infinity;
  for (const point of map.order) {
    if (!map.visible[point]) continue;
    const cost = costOf(point);
    if (cost <= least && cost < Infinity) [best, least] = [point, cost];
  }
  return best;
}

/**
 * Return the visible point nearest to a pixel of the map and within reach, or null.
 * @param {PointMap} map
 * @param {number} left
 * @param {number} top
 * @param {boolean} isTouch
 */
export function pointAt(map, left, top, isTouch = false) {
  const { view, data } = map;
  return cheapest(map, (point) => {
    const right = view.left(data.x[point]) - left;
    const down = view.top(data.y[point]) - top;
    const distance = Math.sqrt(right * right + down * down);
    const reach = isTouch ? TOUCH_REACH_PX : map.radiusOf(point) + MOUSE_REACH_PX;
    return distance <= reach ? distance : Infinity;
  });
}

/**
 * Return the visible points in a box of pixels.
 * @param {PointMap} map
 * @param {{ left: number, top: number, right: number, bottom: number }} box
 */
export function pointsIn(map, { left, top, right, bottom }) {
  return map.visiblePoints().filter((point) => {
    const [x, y] = map.pixelOf(point);
    return x >= left && x <= right && y >= top && y <= bottom;
  });
}

/**
 * Return the nearest visible point in the direction of an arrow key, or null.
 * @param {PointMap} map
 * @param {number} point
 * @param {number} right -1, 0 or 1
 * @param {number} up -1, 0 or 1
 */
export function neighbour(map, point, right, up) {
  const [left, top] = map.pixelOf(point);
  return cheapest(map, (other) => {
    const [x, y] = map.pixelOf(other);
    const along = (x - left) * right - (y - top) * up;
    const across = Math.abs((x - left) * up) + Math.abs((y - top) * right);
    return along > 0 && across <= 2 * along ? along + 2 * across : Infinity;
  });
}

/**
 * Return the visible point nearest to the middle of the view, or null.
 * @param {PointMap} map
 */
export function centrePoint(map) {
  const { width, height } = map.view;
  return cheapest(map, (point) => {
    const [left, top] = map.pixelOf(point);
    return Math.hypot(left - width / 2, top - height / 2);
  });
}

/**
 * Return the visible points whose description contains every word of a text.
 * @param {PointMap} map
 * @param {string} text
 */
export function search(map, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return map.visiblePoints().filter((point) => {
    const description = map.callbacks.describe(point).join(" ").toLowerCase();
    return words.every((word) => description.includes(word));
  });
}
