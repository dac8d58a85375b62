// Decode audio and thumbnails of points of a map, and of interpolation steps between two points.
//
// A thumbnail is (bands, times) in power-law values, 1 the loudest. A step between two points is
// stored as the blend of their decoded ends plus a residual of a few coefficients. The audio of a
// step has the fine structure of both recordings. Its level in each band and span of time is that
// of the decoded step, so the audio agrees with the thumbnail.

import { encodeWav, synthesiseBetween } from "./spectral.js";

/**
 * Written by web/latent_map.py; arrays are deflated and encoded in base64.
 * @typedef {object} AudioData
 * @property {number[]} rows points that have audio
 * @property {string[]} clips MP3 files in base64
 * @property {[number, number][]} clipsOf indices of the dry and the wet clip of each of rows
 * @property {number} sampleRate Hz
 * @property {number} nSamples
 * @property {number} bands
 * @property {number} times
 * @property {string} originals levels, (rows, 2, bands, times) uint8
 * @property {string} ends levels of the decoded points, the same shape
 * @property {number[]} positions of steps, from 0 to 1
 * @property {string} coefficients (steps, scales) int8
 * @property {string} basis (scales, 2, bands, times) int8
 * @property {number[]} scales
 * @property {number} exponent of the power law
 * @property {number} rangeDb of levels
 */

/**
 * Decode base64.
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/**
 * Decode base64 and decompress (zlib format).
 * @param {string} text
 */
