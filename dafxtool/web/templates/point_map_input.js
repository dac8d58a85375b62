// Translate pointer, wheel and key events into actions of a point map.

import { centrePoint, neighbour, pointAt, pointsIn } from "./point_finding.js";

/** @typedef {import("./point_map.js").PointMap} PointMap */

const CLICK_MOVE_PX = 6; // a longer movement is a drag
const DOUBLE_CLICK_MS = 350;
const DOUBLE_CLICK_PX = 20;
const SCROLL_REST_MS = 250; // the wheel continues to scroll the page this long after a scroll
const WHEEL_LINE_PX = 16;
const KEY_ZOOM = 1.5;
/** @type {Record<string, [number, number]>} right and up */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** @typedef {{ left: number, top: number }} Position */

/**
 * Listen to the events of a map until the signal is aborted.
 * @param {PointMap} map
 * @param {AbortSignal} signal
 */
export function listen(map, signal) {
  const input = new MapInput(map);
  const { overlay } = map;
  overlay.addEventListener("pointerdown", (event) => input.press(event), { signal });
  overlay.addEventListener("pointermove", (event) => input.move(event), { signal });
  overlay.addEventListener("pointerup", (event) => input.release(event), { signal });
  overlay.addEventListener("pointercancel", (event) => input.cancel(event), { signal });
  overlay.addEventListener("pointerleave", () => input.leave(), { signal });
  overlay.addEventListener("wheel", (event) => input.wheel(event), { signal, passive: false });
  overlay.addEventListener("keydown", (event) => input.key(event), { signal });
  overlay.addEventListener("blur", () => map.isByKeyboard && map.setActive(null), { signal });
  window.addEventListener("scroll", () => input.scrolled(), { signal, passive: true });
}

class MapInput {
  /** @type {Map<number, Position>} of each pressed pointer */
  #pointers = new Map();
  /** @type {Position & { isDrag: boolean, isBox: boolean } | null} of the first press */
  #pressed = null;
  #lastClick = { time: -Infinity, left: 0, top: 0 };
  #lastScroll = -Infinity;

  /** @param {PointMap} map */
  constructor(map) {
    this.map = map;
  }

