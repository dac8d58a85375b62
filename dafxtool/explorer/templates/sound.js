// Play tracks of one length in step, and swap or mix them at the same position without a click.

/** @typedef {Record<string, Float32Array>} Tracks */

const SWAP_SECONDS = 0.02; // fade from old to new tracks, and between gains
const EDGE_SECONDS = 0.004; // fade at both ends, so that a loop does not click
const START_DELAY_SECONDS = 0.005; // all sources of a swap start at the same time

/** Looping playback of several tracks, each with a gain. */
export class Player {
  isLooping = true;
  isPlaying = false;
  /** @type {Tracks} */
  tracks = {};
  /** @type {Record<string, number>} */
  gains = {};
  /** performance.now() of the last swap, for measurements */
  lastSwap = 0;
  /** @type {Map<string, Track>} */
  #nodes = new Map();
  #startTime = 0; // of the context, at position 0
  #offset = 0; // s, position while nothing plays

  /**
   * @param {BaseAudioContext} context
   * @param {number} sampleRate Hz
   * @param {() => void} onChange
   */
  constructor(context, sampleRate, onChange = () => {}) {
    this.context = context;
    this.sampleRate = sampleRate;
    this.onChange = onChange;
  }

  /** Duration of the tracks in s. */
  get seconds() {
    const first = Object.values(this.tracks)[0];
    return first ? first.length / this.sampleRate : 0;
  }

  /** Position in s. */
  get position() {
    if (!this.isPlaying || !this.seconds) return this.#offset;
    return Math.max(0, this.context.currentTime - this.#startTime) % this.seconds;
  }

  /**
   * Replace all tracks; the new ones continue at the same position.
   * @param {Tracks} tracks
   * @param {Record<string, number>} gains a track that is not named is silent
   */
  setTracks(tracks, gains) {
    const isSameLength = Object.values(tracks)[0]?.length === Object.values(this.tracks)[0]?.length;
    const position = isSameLength ? this.position : 0;
    this.tracks = tracks;
    this.gains = gains;
    this.lastSwap = performance.now();
    if (this.isPlaying) this.#start(position);
    else this.#offset = Math.min(position, this.seconds);
  }

  /**
   * Add tracks to those that play, silent until a gain is set.
   * @param {Tracks} tracks
   */
  addTracks(tracks) {
    this.tracks = { ...this.tracks, ...tracks };
    if (!this.isPlaying) return;
    const now = this.context.currentTime + START_DELAY_SECONDS;
    for (const name of Object.keys(tracks)) {
      if (!this.#nodes.has(name)) this.#startTrack(name, now, (now - this.#startTime) % this.seconds);
    }
  }

  /**
   * Change the gains smoothly; a track that is not named becomes silent.
   * @param {Record<string, number>} gains
   */
  setGains(gains) {
    this.gains = gains;
    const now = this.context.currentTime;
    for (const [name, track] of this.#nodes) track.fade(gains[name] ?? 0, now);
  }

  play() {
    if (this.isPlaying || !this.seconds) return;
    this.isPlaying = true;
    this.#start(this.#offset >= this.seconds - EDGE_SECONDS ? 0 : this.#offset);
    this.onChange();
  }

  stop() {
    if (!this.isPlaying) return;
    this.#offset = this.position;
    this.isPlaying = false;
    this.#fadeOut();
    this.onChange();
  }

  toggle() {
    if (this.isPlaying) this.stop();
    else this.play();
  }

  /**
   * Continue at another position.
   * @param {number} seconds
   */
  seek(seconds) {
    this.#offset = Math.min(Math.max(seconds, 0), this.seconds);
    if (this.isPlaying) this.#start(this.#offset);
  }

  /** @param {boolean} isLooping */
  setLoop(isLooping) {
    this.isLooping = isLooping;
    if (this.isPlaying) this.#start(this.position);
  }

  /** @param {number} position s */
  #start(position) {
    this.#fadeOut();
    const now = this.context.currentTime + START_DELAY_SECONDS;
    this.#startTime = now - position;
    for (const name of Object.keys(this.tracks)) this.#startTrack(name, now, position);
    const [first] = this.#nodes.values();
    if (!first || this.isLooping) return;
    first.source.onended = () => {
      if (this.#nodes.values().next().value !== first || !this.isPlaying) return;
      this.isPlaying = false;
      this.#offset = 0;
      this.#nodes.clear();
      this.onChange();
    };
  }

  /**
   * @param {string} name
   * @param {number} time of the context
   * @param {number} position s
   */
  #startTrack(name, time, position) {
    const source = new AudioBufferSourceNode(this.context, {
      buffer: this.#buffer(this.tracks[name]),
      loop: this.isLooping,
    });
    const track = new Track(source, new GainNode(this.context, { gain: 0 }));
    track.fade(this.gains[name] ?? 0, time);
    source.start(time, position);
    this.#nodes.set(name, track);
  }

  /**
   * @param {Float32Array} samples
   * @returns {AudioBuffer}
   */
  #buffer(samples) {
    const faded = Float32Array.from(samples);
    const edge = Math.min(Math.round(EDGE_SECONDS * this.sampleRate), faded.length >> 1);
    for (let i = 0; i < edge; i++) {
      faded[i] *= i / edge;
      faded[faded.length - 1 - i] *= i / edge;
    }
    const buffer = new AudioBuffer({ length: faded.length, sampleRate: this.sampleRate });
    buffer.copyToChannel(faded, 0);
    return buffer;
  }

  #fadeOut() {
    const now = this.context.currentTime + START_DELAY_SECONDS;
    for (const track of this.#nodes.values()) {
      const { source } = track;
      source.onended = null;
      track.fade(0, now);
      source.stop(now + SWAP_SECONDS + 0.01);
    }
    this.#nodes = new Map();
  }
}

/** A source and its gain, which knows its value at any time. */
class Track {
  #from = 0;
  #to = 0;
  #startTime = 0;

  /**
   * @param {AudioBufferSourceNode} source
   * @param {GainNode} node whose gain is 0
   */
  constructor(source, node) {
    this.source = source;
    this.node = node;
    source.connect(node).connect(node.context.destination);
  }

  /** @param {number} time of the context */
  #valueAt(time) {
    const share = Math.min(Math.max((time - this.#startTime) / SWAP_SECONDS, 0), 1);
    return this.#from + share * (this.#to - this.#from);
  }

  /**
   * Fade to another gain.
   * @param {number} target
   * @param {number} startTime of the context
   */
  fade(target, startTime) {
    // Not cancelAndHoldAtTime: Firefox lacks it, and it holds nothing after the end of a ramp, so
    // that the next ramp would begin where the last one did.
    const { gain, context } = this.node;
    const now = context.currentTime;
    const value = this.#valueAt(now);
    gain.cancelScheduledValues(now);
    gain.setValueAtTime(value, now);
    gain.setValueAtTime(value, startTime);
    gain.linearRampToValueAtTime(target, startTime + SWAP_SECONDS);
    [this.#from, this.#to, this.#startTime] = [value, target, startTime];
  }
}
