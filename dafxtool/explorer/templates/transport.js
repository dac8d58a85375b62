// Playback controls: play, dry and wet, level, loop and bypass.

import { byId, press } from "./dom.js";
import { Player } from "./sound.js";

/** @typedef {import("./sound.js").Tracks} Tracks */
/** @typedef {"dry" | "wet"} Channel */

/** What is played, at which level, and the buttons that show it. */
export class Transport {
  /** @type {Channel} */
  heard = "wet";
  isLevelMatched = true;
  isBypassed = false;
  /** gain in dB that brings the wet to the level of the dry */
  gainDb = 0;
  /** @type {number | null} peak of the wet in dBFS */
  peakDb = null;
  /** @type {Record<string, number> | null} gains of a path's steps, in place of wet */
  stepGains = null;

  /**
   * @param {number} sampleRate Hz
   * @param {() => void} onChange a button was pressed
   */
  constructor(sampleRate, onChange) {
    this.onChange = onChange;
    this.player = new Player(new AudioContext({ sampleRate }), sampleRate, () => this.show());
    /** @type {Record<string, () => void>} */
    const actions = {
      play: () => this.toggle(),
      "hear-dry": () => this.hear("dry"),
      "hear-wet": () => this.hear("wet"),
      level: () => this.toggleLevel(),
      loop: () => this.toggleLoop(),
      bypass: () => this.toggleBypass(),
    };
    for (const [id, act] of Object.entries(actions)) byId(id).addEventListener("click", act);
  }

  get isDry() {
    return this.heard === "dry" || this.isBypassed;
  }

  /**
   * Gains of the tracks dry and wet, or of dry and the steps of a path.
   * @returns {Record<string, number>}
   */
  get gains() {
    if (this.isDry) return { dry: 1 };
    if (this.stepGains) return this.stepGains;
    return { wet: this.isLevelMatched ? 10 ** (this.gainDb / 20) : 1 };
  }

  /**
   * Swap to a pair, at the same position.
   * @param {{ dry: Float32Array, wet: Float32Array }} pair
   * @param {{ gainDb?: number, peakDb?: number | null }} levels
   */
  setPair(pair, { gainDb = 0, peakDb = null }) {
    this.stepGains = null;
    this.gainDb = gainDb;
    this.peakDb = peakDb;
    this.player.setTracks(pair, this.gains);
    this.show();
  }

  /**
   * Swap to the steps of a path, or move between them.
   * @param {Tracks} steps
   * @param {Record<string, number>} gains
   */
  setSteps(steps, gains) {
    this.heard = "wet";
    this.isBypassed = false;
    this.peakDb = null;
    this.stepGains = gains;
    const { player } = this;
    const isOn = Object.keys(gains).some((name) => player.tracks[name] === steps[name]);
    if (isOn) {
      player.addTracks(steps);
      player.setGains(gains);
    } else player.setTracks({ dry: player.tracks.dry, ...steps }, gains);
    this.show();
  }

  play() {
    const { context } = this.player;
    if (context instanceof AudioContext && context.state === "suspended") context.resume();
    this.player.play();
  }

  toggle() {
    if (this.player.isPlaying) this.player.stop();
    else this.play();
  }

  /** @param {Channel} heard */
  hear(heard) {
    this.heard = heard;
    if (heard === "wet") this.isBypassed = false;
    this.#changed();
  }

  /** Hear the other one of dry and wet. */
  switch() {
    this.hear(this.isDry ? "wet" : "dry");
  }

  toggleBypass() {
    this.isBypassed = !this.isBypassed;
    this.#changed();
  }

  toggleLevel() {
    this.isLevelMatched = !this.isLevelMatched;
    this.#changed();
  }

  toggleLoop() {
    this.player.setLoop(!this.player.isLooping);
    this.#changed();
  }

  #changed() {
    this.player.setGains(this.gains);
    this.show();
    this.onChange();
  }

  show() {
    const { player, isDry, peakDb } = this;
    byId("play").textContent = player.isPlaying ? "\u25a0" : "\u25b6";
    byId("play").setAttribute("aria-label", player.isPlaying ? "Stop" : "Play");
    press(byId("hear-dry"), isDry);
    press(byId("hear-wet"), !isDry);
    press(byId("level"), this.isLevelMatched);
    press(byId("loop"), player.isLooping);
    press(byId("bypass"), this.isBypassed);
    byId("dry-panel").classList.toggle("heard", isDry);
    byId("wet-panel").classList.toggle("heard", !isDry);
    const clips = peakDb !== null && peakDb > 0 && !this.isLevelMatched;
    byId("level-warning").textContent = clips ? `clips: peak +${peakDb.toFixed(1)} dBFS` : "";
  }
}
