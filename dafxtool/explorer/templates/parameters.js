// Parameters of effects: normalised values from 0 to 1, and values as text (effects/parameter.py).

/**
 * @typedef {object} Parameter
 * @property {string} name
 * @property {string} unit
 * @property {number} minimum
 * @property {number} maximum
 * @property {number} default
 * @property {"linear" | "logarithmic" | "tabulated"} scale
 * @property {string} description
 * @property {string[]} choices
 * @property {number[]} positions
 * @property {number[]} values
 * @property {[number, number]} usualEnds normalised values of sweeps and random settings
 * @property {string} rangeText
 */
/**
 * @typedef {object} Effect
 * @property {string} name
 * @property {string} summary
 * @property {boolean} isPlugin
 * @property {string[]} stages labels of a chain's effects, such as overdrive and delay2; else empty
 * @property {Parameter[]} parameters those of a chain have the stage before their name: "delay2.time"
 */
/** @typedef {Record<string, number>} Setting */
/** @typedef {{ effect: string, setting: Setting }} Stage */

/** @type {Record<string, string>} */
const LARGER_UNITS = { Hz: "kHz", ms: "s" };

/**
 * Interpolate linearly in a table whose x rises or falls.
 * @param {number} x
 * @param {number[]} xs
 * @param {number[]} ys
 */
