// Move a parameter from end to end and back while its name is held.

import { fromNormalised } from "./parameters.js";

/** @typedef {import("./parameters.js").Parameter} Parameter */
/** @typedef {import("./explorer.js").Explorer} Explorer */

const N_STEPS = 13; // from end to end
const STEP_MS = 320;

/** Move a control like a user does; each step is rendered, played and placed on the map. */
export class Sweep {
  isRunning = false;

  /** @param {Explorer} explorer */
  constructor(explorer) {
    this.explorer = explorer;
  }

  /** @param {Parameter} parameter */
  async start(parameter) {
    const { controls, map, transport } = this.explorer;
    const { name } = parameter;
    const before = controls.setting[name];
    const values = sweepValues(parameter);
    this.isRunning = true;
    map.startTrail();
    transport.play();
    for (let i = 0; this.isRunning; i = (i + 1) % values.length) {
      controls.set({ [name]: values[i] });
      await new Promise((resolve) => setTimeout(resolve, STEP_MS));
    }
    controls.set({ [name]: before });
  }

  stop() {
    this.isRunning = false;
  }
}

/**
 * Return the values of one sweep, there and back.
 * @param {Parameter} parameter
 * @returns {number[]}
 */
export function sweepValues(parameter) {
  const [low, high] = parameter.usualEnds;
  const n = parameter.choices.length || N_STEPS;
  const there = Array.from({ length: n }, (_, i) =>
    parameter.choices.length ? i : fromNormalised(parameter, low + ((high - low) * i) / (n - 1)),
  );
  return [...there, ...there.slice(1, -1).reverse()];
}
