// Draw a point map: the points, an overlay of rings and letters, and the tooltip.

import { MARKERS, rgbOf } from "./point_painter.js";

/** @typedef {import("./point_map.js").PointMap} PointMap */
/** @typedef {import("./point_painter.js").Stamp} Stamp */
/** @typedef {CanvasRenderingContext2D} Context */

const FAINT = 0.65; // opacity of points that are not prominent
const FADED = 0.12; // opacity of points that a filter fades
const TOOLTIP_GAP_PX = 14;

/**
 * Return a colour of the page.
 * @param {PointMap} map
 * @param {string} name of a custom property
 */
function styleOf(map, name) {
  return getComputedStyle(map.element).getPropertyValue(name).trim() || "#808080";
}

/**
 * Draw all visible points; points that a filter highlights are on top.
 * @param {PointMap} map
 */
export function drawPoints(map) {
  const { data, view, visible, found, isFiltered, painter, canvas } = map;
  const pixelRatio = map.isMoving ? Math.min(1, map.pixelRatio) : map.pixelRatio;
  const width = Math.max(1, Math.round(view.width * pixelRatio));
  const height = Math.max(1, Math.round(view.height * pixelRatio));
  if (canvas.width !== width || canvas.height !== height)
    [canvas.width, canvas.height] = [width, height];
  const { colours, markers } = map.appearance;
  const { prominent } = data;
  const background = styleOf(map, "--background");
  const backgroundParts = rgbOf(background);
  const crowded = Math.min(0.92, Math.max(0.45, (data.x.length / 1000) ** -0.2));
  /** @type {Map<string, { stamp: Stamp, edge: Stamp }>[]} small, then large ones */
  const stamps = [new Map(), new Map()];
  const stampsOf = (/** @type {number} */ point, /** @type {number} */ size) => {
    const marker = markers[point];
    let pair = stamps[size].get(marker);
    if (!pair) {
      const radius = map.radiusOf(point) * pixelRatio;
      const edge = painter.stamp(marker, radius + pixelRatio);
      pair = { stamp: painter.stamp(marker, radius), edge };
      stamps[size].set(marker, pair);
    }
    return pair;
  };
  painter.start(background);
  for (const layer of isFiltered ? [0, 1] : [0]) {
    for (const point of map.order) {
      if (!visible[point] || (isFiltered && found[point] !== layer)) continue;
      const size = prominent && !prominent[point] ? 0 : 1;
      const { stamp, edge } = stampsOf(point, size);
      const left = view.left(data.x[point]) * pixelRatio;
      const top = view.top(data.y[point]) * pixelRatio;
      const isFaded = isFiltered && !layer;
      const opacity = isFaded ? FADED : isFiltered ? 1 : size ? crowded : FAINT;
      if (size && prominent && !isFaded) painter.paint(left, top, edge, backgroundParts, 1);
      painter.paint(left, top, stamp, colours[point], opacity);
    }
  }
  painter.finish();
}

/**
 * Draw the trail, the marks, the active point and the box.
 * @param {PointMap} map
 */
export function drawOverlay(map) {
  const context = /** @type {Context} */ (map.overlay.getContext("2d"));
  const { pixelRatio, view } = map;
  const ink = styleOf(map, "--ink");
  context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
  context.clearRect(0, 0, view.width, view.height);
  drawAxisNames(map, context);
  drawTrail(map, context, ink, styleOf(map, "--background"));
  for (const { point, text } of map.marks)
    if (map.visible[point]) drawMark(map, context, point, text);
  if (map.active !== null && map.visible[map.active]) drawActive(map, context, map.active);
  if (map.box) {
    const { left, top, right, bottom } = map.box;
    context.setLineDash([4, 3]);
    context.strokeStyle = ink;
    context.lineWidth = 1;
    context.strokeRect(left, top, right - left, bottom - top);
    context.setLineDash([]);
  }
}

/**
 * @param {PointMap} map
 * @param {Context} context
 */
