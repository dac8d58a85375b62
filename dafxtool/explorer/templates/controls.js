// The controls of an effect: a slider and a typed value for each parameter.

import { build, byId, selectById } from "./dom.js";
import {
  completeSetting,
  fromNormalised,
  inSeries,
  parseValue,
  randomSetting,
  shortName,
  stagesOf,
  toNormalised,
  valueText,
} from "./parameters.js";

/** @typedef {import("./parameters.js").Effect} Effect */
/** @typedef {import("./parameters.js").Parameter} Parameter */
/** @typedef {import("./parameters.js").Setting} Setting */

const STEPS = 1000; // of a slider
const HOLD_MS = 250; // a shorter press is a click

/**
 * @typedef {object} ControlCallbacks
 * @property {() => void} onChange a value has changed
 * @property {(name: string, setting?: Setting) => void} onEffect another effect was chosen
 * @property {(parameter: Parameter) => void} onSweep a parameter's name is held
 * @property {() => void} onSweepEnd
 */

/** Shows an effect's parameters and keeps its setting. */
export class EffectControls {
  /** @type {Effect} */
  effect = { name: "", summary: "", isPlugin: false, stages: [], parameters: [] };
  /** @type {Setting} */
  setting = {};
  /** @type {Map<string, { slider: HTMLInputElement | null, field: HTMLInputElement | HTMLSelectElement }>} */
  #fields = new Map();

  /**
   * @param {Effect[]} effects that are built in
   * @param {string[]} plugins names of effects that are described when they are chosen
   * @param {ControlCallbacks} callbacks
   */
  constructor(effects, plugins, callbacks) {
    /** @type {Map<string, Effect>} effects that were described, chains too */
    this.effects = new Map(effects.map((each) => [each.name, each]));
    this.callbacks = callbacks;
    const names = { "Built-in": effects.map((each) => each.name), Plugins: plugins };
    const select = selectById("effect");
    const next = selectById("then");
    for (const [label, members] of Object.entries(names)) {
      if (!members.length) continue;
      for (const each of [select, next]) {
        const options = members.map((name) => build("option", { value: name }, name));
        each.append(build("optgroup", { label }, ...options));
      }
    }
    select.addEventListener("change", () => callbacks.onEffect(select.value));
    next.addEventListener("change", () => {
      this.#setStages([...this.stages, { effect: next.value, setting: {} }]);
      next.value = "";
    });
    byId("remove-stage").addEventListener("click", () => this.#setStages(this.stages.slice(0, -1)));
    byId("reset").addEventListener("click", () => this.reset());
    byId("randomise").addEventListener("click", () => this.randomise());
  }

  /**
   * Show an effect at a setting.
   * @param {Effect} effect
   * @param {Setting} setting
   */
  show(effect, setting = {}) {
    const isSame = effect === this.effect;
    this.effect = effect;
    this.setting = completeSetting(effect, setting);
    const select = selectById("effect");
    document.getElementById("chain")?.remove();
    if (effect.stages.length) {
      const option = build("option", { value: effect.name }, effect.name);
      select.append(build("optgroup", { label: "Chain", id: "chain" }, option));
    }
    select.value = effect.name;
    byId("remove-stage").hidden = effect.stages.length < 2;
    byId("effect-summary").textContent = effect.summary;
    if (!isSame) this.#build();
    this.#update();
  }

  /** @param {Setting} setting some or all values */
  set(setting) {
    this.setting = completeSetting(this.effect, { ...this.setting, ...setting });
    this.#update();
    this.callbacks.onChange();
  }

  reset() {
    this.set(completeSetting(this.effect));
  }

  randomise() {
    this.set(randomSetting(this.effect));
  }

  /** The effects in series, with their settings. */
  get stages() {
    return stagesOf(this.effect, this.setting);
  }

  /** @param {import("./parameters.js").Stage[]} stages */
  #setStages(stages) {
    const { effect, setting } = inSeries(stages);
    this.callbacks.onEffect(effect, setting);
  }