  /**
   * @param {MouseEvent} event
   * @returns {Position}
   */
  #positionOf(event) {
    const box = this.map.overlay.getBoundingClientRect();
    return { left: event.clientX - box.left, top: event.clientY - box.top };
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button > 0) return;
    const position = this.#positionOf(event);
    this.#pointers.set(event.pointerId, position);
    this.map.overlay.setPointerCapture(event.pointerId);
    const isFirst = this.#pointers.size === 1;
    const isBox = isFirst && event.shiftKey && event.pointerType === "mouse";
    this.#pressed = { ...position, isDrag: !isFirst, isBox };
  }

  /** @param {PointerEvent} event */
  move(event) {
    const { map } = this;
    const position = this.#positionOf(event);
    const before = this.#pointers.get(event.pointerId);
    const pressed = this.#pressed;
    if (!before || !pressed) {
      if (event.pointerType !== "touch") map.setActive(pointAt(map, position.left, position.top));
      return;
    }
    if (this.#pointers.size === 2) {
      this.#pinch(event.pointerId, before, position);
    } else {
      pressed.isDrag ||=
        Math.hypot(position.left - pressed.left, position.top - pressed.top) > CLICK_MOVE_PX;
      if (pressed.isDrag && pressed.isBox) map.setBox(this.#boxTo(position));
      else if (pressed.isDrag) map.pan(position.left - before.left, position.top - before.top);
      else return; // the next movement counts from the position of the press
    }
    this.#pointers.set(event.pointerId, position);
  }

  /**
   * Zoom by the change of distance between two fingers, and pan with their midpoint.
   * @param {number} pointer that moved
   * @param {Position} before
   * @param {Position} position
   */
  #pinch(pointer, before, position) {
    const other = [...this.#pointers].find(([id]) => id !== pointer)?.[1];
    if (!other) return;
    const distance = (/** @type {Position} */ each) =>
      Math.max(Math.hypot(each.left - other.left, each.top - other.top), 1);
    const left = (position.left + other.left) / 2;
    const top = (position.top + other.top) / 2;
    this.map.pan((position.left - before.left) / 2, (position.top - before.top) / 2);
    this.map.zoom(distance(position) / distance(before), left, top);
  }

  /** @param {PointerEvent} event */
  release(event) {
    if (!this.#pointers.has(event.pointerId)) return;
    const pressed = this.#pressed;
    const position = this.#positionOf(event);
    const box = this.#boxTo(position);
    const isLast = this.#pointers.size === 1;
    // After a pinch, the remaining finger pans and does not click.
    if (pressed && !isLast) pressed.isDrag = true;
    this.cancel(event);
    if (!pressed || !isLast) return;
    if (!pressed.isDrag) this.#click(position, event);
    else if (pressed.isBox) this.#endBox(box);
  }

  /** @param {PointerEvent} event */
  cancel(event) {
    this.#pointers.delete(event.pointerId);
    if (!this.#pointers.size) this.#pressed = null;
    if (this.map.box) this.map.setBox(null);
  }

  leave() {
    if (!this.#pointers.size && !this.map.isByKeyboard) this.map.setActive(null);
  }

  /** @param {Position} position */
  #boxTo(position) {
    const { left, top } = this.#pressed ?? position;
    return {
      left: Math.min(left, position.left),
      top: Math.min(top, position.top),
      right: Math.max(left, position.left),
      bottom: Math.max(top, position.top),
    };
  }

  /** @param {{ left: number, top: number, right: number, bottom: number }} box */
  #endBox(box) {
    const points = pointsIn(this.map, box);
    this.map.setFilter(points.length ? points : null);
    this.map.callbacks.onBox?.(points);
  }

  /**
   * @param {Position} position
   * @param {PointerEvent} event
   */
  #click({ left, top }, event) {
    const { map } = this;
    const last = this.#lastClick;
    const isNear = Math.hypot(left - last.left, top - last.top) < DOUBLE_CLICK_PX;
    const isDouble = isNear && event.timeStamp - last.time < DOUBLE_CLICK_MS;
    this.#lastClick = { time: isDouble ? -Infinity : event.timeStamp, left, top };
    if (isDouble) {
      map.reset();
      return;
    }
    const point = pointAt(map, left, top, event.pointerType === "touch");
    map.setActive(point);
    if (point === null) map.callbacks.onEmptyClick?.(...map.view.toPlane(left, top));
    else map.callbacks.onSelect?.(point, event.shiftKey);
  }

  scrolled() {
    this.#lastScroll = performance.now();
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    const isScrolling = performance.now() - this.#lastScroll < SCROLL_REST_MS;
    const isLeaving = this.map.view.isFitted && event.deltaY > 0;
    if (!event.ctrlKey && (isScrolling || isLeaving)) return;
    event.preventDefault();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : WHEEL_LINE_PX;
    const delta = Math.max(-100, Math.min(event.deltaY * unit, 100));
    const { left, top } = this.#positionOf(event);
    // Browsers report a pinch on a trackpad as a wheel with Ctrl, in smaller steps.
    this.map.zoom(Math.exp(-delta * (event.ctrlKey ? 0.01 : 0.003)), left, top);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { map } = this;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) this.#arrow(...ARROWS[event.key]);
    else if (event.key === "+" || event.key === "=") map.zoom(KEY_ZOOM);
    else if (event.key === "-") map.zoom(1 / KEY_ZOOM);
    else if (event.key === "0") map.reset();
    else if (event.key === "Escape") this.#endFilter();
    else if (event.key === "Enter" && map.active !== null)
      map.callbacks.onSelect?.(map.active, event.shiftKey);
    else return;
    event.preventDefault();
  }

  #endFilter() {
    this.map.setFilter(null);
    this.map.callbacks.onBox?.([]);
  }

  /**
   * @param {number} right
   * @param {number} up
   */
  #arrow(right, up) {
    const { map } = this;
    const next = map.active === null ? centrePoint(map) : neighbour(map, map.active, right, up);
    if (next !== null) map.focusPoint(next);
  }
}
