// Load the latent map, and hear its points and what the model decodes between them.

import { byId } from "./dom.js";
import { Latest } from "./messages.js";

/** @typedef {import("./messages.js").Message} Message */
/** @typedef {import("./explorer.js").Explorer} Explorer */

/** The audio of the map. */
export class MapPoints {
  #requests = new Latest();
  /** @type {import("./parameters.js").Stage | null} effect and setting of the point that plays */
  stage = null;

  /** @param {Explorer} explorer */
  constructor(explorer) {
    this.explorer = explorer;
  }

  /** Adopt the effect and setting of the point that plays. */
  use() {
    if (this.stage) this.explorer.chooseEffect(this.stage.effect, this.stage.setting);
  }

  async load() {
    const { explorer } = this;
    const { server, map, opening } = explorer;
    if (!opening.run) {
      byId("map-message").textContent =
        "No run, so no map. Train a model with 'dafxtool train', or name one with --run.";
      return;
    }
    try {
      const take = (/** @type {Message} */ { content }) => {
        if (content.kind === "progress") map.showProgress(`${content.text} \u2026`, content.share);
        if (content.kind === "map") map.show(content.map, content.points);
      };
      await server.stream("map", {}, take, new AbortController().signal);
      explorer.place();
    } catch (error) {
      map.showProgress("");
      explorer.showError(error);
    }
  }

  /**
   * Hear a point of the map.
   * @param {number} point
   */
  playPoint(point) {
    const { map } = this.explorer;
    const [label, recording] = map.describe(point);
    this.#play("point", { point }, `${label} \u2013 ${recording}`, point);
  }

  /**
   * Decode an empty place of the map for the present segment.
   * @param {number} x
   * @param {number} y
   */
  playPlace(x, y) {
    const body = { ...this.explorer.scene, x, y };
    this.#play("decode", body, "what the model decodes there, on this segment", null);
  }

  /**
   * @param {string} path
   * @param {object} body
   * @param {string} title
   * @param {number | null} point to be marked
   */
  #play(path, body, title, point) {
    const { explorer } = this;
    this.#requests.run(async () => {
      document.body.classList.add("busy");
      try {
        const answer = await explorer.server.ask(path, body);
        if (!answer) return;
        const { effect, setting } = answer.content;
        this.stage = effect ? { effect, setting } : null;
        explorer.map.mark(point);
        explorer.hear(answer, title);
        byId("use").hidden = !this.stage;
        explorer.transport.play();
      } catch (error) {
        explorer.showError(error);
      } finally {
        document.body.classList.remove("busy");
      }
    });
  }
}
