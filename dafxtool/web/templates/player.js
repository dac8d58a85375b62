// Play the dry or the wet version of a sound, and switch between them at the same position.

/** @typedef {"dry" | "wet"} Channel */
/** @typedef {{ dry: string, wet: string }} Addresses of both versions */

/** @type {readonly Channel[]} */
export const CHANNELS = ["dry", "wet"];

export class Player {
  /** @type {Channel} */
  channel = "wet";
  /** @type {Record<Channel, HTMLAudioElement>} */
  sounds = { dry: new Audio(), wet: new Audio() };

  /**
   * @param {() => void} onChange playing, paused, ended or another channel
   * @param {() => void} onEnd a sound has been played to its end
   */
  constructor(onChange, onEnd) {
    this.onChange = onChange;
    for (const channel of CHANNELS) {
      const sound = this.sounds[channel];
      for (const name of ["play", "pause", "ended"]) sound.addEventListener(name, onChange);
      sound.addEventListener("ended", () => channel === this.channel && onEnd());
    }
  }

  get isPlaying() {
    const sound = this.sounds[this.channel];
    return !sound.paused && !sound.ended;
  }

  /** Position from 0 to 1. */
  get position() {
    const { currentTime, duration } = this.sounds[this.channel];
    return duration ? Math.min(currentTime / duration, 1) : 0;
  }

  /**
   * Load another sound and play it from its start.
   * @param {Addresses} addresses
   */
  load(addresses) {
    this.stop();
    for (const channel of CHANNELS) this.sounds[channel].src = addresses[channel];
    this.play(this.channel);
  }

  /**
   * Play a channel: from the position of the other one while that plays, else from the start.
   * @param {Channel} channel
   */
  play(channel) {
    const seconds = this.isPlaying ? this.sounds[this.channel].currentTime : 0;
    if (channel !== this.channel) this.sounds[this.channel].pause();
    this.channel = channel;
    this.onChange();
    const sound = this.sounds[channel];
    if (!sound.src) return;
    sound.currentTime = seconds;
    // The next click may come before this sound has started: no error.
    sound.play().catch(() => {});
  }

  stop() {
    for (const channel of CHANNELS) this.sounds[channel].pause();
  }
}
