// Take recordings: the list, the file dialog, drops on the page and the microphone.

import { build, byId, selectById } from "./dom.js";
import { encodeWav } from "./spectral.js";

/** @typedef {import("./waveform.js").Recording} Recording */

const GROUPS = { upload: "Yours", file: "Command line", "built-in": "Built-in" };
const LONGEST_TAKE_SECONDS = 300;

/**
 * Return whether something dragged is a file.
 * @param {DragEvent} event
 */
export function isAudioDrop(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

/** The list of recordings, and the ways to add one. */
export class RecordingList {
  /** @type {Recording[]} */
  list = [];
  /** @type {Microphone | null} */
  #microphone = null;

  /**
   * @param {Recording[]} list
   * @param {{ onChoose: (key: string) => void, onFile: (name: string, content: Blob) => void, onError: (error: unknown) => void }} callbacks
   */
  constructor(list, callbacks) {
    this.callbacks = callbacks;
    this.list = list;
    this.#build();
    const select = selectById("recording");
    select.addEventListener("change", () => callbacks.onChoose(select.value));
    const input = /** @type {HTMLInputElement} */ (byId("file-input"));
    byId("open").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      for (const file of input.files ?? []) callbacks.onFile(file.name, file);
      input.value = "";
    });
    this.#listenToDrops();
    const button = /** @type {HTMLButtonElement} */ (byId("record"));
    if (!navigator.mediaDevices || !window.AudioWorkletNode) {
      button.disabled = true;
      button.title = "The browser allows the microphone on this machine's own address only.";
    }
    button.addEventListener("click", () => this.#toggleMicrophone(button));
  }

  #listenToDrops() {
    const { body } = document;
    document.addEventListener("dragover", (event) => {
      if (!isAudioDrop(event)) return;
      event.preventDefault();
      body.classList.add("dragging");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) body.classList.remove("dragging");
    });
    document.addEventListener("drop", (event) => {
      body.classList.remove("dragging");
      const files = event.dataTransfer?.files;
      if (!files?.length) return;
      event.preventDefault();
      for (const file of files) this.callbacks.onFile(file.name, file);
    });
  }

  #build() {
    const select = selectById("recording");
    const { value } = select;
    const groups = Object.entries(GROUPS).map(([kind, label]) => {
      const members = this.list.filter((each) => each.kind === kind);
      const options = members.map((each) => build("option", { value: each.key }, each.name));
      return members.length ? build("optgroup", { label }, ...options) : "";
    });
    select.replaceChildren(...groups);
    if (value) select.value = value;
  }

  /** @param {Recording} recording */
  add(recording) {
    if (!this.list.some((each) => each.key === recording.key)) this.list = [recording, ...this.list];
    this.#build();
  }

  /** @param {string} key */
  select(key) {
    selectById("recording").value = key;
  }

  /** @param {HTMLButtonElement} button */
  async #toggleMicrophone(button) {
    try {
      if (this.#microphone) {
        const take = await this.#microphone.stop();
        this.#microphone = null;
        const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
        if (take.size > 44) this.callbacks.onFile(`microphone ${time}.wav`, take);
      } else {
        this.#microphone = await Microphone.start((seconds) => {
          button.textContent = `\u25a0 ${seconds.toFixed(0)} s`;
          if (seconds > LONGEST_TAKE_SECONDS) button.click();
        });
      }
    } catch (error) {
      this.#microphone = null;
      this.callbacks.onError(new Error(`The microphone cannot be used (${error}).`));
    }
    button.setAttribute("aria-pressed", String(this.#microphone !== null));
    if (!this.#microphone) button.textContent = "Record";
  }
}

/** Records the microphone as it is, without the browser's processing of speech. */
class Microphone {
  /** @type {Float32Array[]} */
  #blocks = [];
  #length = 0;

  /**
   * @param {MediaStream} stream
   * @param {AudioContext} context
   * @param {(seconds: number) => void} onProgress
   */
  constructor(stream, context, onProgress) {
    this.stream = stream;
    this.context = context;
    const node = new AudioWorkletNode(context, "take");
    node.port.onmessage = ({ data }) => {
      this.#blocks.push(data);
      this.#length += data.length;
      onProgress(this.#length / context.sampleRate);
    };
    context.createMediaStreamSource(stream).connect(node);
  }

  /** @param {(seconds: number) => void} onProgress */
  static async start(onProgress) {
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    const context = new AudioContext();
    await context.audioWorklet.addModule("static/recorder_worklet.js");
    return new Microphone(stream, context, onProgress);
  }

  async stop() {
    for (const track of this.stream.getTracks()) track.stop();
    const rate = this.context.sampleRate;
    await this.context.close();
    const samples = new Float32Array(this.#length);
    let offset = 0;
    for (const block of this.#blocks) {
      samples.set(block, offset);
      offset += block.length;
    }
    return encodeWav(samples, rate);
  }
}
