// Keys of the page; sliders, the waveform and the map have keys of their own.

import { byId } from "./dom.js";

/** @typedef {import("./explorer.js").Explorer} Explorer */

/** @param {Explorer} explorer */
export function listenToKeys(explorer) {
  const { transport, kept, controls } = explorer;
  /** @type {Record<string, () => void>} */
  const keys = {
    " ": () => transport.toggle(),
    d: () => transport.switch(),
    v: () => transport.toggleLevel(),
    l: () => transport.toggleLoop(),
    b: () => transport.toggleBypass(),
    k: () => kept.keep(),
    r: () => controls.randomise(),
    "?": () => byId("help").click(),
  };
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(target)) return;
    if (event.key === " " && target.matches("button, summary, [role=application]")) return;
    const recalled = /^[1-9]$/.test(event.key) ? kept.list[Number(event.key) - 1] : null;
    const act = recalled ? () => explorer.recall(recalled) : keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/** @param {HTMLElement} target */
function isTyping(target) {
  return target.matches("input[type=text], input[type=search], select, textarea");
}
