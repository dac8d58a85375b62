// Play the dry or the wet channel of a pair, and switch between them at the same position.

/** @typedef {"dry" | "wet"} Channel */
/** @typedef {{ dry: string, wet: string }} Addresses of both channels */

/** @type {readonly Channel[]} */
export const CHANNELS = ["dry", "wet"];

export class Player {
  /** @type {Channel} */
  channel = "wet";
  /** @type {Record<Channel, HTMLAudioElement>} */
  elements = { dry: new Audio(), wet: new Audio() };

  /**
   * @param {() => void} onChange playing, paused, ended or another channel
   * @param {() => void} onEnd the pair has been played to its end
   */
  constructor(onChange, onEnd) {
    this.onChange = onChange;
    for (const channel of CHANNELS) {
      const element = this.elements[channel];
      for (const name of ["play", "pause", "ended"]) element.addEventListener(name, onChange);
      element.addEventListener("ended", () => channel === this.channel && onEnd());
    }
  }

  get isPlaying() {
    const element = this.elements[this.channel];
    return !element.paused && !element.ended;
  }

  /** Playback position from 0 to 1. */
  get position() {
    const { currentTime, duration } = this.elements[this.channel];
    return duration ? Math.min(currentTime / duration, 1) : 0;
  }

  /**
   * Load another pair and play it from its start.
   * @param {Addresses} addresses
   */
  load(addresses) {
    this.stop();
    for (const channel of CHANNELS) this.elements[channel].src = addresses[channel];
    this.play(this.channel);
  }

  /**
   * Play a channel, from the position of the other one if that is playing, else from the start.
   * @param {Channel} channel
   */
  play(channel) {
    const seconds = this.isPlaying ? this.elements[this.channel].currentTime : 0;
    if (channel !== this.channel) this.elements[this.channel].pause();
    this.channel = channel;
    this.onChange();
    const element = this.elements[channel];
    if (!element.src) return;
    element.currentTime = seconds;
    // play() is rejected if the next click comes before playback starts.
    element.play().catch(() => {});
  }

  stop() {
    for (const channel of CHANNELS) this.elements[channel].pause();
  }
}
