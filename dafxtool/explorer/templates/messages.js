// Talk to the server: JSON and uploads go out, binary messages come back (explorer/messages.py).

/** @typedef {Float32Array | Uint8Array | Int8Array} Values */
/** @typedef {{ values: Values, shape: number[] }} NamedArray */
/**
 * @typedef {object} Message
 * @property {any} content
 * @property {Record<string, NamedArray>} arrays
 */

/** @type {Record<string, new (buffer: ArrayBuffer, offset: number, length: number) => Values>} */
const TYPES = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array };
const HEADER_BYTES = 8;
const PATIENCE_MS = 3000; // with a request, before a newer one is sent beside it

/** An error whose message is a sentence for the user. */
export class ServerError extends Error {}

/**
 * Decode one message.
 * @param {ArrayBuffer} buffer
 * @returns {Message}
 */
export function decode(buffer) {
  const length = new DataView(buffer).getUint32(4, true);
  const text = new TextDecoder().decode(new Uint8Array(buffer, HEADER_BYTES, length));
  const { arrays: described, ...content } = JSON.parse(text);
  /** @type {Record<string, NamedArray>} */
  const arrays = {};
  for (const [name, { type, shape, offset }] of Object.entries(described)) {
    const count = shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1);
    const values = new TYPES[type](buffer, HEADER_BYTES + length + offset, count);
    arrays[name] = { values, shape };
  }
  return { content, arrays };
}

/** The requests of one tab. */
export class Server {
  /** @param {string} session */
  constructor(session) {
    this.session = session;
  }

  /**
   * @param {string} path
   * @param {BodyInit} body
   * @param {Record<string, string>} headers
   * @param {AbortSignal} [signal]
   * @returns {Promise<Response | null>} null if a newer request has replaced this one
   */
  async #fetch(path, body, headers = {}, signal) {
    let response;
    try {
      response = await fetch(path, {
        method: "POST",
        body,
        headers: { "X-Session": this.session, ...headers },
        signal,
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ServerError("The server does not answer. Start 'dafxtool explore' again.");
    }
    if (response.ok) return response;
    if (response.status === 409) return null;
    const text = await response.text();
    let sentence = text;
    try {
      sentence = JSON.parse(text).error;
    } catch {
      // Not of the application: a refusal in plain text.
    }
    throw new ServerError(sentence || `The server answered ${response.status}.`);
  }

  /**
   * Ask for one message; null if a newer request has replaced this one.
   * @param {string} path
   * @param {object} body
   * @returns {Promise<Message | null>}
   */
  async ask(path, body = {}) {
    const response = await this.#fetch(path, JSON.stringify(body));
    return response && decode(await response.arrayBuffer());
  }

  /**
   * Ask for a file.
   * @param {string} path
   * @param {object} body
   * @returns {Promise<Blob>}
   */
  async file(path, body) {
    const response = await this.#fetch(path, JSON.stringify(body));
    if (!response) throw new ServerError("Replaced by a newer request.");
    return response.blob();
  }

  /**
   * Upload a recording.
   * @param {string} name
   * @param {Blob} content
   * @returns {Promise<Message>}
   */
  async upload(name, content) {
    const response = await this.#fetch("recordings", content, { "X-Name": encodeURIComponent(name) });
    if (!response) throw new ServerError("Replaced by a newer request.");
    return decode(await response.arrayBuffer());
  }

  /**
   * Receive messages until the stream ends or the signal is aborted.
   * @param {string} path
   * @param {object} body
   * @param {(message: Message) => void} onMessage
   * @param {AbortSignal} signal
   */
  async stream(path, body, onMessage, signal) {
    const response = await this.#fetch(path, JSON.stringify(body), {}, signal);
    if (!response?.body) return;
    const reader = response.body.getReader();
    let pending = new Uint8Array(0);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const joined = new Uint8Array(pending.length + value.length);
      joined.set(pending);
      joined.set(value, pending.length);
      pending = joined;
      while (pending.length >= HEADER_BYTES) {
        const size = new DataView(pending.buffer, pending.byteOffset).getUint32(0, true);
        if (pending.length < size) break;
        const message = decode(pending.slice(0, size).buffer);
        pending = pending.slice(size);
        if (message.content.kind === "error") throw new ServerError(message.content.error);
        if (!signal.aborted) onMessage(message);
      }
    }
  }
}

/**
 * Send requests one at a time; of those that wait, only the newest is sent. After a time, it no longer
 * waits for the one before, such as that of a plugin that hangs.
 */
export class Latest {
  #isBusy = false;
  #startTime = 0;
  #timer = 0;
  #number = 0;
  /** @type {((isCurrent: () => boolean) => Promise<void>) | null} */
  #next = null;

  /** @param {number} patienceMs */
  constructor(patienceMs = PATIENCE_MS) {
    this.patienceMs = patienceMs;
  }

  /** @param {(isCurrent: () => boolean) => Promise<void>} send; isCurrent returns false after a newer request */
  run(send) {
    this.#next = send;
    this.#sendNext();
  }

  #sendNext() {
    clearTimeout(this.#timer);
    const send = this.#next;
    if (!send) return;
    const waited = performance.now() - this.#startTime;
    if (this.#isBusy && waited < this.patienceMs) {
      this.#timer = window.setTimeout(() => this.#sendNext(), this.patienceMs - waited);
      return;
    }
    this.#next = null;
    this.#isBusy = true;
    this.#startTime = performance.now();
    const number = ++this.#number;
    const isCurrent = () => number === this.#number;
    send(isCurrent).finally(() => {
      if (!isCurrent()) return;
      this.#isBusy = false;
      this.#sendNext();
    });
  }
}
