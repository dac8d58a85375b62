// Controls of a point map: menu of colourings, search, zoom buttons, legend to hide categories.

import { search } from "./point_finding.js";
import { MARKERS } from "./point_painter.js";

/** @typedef {import("./point_map.js").PointMap} PointMap */
/** @typedef {import("./point_map.js").Category} Category */

const SVG = "http://www.w3.org/2000/svg";
const ZOOM_STEP = 1.6;

/**
 * Create an element with properties and children.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]>} properties
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, properties = {}, ...children) {
  const result = Object.assign(document.createElement(tag), properties);
  result.append(...children);
  return result;
}

/** Controls of a map in an element; update() shows the state of the map. */
export class PointMapControls {
  #query = "";
  /** @type {number[]} */
  #matches = [];

  /**
   * @param {HTMLElement} container
   * @param {PointMap} map
   */
  constructor(container, map) {
    this.map = map;
    container.classList.add("point-map-controls");
    this.menu = element("select", { className: "point-map-menu" });
    this.field = element("input", {
      type: "search",
      className: "point-map-search",
      placeholder: "effect, setting, recording",
    });
    this.status = element("span", { className: "point-map-status", role: "status" });
    this.everything = this.#button("show all", "Show all points", () => map.showAll());
    this.everything.classList.add("point-map-everything");
    this.legend = element("div", { className: "point-map-legend", role: "group" });
    const zoom = element("span", { className: "point-map-zoom" });
    zoom.append(
      this.#button("+", "Zoom in", () => map.zoom(ZOOM_STEP)),
      this.#button("\u2212", "Zoom out", () => map.zoom(1 / ZOOM_STEP)),
      this.#button("reset", "Show all of the map", () => map.reset()),
    );
    const row = element("div", { className: "point-map-row" });
    row.append(
      element("label", {}, "Colour ", this.menu),
      element("label", {}, "Search ", this.field),
      zoom,
      this.status,
      this.everything,
    );
    container.replaceChildren(row, this.legend);
    this.menu.addEventListener("change", () => map.setColouring(this.menu.selectedIndex));
    this.field.addEventListener("input", () => this.#search());
    this.field.addEventListener("keydown", (event) => this.#searchKey(event));
    window
      .matchMedia("(prefers-color-scheme: dark)")
      .addEventListener("change", () => this.#fillLegend());
    this.update();
  }

  /** Update the controls to the state of the map. */
  update() {
    const { data, colouring, visible, isFiltered, found } = this.map;
    const names = data.colourings.map(({ name }) => name);
    if ([...this.menu.options].map(({ text }) => text).join("\n") !== names.join("\n"))
      this.menu.replaceChildren(...names.map((name) => element("option", {}, name)));
    this.menu.selectedIndex = colouring;
    this.#fillLegend();
    const nHidden = visible.length - visible.reduce((sum, each) => sum + each, 0);
    const nFound = found.reduce((sum, each, point) => sum + (each && visible[point]), 0);
    const texts = [
      ...(isFiltered ? [`${nFound} of ${visible.length} found`] : []),
      ...(nHidden ? [`${nHidden} hidden`] : []),
    ];
    this.status.textContent = texts.join(", ");
    this.everything.hidden = !nHidden;
  }

  /**
   * @param {string} text
   * @param {string} label
   * @param {() => void} act
   */
  #button(text, label, act) {
    const button = element("button", { type: "button", title: label }, text);
    button.setAttribute("aria-label", label);
    button.addEventListener("click", act);
    return button;
  }

  #search() {
    this.#query = this.field.value.trim();
    this.#matches = this.#query ? search(this.map, this.#query) : [];
    this.map.setFilter(this.#query ? this.#matches : null);
  }

  /** @param {KeyboardEvent} event */
  #searchKey(event) {
    if (event.key === "Enter" && this.#matches.length) {
      // Each further Enter moves to the next match.
      const current = this.#matches.indexOf(this.map.active ?? -1);
      this.map.focusPoint(this.#matches[(current + 1) % this.#matches.length]);
    } else if (event.key === "Escape") {
      this.field.value = "";
      this.#search();
    } else return;
    event.preventDefault();
  }

  // --- the legend -----------------------------------------------------------------------------

  #fillLegend() {
    const { data, colouring } = this.map;
    const current = data.colourings[colouring];
    const shown = current.categories ? colouring : 0;
    const { categories = [], values } = data.colourings[shown];
    this.legend.setAttribute("aria-label", `Show and hide: ${data.colourings[shown].name}`);
    const counts = new Map();
    for (const value of Array.from(values)) counts.set(value, (counts.get(value) ?? 0) + 1);
    const items = categories.flatMap((category, index) =>
      counts.has(index) ? [this.#item(category, index, shown, counts.get(index))] : [],
    );
    const focused = [...this.legend.querySelectorAll("button")].findIndex(
      (each) => each === document.activeElement,
    );
    this.legend.replaceChildren(...(current.categories ? [] : [this.#colourBar()]), ...items);
    if (focused >= 0) this.legend.querySelectorAll("button")[focused]?.focus();
  }

  /**
   * @param {Category} category
   * @param {number} index
   * @param {number} colouring
   * @param {number} count
   */
  #item(category, index, colouring, count) {
    const isHidden = this.map.hidden[colouring].has(index);
    const isColoured = colouring === this.map.colouring;
    const icon = document.createElementNS(SVG, "svg");
    const path = document.createElementNS(SVG, "path");
    icon.setAttribute("viewBox", "-1.4 -1.4 2.8 2.8");
    icon.setAttribute("aria-hidden", "true");
    path.setAttribute("d", MARKERS[category.marker]);
    path.setAttribute("fill", isColoured ? this.map.colourOf(category) : "currentColor");
    icon.append(path);
    const button = element("button", { type: "button", className: "point-map-category" });
    button.append(icon, `${category.name} (${count})`);
    button.setAttribute("aria-pressed", String(!isHidden));
    button.title = isHidden ? "Show" : "Hide";
    button.addEventListener("click", () => this.map.setHidden(colouring, index, !isHidden));
    return button;
  }

  #colourBar() {
    const { data, colouring } = this.map;
    const bar = element("div", { className: "point-map-bar" });
    const strip = element("div", { className: "point-map-strip" });
    strip.style.background = `linear-gradient(to right, ${this.map.valueColours.join(", ")})`;
    const ticks = element("div", { className: "point-map-ticks" });
    for (const [value, text] of data.colourings[colouring].ticks ?? []) {
      const tick = element("span", {}, text);
      tick.style.left = `${100 * value}%`;
      if (value <= 0.1) tick.style.transform = "none";
      if (value >= 0.9) tick.style.transform = "translateX(-100%)";
      ticks.append(tick);
    }
    bar.append(strip, ticks);
    return bar;
  }
}
