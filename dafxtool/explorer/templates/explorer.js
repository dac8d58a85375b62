// The explorer: an effect on a segment, played, drawn and placed on the latent map after each change.

import { EffectControls } from "./controls.js";
import { build, byId } from "./dom.js";
import { ExportPanel } from "./export_panel.js";
import { Spectrograms } from "./images.js";
import { listenToKeys } from "./keyboard.js";
import { KeptSettings, stepsAround } from "./kept.js";
import { MapPanel } from "./map_panel.js";
import { MapPoints } from "./map_points.js";
import { MatchPanel } from "./match_panel.js";
import { Latest, ServerError } from "./messages.js";
import { completeSetting, inSeries, settingText } from "./parameters.js";
import { RecordingList } from "./recordings.js";
import { readSessionFile, remember } from "./session.js";
import { Sweep } from "./sweep.js";
import { Transport } from "./transport.js";
import { Waveform } from "./waveform.js";

/** @typedef {import("./messages.js").Message} Message */
/** @typedef {import("./messages.js").Server} Server */
/** @typedef {import("./parameters.js").Effect} Effect */
/** @typedef {import("./waveform.js").Recording} Recording */
/** @typedef {import("./waveform.js").Outlined} Outlined */
/** @typedef {import("./kept.js").Kept} Kept */
/** @typedef {import("./kept.js").Scene} Scene */
/** @typedef {import("./kept.js").Step} Step */
/** @typedef {import("./parameters.js").Stage} Stage */
/** @typedef {import("./session.js").State} State */
/**
 * @typedef {object} Opening
 * @property {string} version
 * @property {number} sampleRate
 * @property {number} nSamples
 * @property {import("./images.js").ImageStyle} style
 * @property {Effect[]} effects
 * @property {string[]} plugins names of effects of plugins
 * @property {Recording[]} recordings
 * @property {{ name: string, effects: string[] } | null} run
 * @property {Partial<Scene>} first
 */

const DEFAULT_EFFECT = "delay";
const BUSY_MS = 200; // a longer answer is shown as work in progress
const SLOW_MS = 3000; // a longer one is named

/** The page. */
export class Explorer {
  /** @type {Outlined | null} */
  recording = null;
  /** @type {Message | null} the answer to the present setting */
  answer = null;
  /** measured from the change to the swap, for tests and benchmarks */
  lastAnswerMs = 0;
  nRequests = 0;
  #renders = new Latest();
  #places = new Latest();
  #sweep = new Sweep(this);
  #choices = 0; // of an effect
  points = new MapPoints(this);