function tableValue(x, xs, ys) {
  if (xs[0] > xs[xs.length - 1]) [xs, ys] = [[...xs].reverse(), [...ys].reverse()];
  if (x <= xs[0]) return ys[0];
  for (let i = 1; i < xs.length; i++) {
    if (x <= xs[i]) return ys[i - 1] + ((x - xs[i - 1]) / (xs[i] - xs[i - 1])) * (ys[i] - ys[i - 1]);
  }
  return ys[ys.length - 1];
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** @param {Parameter} parameter */
function choicePositions({ choices, positions }) {
  return positions.length ? positions : choices.map((_, i) => i / Math.max(choices.length - 1, 1));
}

/**
 * Return the value of a normalised value.
 * @param {Parameter} parameter
 * @param {number} normalised
 */
export function fromNormalised(parameter, normalised) {
  const at = clamp(normalised, 0, 1);
  const { minimum, maximum, scale, positions, values, choices } = parameter;
  if (choices.length) {
    const distances = choicePositions(parameter).map((each) => Math.abs(each - at));
    return distances.indexOf(Math.min(...distances));
  }
  let value = minimum + (maximum - minimum) * at;
  if (scale === "logarithmic") value = minimum * (maximum / minimum) ** at;
  if (scale === "tabulated") value = tableValue(at, positions, values);
  return clamp(Math.fround(value), minimum, maximum);
}

/**
 * Return the normalised value of a value.
 * @param {Parameter} parameter
 * @param {number} value
 */
export function toNormalised(parameter, value) {
  const { minimum, maximum, scale, positions, values, choices } = parameter;
  if (choices.length) return choicePositions(parameter)[Math.round(value)] ?? 0;
  if (maximum === minimum) return 0;
  if (scale === "logarithmic") return Math.log(value / minimum) / Math.log(maximum / minimum);
  if (scale === "tabulated") return tableValue(value, values, positions);
  return (value - minimum) / (maximum - minimum);
}

/**
 * Format a value with its unit, to three digits: "3.2 kHz", "−6 dB", "45 %".
 * @param {Parameter} parameter
 * @param {number} value
 */
export function valueText(parameter, value) {
  if (parameter.choices.length) return parameter.choices[Math.round(value)];
  let { unit } = parameter;
  if (Math.abs(value) < 1e-6 * (parameter.maximum - parameter.minimum)) value = 0;
  if (Math.abs(value) >= 1000 && LARGER_UNITS[unit]) [value, unit] = [value / 1000, LARGER_UNITS[unit]];
  const digits = Number(value.toPrecision(3));
  const number = String(digits).replace("-", "\u2212");
  return unit.startsWith(":") ? number + unit : `${number}\u00a0${unit}`.trim();
}

/**
 * Read a typed value: "12.5", "3.2 kHz", "−6 dB"; null if it is no value of the parameter.
 * @param {Parameter} parameter
 * @param {string} text
 * @returns {number | null} within the range
 */
export function parseValue(parameter, text) {
  const typed = text.replace("\u2212", "-").replace(/\s/g, "").replace(",", ".");
  const match = /^([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(.*)$/i.exec(typed);
  if (!match) return null;
  const unit = match[2].toLowerCase();
  const own = parameter.unit.toLowerCase();
  const larger = LARGER_UNITS[parameter.unit]?.toLowerCase();
  let factor = unit === "" || unit === own ? 1 : null;
  if (larger && (unit === larger || (unit === "k" && larger === "khz"))) factor = 1000;
  if (factor === null) return null;
  const value = Math.fround(Number(match[1]) * factor);
  return clamp(value, parameter.minimum, parameter.maximum);
}

/**
 * Return a complete setting: given values within their ranges, defaults for the others.
 * @param {Effect} effect
 * @param {Setting} given
 * @returns {Setting}
 */
export function completeSetting(effect, given = {}) {
  return Object.fromEntries(
    effect.parameters.map((each) => {
      const value = given[each.name] ?? each.default;
      return [each.name, clamp(value, each.minimum, each.maximum)];
    }),
  );
}

/**
 * Return a random setting, even in normalised values within the usual ends.
 * @param {Effect} effect
 * @returns {Setting}
 */
export function randomSetting(effect) {
  return Object.fromEntries(
    effect.parameters.map((each) => {
      const [low, high] = each.usualEnds;
      const at = each.choices.length ? Math.random() : low + (high - low) * Math.random();
      return [each.name, fromNormalised(each, at)];
    }),
  );
}

/**
 * Return a parameter's name without the stage of a chain.
 * @param {Parameter} parameter
 */
export function shortName({ name }) {
  return name.slice(name.indexOf(".") + 1);
}

/**
 * Put stages in series: the name of the chain and its setting.
 * @param {Stage[]} stages
 * @returns {Stage}
 */
export function inSeries(stages) {
  if (stages.length === 1) return stages[0];
  /** @type {Setting} */
  const setting = {};
  /** @type {Set<string>} */
  const labels = new Set();
  for (const { effect, setting: part } of stages) {
    let label = effect;
    for (let number = 2; labels.has(label); number++) label = `${effect}${number}`;
    labels.add(label);
    for (const [name, value] of Object.entries(part)) setting[`${label}.${name}`] = value;
  }
  return { effect: stages.map((each) => each.effect).join(" > "), setting };
}

/**
 * Divide an effect into its stages; a single effect is one.
 * @param {Effect} effect
 * @param {Setting} setting
 * @returns {Stage[]}
 */
export function stagesOf(effect, setting) {
  if (!effect.stages.length) return [{ effect: effect.name, setting }];
  const names = effect.name.split(" > ");
  return effect.stages.map((label, index) => {
    const own = Object.entries(setting).filter(([name]) => name.startsWith(`${label}.`));
    const part = own.map(([name, value]) => [name.slice(label.length + 1), value]);
    return { effect: names[index], setting: Object.fromEntries(part) };
  });
}

/**
 * Format a setting in a few words: "350 ms, feedback 40 %".
 * @param {Effect} effect
 * @param {Setting} setting
 * @param {number} most parameters, those farthest from their defaults
 */
export function settingText(effect, setting, most = 3) {
  const moved = (/** @type {Parameter} */ each) =>
    Math.abs(toNormalised(each, setting[each.name]) - toNormalised(each, each.default));
  const shown = [...effect.parameters].sort((a, b) => moved(b) - moved(a)).slice(0, most);
  return effect.parameters
    .filter((each) => shown.includes(each))
    .map((each) => `${shortName(each)}\u00a0${valueText(each, setting[each.name])}`)
    .join(", ");
}