async function inflated(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Audio and thumbnails of the points with audio; a slot is the index of such a point. */
export class MapAudio {
  /** @type {Map<number, string>} object URLs of clips */
  #clips = new Map();
  /** @type {Map<string, Promise<string>>} object URLs of steps */
  #steps = new Map();
  /** @type {Map<number, Promise<Float32Array>>} of clips */
  #samples = new Map();

  /**
   * @param {AudioData} data
   * @param {{ originals: Uint8Array, ends: Uint8Array, coefficients: Int8Array, basis: Int8Array }} arrays
   */
  constructor(data, arrays) {
    this.data = data;
    this.arrays = arrays;
    this.area = data.bands * data.times;
    /** @type {Map<number, number>} */
    this.slots = new Map(data.rows.map((row, slot) => [row, slot]));
  }

  /**
   * Decode the arrays of a page.
   * @param {AudioData} data
   */
  static async unpack(data) {
    const [originals, ends, coefficients, basis] = await Promise.all(
      [data.originals, data.ends, data.coefficients, data.basis].map(inflated),
    );
    const signed = (/** @type {Uint8Array} */ bytes) => new Int8Array(bytes.buffer);
    return new MapAudio(data, {
      originals,
      ends,
      coefficients: signed(coefficients),
      basis: signed(basis),
    });
  }

  /**
   * Return the object URL of a clip.
   * @param {number} slot
   * @param {number} channel 0 dry, 1 wet
   */
  addressOf(slot, channel) {
    const clip = this.data.clipsOf[slot][channel];
    let address = this.#clips.get(clip);
    if (!address) {
      const file = new Blob([bytesOf(this.data.clips[clip])], { type: "audio/mpeg" });
      address = URL.createObjectURL(file);
      this.#clips.set(clip, address);
    }
    return address;
  }

  // --- thumbnails -----------------------------------------------------------------------------

  /**
   * Decode the thumbnail of a point.
   * @param {"originals" | "ends"} kind
   * @param {number} slot
   * @param {number} channel
   * @returns {Float32Array} power-law values
   */
  thumbnail(kind, slot, channel) {
    const { rangeDb, exponent } = this.data;
    const start = (2 * slot + channel) * this.area;
    const levels = this.arrays[kind].subarray(start, start + this.area);
    return Float32Array.from(levels, (level) =>
      level ? 10 ** ((exponent / 20) * rangeDb * (level / 255 - 1)) : 0,
    );
  }

  /**
   * Decode the thumbnail of a step from one point to another.
   * @param {number} a slot
   * @param {number} b slot
   * @param {number} index of a step; the first and the last are the decoded points themselves
   * @param {number} channel
   */
  step(a, b, index, channel) {
    const { positions, rows, scales } = this.data;
    const { coefficients, basis } = this.arrays;
    const last = positions.length + 1;
    if (index === 0 || index === last) return this.thumbnail("ends", index === 0 ? a : b, channel);
    const t = positions[index - 1];
    const values = this.#blend("ends", a, b, t, channel);
    const low = Math.min(a, b);
    const pair = low * rows.length - (low * (low + 1)) / 2 + (Math.max(a, b) - low - 1);
    const row = pair * positions.length + (a < b ? index - 1 : positions.length - index);
    scales.forEach((scale, k) => {
      const weight = scale * coefficients[row * scales.length + k];
      const start = (2 * k + channel) * this.area;
      for (let i = 0; i < this.area; i++) values[i] += weight * basis[start + i];
    });
    return values;
  }

  /**
   * Blend the thumbnails of two points.
   * @param {"originals" | "ends"} kind
   * @param {number} a
   * @param {number} b
   * @param {number} t
   * @param {number} channel
   */
  #blend(kind, a, b, t, channel) {
    const from = this.thumbnail(kind, a, channel);
    const to = this.thumbnail(kind, b, channel);
    return from.map((value, i) => (1 - t) * value + t * to[i]);
  }

  // --- audio of steps -------------------------------------------------------------------------

  /**
   * Synthesise the audio of a step, or reuse it.
   * @param {number} a slot
   * @param {number} b slot
   * @param {number} index of a step, as in step()
   * @param {number} channel
   * @returns {Promise<string>} object URL
   */
  stepAddress(a, b, index, channel) {
    const key = `${a} ${b} ${index} ${channel}`;
    let address = this.#steps.get(key);
    if (!address) {
      address = this.#synthesise(a, b, index, channel).then((blob) => URL.createObjectURL(blob));
      this.#steps.set(key, address);
    }
    return address;
  }

  /**
   * Blend both recordings, and set the levels of the blend to those of the decoded step.
   * @param {number} a
   * @param {number} b
   * @param {number} index
   * @param {number} channel
   */
  async #synthesise(a, b, index, channel) {
    const { exponent, bands, times, sampleRate, positions } = this.data;
    const t = [0, ...positions, 1][index];
    const target = this.step(a, b, index, channel);
    const blended = this.#blend("originals", a, b, t, channel);
    const values = target.map((value, i) => Math.max(value, 0) / Math.max(blended[i], 1e-6));
    const gains = { values, nBands: bands, nTimes: times, exponent };
    const first = await this.#decodeClip(a, channel);
    const second = await this.#decodeClip(b, channel);
    const samples = await synthesiseBetween(first, second, t, gains, sampleRate);
    return encodeWav(samples, sampleRate);
  }

  /**
   * Decode a clip to samples at the sample rate of the run.
   * @param {number} slot
   * @param {number} channel
   * @returns {Promise<Float32Array>}
   */
  #decodeClip(slot, channel) {
    const clip = this.data.clipsOf[slot][channel];
    let samples = this.#samples.get(clip);
    if (!samples) {
      const { nSamples, sampleRate, clips } = this.data;
      const context = new OfflineAudioContext(1, nSamples, sampleRate);
      samples = context.decodeAudioData(bytesOf(clips[clip]).buffer).then((buffer) => {
        const padded = new Float32Array(nSamples);
        padded.set(buffer.getChannelData(0).subarray(0, nSamples));
        return padded;
      });
      this.#samples.set(clip, samples);
    }
    return samples;
  }

  /** Release the audio of a path that is no longer shown. */
  releaseSteps() {
    for (const address of this.#steps.values()) address.then(URL.revokeObjectURL, () => {});
    this.#steps.clear();
  }
}