  /**
   * @param {Server} server
   * @param {Opening} opening
   */
  constructor(server, opening) {
    this.server = server;
    this.opening = opening;
    const { sampleRate, nSamples } = opening;
    this.transport = new Transport(sampleRate, () => this.remember());
    this.spectrograms = new Spectrograms(opening.style, (share) => {
      const { player } = this.transport;
      player.seek(share * player.seconds);
    });
    this.waveform = new Waveform(nSamples, sampleRate, () => this.changed());
    this.recordings = new RecordingList(opening.recordings, {
      onChoose: (key) => this.openRecording(key),
      onFile: (name, content) => this.takeFile(name, content),
      onError: (error) => this.showError(error),
    });
    this.controls = new EffectControls(opening.effects, opening.plugins, {
      onChange: () => this.changed(),
      onEffect: (name, setting) => this.chooseEffect(name, setting),
      onSweep: (parameter) => this.#sweep.start(parameter),
      onSweepEnd: () => this.#sweep.stop(),
    });
    this.map = new MapPanel({
      onPoint: (point) => this.points.playPoint(point),
      onPlace: (x, y) => this.points.playPlace(x, y),
    });
    this.kept = new KeptSettings(Boolean(opening.run), {
      current: () => this.#currentKept(),
      onRecall: (kept) => this.recall(kept),
      onListChange: () => this.remember(),
      request: (body, take, signal) => this.server.stream("between", body, take, signal),
      sheet: (body) => this.server.file("between-sheet", body),
      onMove: (steps, position, last) => this.playBetween(steps, position, last),
      onPath: (locations) => this.map.showPath(locations),
      onError: (error) => this.showError(error),
    });
    this.match = new MatchPanel({
      upload: async (file) => this.#upload(file.name, file, false),
      request: (body, take, signal) => this.server.stream("match", body, take, signal),
      current: () => ({ recording: this.recording?.key ?? "", effect: this.controls.effect.name }),
      onBest: (stages) => this.adopt(stages),
      onError: (error) => this.showError(error),
    });
    this.exports = new ExportPanel(server, {
      scene: () => this.scene,
      state: () => this.state,
      recordings: () => this.recordings.list,
      onSession: (name, content) => this.takeFile(name, content),
      onError: (error) => this.showError(error),
    });
    this.#listen();
    requestAnimationFrame(() => this.#showPosition());
  }

  // --- state ------------------------------------------------------------------------------------

  /** @returns {Scene} */
  get scene() {
    return {
      recording: this.recording?.key ?? "",
      start: this.waveform.start,
      effect: this.controls.effect.name,
      setting: { ...this.controls.setting },
    };
  }

  /** @returns {State} */
  get state() {
    const { isLevelMatched, isBypassed, heard } = this.transport;
    const kept = this.kept.list.map(({ description: _, ...rest }) => rest);
    const { isLooping } = this.transport.player;
    return { scene: this.scene, kept, isLevelMatched, isLooping, isBypassed, heard };
  }

  remember() {
    if (this.recording) remember(this.server.session, this.state);
  }

  /** @param {State} state */
  async restore(state) {
    const { transport } = this;
    transport.isLevelMatched = Boolean(state.isLevelMatched);
    transport.isBypassed = Boolean(state.isBypassed);
    transport.heard = state.heard === "dry" ? "dry" : "wet";
    transport.player.setLoop(Boolean(state.isLooping));
    /** @type {Kept[]} */
    const kept = [];
    for (const each of state.kept ?? []) {
      const description = await this.describe(each.effect);
      if (description) kept.push({ ...each, description });
    }
    await this.openScene(state.scene);
    this.kept.restore(kept);
    transport.show();
  }

  /**
   * Return an effect's description, from the server for a chain.
   * @param {string} name
   * @returns {Promise<Effect | null>}
   */
  async describe(name) {
    const known = this.controls.effects.get(name);
    if (known) return known;
    try {
      const answer = await this.server.ask("effect", { effect: name });
      if (!answer) return null;
      this.controls.effects.set(name, answer.content.effect);
      return answer.content.effect;
    } catch (error) {
      this.showError(error);
      return null;
    }
  }

  /** @param {Partial<Scene>} scene */
  async openScene(scene) {
    const effect = await this.describe(scene.effect ?? DEFAULT_EFFECT);
    this.controls.show(effect ?? this.opening.effects[0], scene.setting);
    const known = this.recordings.list.some((each) => each.key === scene.recording);
    const key = known ? scene.recording : this.recordings.list[0].key;
    await this.openRecording(/** @type {string} */ (key), known || !scene.recording ? scene.start : undefined);
  }

  /**
   * @param {string} key
   * @param {number} [start] samples; by default the loudest segment
   */
  async openRecording(key, start) {
    try {
      if (this.recording?.key !== key) {
        const answer = await this.server.ask("recording", { recording: key });
        if (!answer) return;
        this.#show(answer);
      }
      const { recording } = this;
      if (!recording) return;
      this.recordings.select(key);
      this.waveform.show(recording, start ?? recording.loudestStart);
      this.map.startTrail();
      this.changed();
    } catch (error) {
      this.showError(error);
    }
  }

  /** @param {Message} answer */
  #show({ content, arrays }) {
    const outline = /** @type {Float32Array} */ (arrays.outline.values);
    this.recording = { ...content, outline };
  }