function drawAxisNames(map, context) {
  const [right, up] = map.data.axisNames;
  const { width, height } = map.view;
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = styleOf(map, "--quiet");
  context.textAlign = "right";
  context.fillText(`${right} →`, width - 8, height - 8);
  context.save();
  context.translate(14, 8);
  context.rotate(-Math.PI / 2);
  context.fillText(`${up} →`, 0, 0);
  context.restore();
}

/**
 * @param {PointMap} map
 * @param {Context} context
 * @param {string} ink
 * @param {string} background
 */
function drawTrail({ trail, view }, context, ink, background) {
  if (!trail.length) return;
  context.beginPath();
  for (const [x, y] of trail) context.lineTo(view.left(x), view.top(y));
  context.strokeStyle = ink;
  context.lineWidth = 1.5;
  context.stroke();
  const [x, y] = trail[trail.length - 1];
  context.beginPath();
  context.arc(view.left(x), view.top(y), 7, 0, 2 * Math.PI);
  context.fillStyle = ink;
  context.fill();
  context.strokeStyle = background; // stands out among points of any colour
  context.lineWidth = 2;
  context.stroke();
}

/**
 * @param {PointMap} map
 * @param {Context} context
 * @param {number} point
 * @param {string} text
 */
function drawMark(map, context, point, text) {
  const [left, top] = map.pixelOf(point);
  const radius = map.radiusOf(point) + 5;
  const ink = styleOf(map, "--ink");
  drawRing(context, left, top, radius, ink, 2);
  context.font = "bold 15px system-ui, sans-serif";
  context.textAlign = "center";
  context.lineWidth = 4;
  context.strokeStyle = styleOf(map, "--background");
  context.strokeText(text, left, top - radius - 5);
  context.fillStyle = ink;
  context.fillText(text, left, top - radius - 5);
}

/**
 * Draw the active point on top, with a ring; with two rings if it was reached by keyboard.
 * @param {PointMap} map
 * @param {Context} context
 * @param {number} point
 */
function drawActive(map, context, point) {
  const [left, top] = map.pixelOf(point);
  const radius = map.radiusOf(point);
  const { colours, markers } = map.appearance;
  const accent = styleOf(map, "--accent");
  context.save();
  context.translate(left, top);
  context.scale(radius, radius);
  context.fillStyle = `rgb(${colours[point].join(" ")})`;
  context.fill(new Path2D(MARKERS[markers[point]]));
  context.restore();
  drawRing(context, left, top, radius + 2.5, accent, map.isByKeyboard ? 3 : 2);
  if (map.isByKeyboard) drawRing(context, left, top, radius + 7, accent, 1.5);
}

/**
 * @param {Context} context
 * @param {number} left
 * @param {number} top
 * @param {number} radius
 * @param {string} colour
 * @param {number} width
 */
function drawRing(context, left, top, radius, colour, width) {
  context.beginPath();
  context.arc(left, top, radius, 0, 2 * Math.PI);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}

/**
 * Show the description of the active point next to it.
 * @param {PointMap} map
 */
export function placeTooltip(map) {
  const { tooltip, active, view } = map;
  const isShown = active !== null && Boolean(map.visible[active]);
  tooltip.hidden = !isShown;
  if (!isShown || active === null) return;
  const lines = map.callbacks.describe(active);
  if (tooltip.dataset.text !== lines.join("\n")) {
    tooltip.dataset.text = lines.join("\n");
    tooltip.replaceChildren(
      ...lines.map((line) => {
        const element = document.createElement("div");
        element.textContent = line;
        return element;
      }),
    );
  }
  const [left, top] = map.pixelOf(active);
  const { offsetWidth: width, offsetHeight: height } = tooltip;
  const isRoomRight = left + TOOLTIP_GAP_PX + width < view.width;
  const preferred = isRoomRight ? left + TOOLTIP_GAP_PX : left - TOOLTIP_GAP_PX - width;
  tooltip.style.left = `${Math.max(0, Math.min(preferred, view.width - width))}px`;
  const above = top - height - TOOLTIP_GAP_PX;
  tooltip.style.top = `${above < 0 ? top + TOOLTIP_GAP_PX : above}px`;
}