  #build() {
    this.#fields.clear();
    /** @type {HTMLElement[]} */
    const rows = [];
    let stage = "";
    for (const each of this.effect.parameters) {
      const own = this.effect.stages.length ? each.name.split(".")[0] : "";
      if (own !== stage) rows.push(build("h3", { class: "stage" }, own));
      stage = own;
      rows.push(this.#row(each));
    }
    const none = build("p", { class: "quiet" }, "This effect has no parameters.");
    byId("parameters").replaceChildren(...(rows.length ? rows : [none]));
  }

  /** @param {Parameter} parameter */
  #row(parameter) {
    const { name, choices, description } = parameter;
    const title = `${description ? `${description}. ` : ""}${parameter.rangeText}. Hold to sweep.`;
    const label = build("button", { type: "button", class: "sweep", title }, shortName(parameter));
    this.#listenToHold(label, parameter);
    const row = build("div", { class: "parameter", "data-parameter": name });
    if (choices.length) {
      const options = choices.map((each, index) => build("option", { value: index }, each));
      const field = /** @type {HTMLSelectElement} */ (
        build("select", { "aria-label": name }, ...options)
      );
      field.addEventListener("change", () => this.set({ [name]: Number(field.value) }));
      this.#fields.set(name, { slider: null, field });
      row.append(label, field);
      return row;
    }
    const slider = /** @type {HTMLInputElement} */ (
      build("input", { type: "range", min: 0, max: STEPS, step: 1, "aria-label": name })
    );
    slider.addEventListener("input", () => {
      this.set({ [name]: fromNormalised(parameter, Number(slider.value) / STEPS) });
    });
    slider.addEventListener("dblclick", () => this.set({ [name]: parameter.default }));
    const field = /** @type {HTMLInputElement} */ (
      build("input", { type: "text", "aria-label": `${name}, value`, inputmode: "text" })
    );
    field.autocomplete = "off";
    field.spellcheck = false;
    field.addEventListener("change", () => this.#typed(parameter, field));
    field.addEventListener("focus", () => field.select());
    this.#fields.set(name, { slider, field });
    row.append(label, field, slider);
    return row;
  }

  /**
   * @param {Parameter} parameter
   * @param {HTMLInputElement} field
   */
  #typed(parameter, field) {
    const value = parseValue(parameter, field.value);
    field.setAttribute("aria-invalid", String(value === null));
    field.title = value === null ? `Expected ${parameter.rangeText}.` : "";
    if (value !== null) this.set({ [parameter.name]: value });
  }

  /**
   * @param {HTMLElement} label
   * @param {Parameter} parameter
   */
  #listenToHold(label, parameter) {
    let timer = 0;
    let isSweeping = false;
    const begin = () => {
      isSweeping = true;
      label.classList.add("held");
      this.callbacks.onSweep(parameter);
    };
    const end = () => {
      clearTimeout(timer);
      label.classList.remove("held");
      if (isSweeping) this.callbacks.onSweepEnd();
      isSweeping = false;
    };
    label.addEventListener("pointerdown", (event) => {
      label.setPointerCapture(event.pointerId);
      timer = window.setTimeout(begin, HOLD_MS);
    });
    for (const name of ["pointerup", "pointercancel", "blur"]) label.addEventListener(name, end);
    label.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
    label.addEventListener("keydown", (event) => {
      if (![" ", "Enter"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      if (!event.repeat && !isSweeping) begin();
    });
    label.addEventListener("keyup", (event) => [" ", "Enter"].includes(event.key) && end());
  }

  #update() {
    for (const parameter of this.effect.parameters) {
      const fields = this.#fields.get(parameter.name);
      if (!fields) continue;
      const value = this.setting[parameter.name];
      const { slider, field } = fields;
      if (!slider) {
        field.value = String(Math.round(value));
        continue;
      }
      const text = valueText(parameter, value);
      const at = toNormalised(parameter, value);
      slider.value = String(Math.round(STEPS * at));
      slider.style.setProperty("--at", `${100 * at}%`);
      slider.setAttribute("aria-valuetext", text);
      field.value = text;
      field.removeAttribute("aria-invalid");
    }
  }
}