  /**
   * @param {string} name
   * @param {Blob} content
   * @param {boolean} isOpened
   * @returns {Promise<Recording>}
   */
  async #upload(name, content, isOpened) {
    const answer = await this.server.upload(name, content);
    const recording = /** @type {Recording} */ (answer.content);
    this.recordings.add(recording);
    if (isOpened) {
      this.#show(answer);
      await this.openRecording(recording.key);
    }
    return recording;
  }

  /**
   * Open a file that was dropped or chosen: a recording or a session.
   * @param {string} name
   * @param {Blob} content
   */
  async takeFile(name, content) {
    try {
      if (/\.json$/i.test(name)) await this.#openSession(content);
      else await this.#upload(name, content, true);
    } catch (error) {
      this.showError(error);
    }
  }

  /** @param {Blob} file */
  async #openSession(file) {
    const { state, recordings } = await readSessionFile(file);
    for (const { name, content } of recordings) await this.#upload(name, content, false);
    await this.restore(state);
  }

  // --- rendering --------------------------------------------------------------------------------

  /**
   * @param {string} name of an effect or a chain
   * @param {import("./parameters.js").Setting} [setting] by default that of the defaults
   */
  async chooseEffect(name, setting) {
    const number = ++this.#choices;
    const message = setTimeout(() => this.#say(`loading ${name} \u2026`), SLOW_MS);
    const effect = await this.describe(name);
    clearTimeout(message);
    this.#say("");
    if (number !== this.#choices) return; // another effect was chosen while a plugin was loading
    this.controls.show(effect ?? this.controls.effect, effect ? setting : this.controls.setting);
    if (!effect) return;
    this.map.startTrail();
    this.changed();
  }

  /** Render and place the present setting, after a change. */
  changed() {
    this.remember();
    if (!this.recording) return;
    const time = performance.now();
    this.#renders.run((isCurrent) => this.#render(time, isCurrent));
    byId("segment-text").textContent = this.waveform.text;
  }

  /**
   * @param {number} time of the change
   * @param {() => boolean} isCurrent
   */
  async #render(time, isCurrent) {
    const busy = setTimeout(() => document.body.classList.add("busy"), BUSY_MS);
    const { name } = this.controls.effect;
    const slow = setTimeout(() => this.#say(`${name} is still working \u2026`), SLOW_MS);
    try {
      this.nRequests += 1;
      const { scene } = this;
      const answer = await this.server.ask("render", scene);
      if (!answer || !isCurrent()) return;
      this.showError(null);
      this.answer = answer;
      this.hear(answer, "");
      this.lastAnswerMs = performance.now() - time;
      byId("effect-line").textContent = answer.content.line;
      byId("command-line").textContent = answer.content.command;
      this.place();
    } catch (error) {
      if (isCurrent()) this.showError(error);
    } finally {
      clearTimeout(busy);
      clearTimeout(slow);
      if (isCurrent()) {
        this.#say("");
        document.body.classList.remove("busy");
      }
    }
  }

  /** Place the present setting on the map. */
  place() {
    const { scene } = this;
    if (this.map.map) this.#places.run(() => this.#place(scene));
  }

  /** @param {Scene} scene */
  async #place(scene) {
    try {
      const answer = await this.server.ask("place", scene);
      if (answer && !this.kept.isActive) this.map.place(/** @type {any} */ (answer.content));
    } catch (error) {
      this.showError(error);
    }
  }

  /**
   * Hear and see an answer.
   * @param {Message} answer
   * @param {string} title of the audio, if it is not that of the present setting
   */
  hear({ content, arrays }, title) {
    this.kept.isActive = false;
    const dry = /** @type {Float32Array} */ (arrays.dry.values);
    const wet = /** @type {Float32Array} */ (arrays.wet.values);
    this.transport.setPair({ dry, wet }, content);
    this.spectrograms.show(arrays, content.limitDb);
    this.#showTitle(title);
    if (!title) this.map.mark(null);
  }

  /** @param {string} title */
  #showTitle(title) {
    const { effect, setting } = this.controls;
    const present = [build("strong", {}, effect.name), ` ${settingText(effect, setting, 4)}`];
    byId("now").replaceChildren(...(title ? [title] : present));
    byId("back").hidden = !title;
    byId("use").hidden = true; // until a point of the map plays
  }

  /** Hear the present setting again. */
  back() {
    if (this.answer) this.hear(this.answer, "");
    this.map.showPath(null);
  }

  // --- kept settings, paths, sweeps and matches ---------------------------------------------------

  /** @returns {Kept | null} */
  #currentKept() {
    if (!this.recording) return null;
    const { effect } = this.controls;
    return { ...this.scene, name: "", recordingName: this.recording.name, description: effect };
  }

  /** @param {Kept} kept */
  recall(kept) {
    this.map.showPath(null);
    this.openScene(kept);
  }

  /**
   * Hear a position between two kept settings.
   * @param {Map<number, Step>} steps
   * @param {number} position 0 to 1
   * @param {number} last
   */
  playBetween(steps, position, last) {
    const { low, high, share } = stepsAround(steps, position, last);
    const nearest = /** @type {Step} */ (steps.get(share < 0.5 ? low : high));
    const tracks = Object.fromEntries([...steps].map(([index, { wet }]) => [`step${index}`, wet]));
    const gains = { [`step${low}`]: 1 - share, [`step${high}`]: low === high ? 1 : share };
    this.transport.setSteps(tracks, gains);
    this.spectrograms.show(nearest.arrays, nearest.limitDb);
    const { pair } = this.kept;
    const how = this.kept.isDetailed ? "detailed" : "decoded";
    this.#showTitle(`${pair?.a.name} \u2192 ${pair?.b.name} at ${position.toFixed(2)}, ${how}`);
    this.transport.play();
  }

  /**
   * Take over the best answer of a match so far.
   * @param {Stage[]} stages
   */
  async adopt(stages) {
    // A gain at the end only settles the level, which the player matches.
    const audible = stages.filter((each, index) => index === 0 || each.effect !== "gain");
    const stage = inSeries(audible);
    const effect = await this.describe(stage.effect);
    if (!effect) return;
    this.controls.show(effect, completeSetting(effect, stage.setting));
    this.changed();
  }

  #showPosition() {
    const { player } = this.transport;
    const position = player.isPlaying ? player.position : 0;
    this.spectrograms.setPosition(player.seconds ? position / player.seconds : 0);
    this.waveform.setPosition(position);
    requestAnimationFrame(() => this.#showPosition());
  }

  // --- input ------------------------------------------------------------------------------------

  #listen() {
    byId("back").addEventListener("click", () => this.back());
    byId("use").addEventListener("click", () => this.points.use());
    byId("close-error").addEventListener("click", () => this.showError(null));
    const keys = /** @type {HTMLDialogElement} */ (byId("keys"));
    byId("help").addEventListener("click", () => keys.showModal());
    byId("map-more").addEventListener("click", () => {
      const isOpen = byId("map-controls").classList.toggle("open");
      byId("map-more").setAttribute("aria-expanded", String(isOpen));
    });
    listenToKeys(this);
  }

  /** @param {string} text what takes long; empty hides it */
  #say(text) {
    byId("slow").textContent = text;
  }

  /** @param {unknown} error null hides the message */
  showError(error) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    byId("error").hidden = error === null;
    if (error === null) return;
    byId("error-text").textContent = error instanceof Error ? error.message : String(error);
    if (!(error instanceof ServerError)) console.warn(error);
  }
}

