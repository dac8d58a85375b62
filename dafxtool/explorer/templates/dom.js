// Build and find elements, without HTML in strings.

/**
 * Build an element. Properties are set as attributes; functions listen to an event.
 * @param {string} tag
 * @param {Record<string, string | number | boolean | ((event: any) => void)>} properties
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function build(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * Return the element of an ID.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element ${id}`);
  return element;
}

/**
 * @param {string} id
 * @returns {HTMLInputElement}
 */
export const inputById = (id) => /** @type {HTMLInputElement} */ (byId(id));

/**
 * @param {string} id
 * @returns {HTMLSelectElement}
 */
export const selectById = (id) => /** @type {HTMLSelectElement} */ (byId(id));

/**
 * @param {string} id
 * @returns {HTMLCanvasElement}
 */
export const canvasById = (id) => /** @type {HTMLCanvasElement} */ (byId(id));

/**
 * Show whether a button is pressed.
 * @param {HTMLElement} button
 * @param {boolean} isPressed
 */
export function press(button, isPressed) {
  button.setAttribute("aria-pressed", String(isPressed));
}

/**
 * Let the user save a file.
 * @param {Blob} content
 * @param {string} name
 */
export function save(content, name) {
  const address = URL.createObjectURL(content);
  const link = build("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/**
 * Give a canvas as many pixels as it covers on the screen, and return its context in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @returns {{ context: CanvasRenderingContext2D, width: number, height: number }}
 */
export function sharpen(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = window.devicePixelRatio || 1;
  const [columns, rows] = [Math.max(1, Math.round(width * ratio)), Math.round(height * ratio)];
  if (canvas.width !== columns) canvas.width = columns;
  if (canvas.height !== rows) canvas.height = Math.max(1, rows);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/**
 * Return a colour of the style sheet.
 * @param {string} name such as "--ink"
 */
export function themeColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
