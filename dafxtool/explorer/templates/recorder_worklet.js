// Sends what the microphone takes to the page, in blocks of about a tenth of a second.

const BLOCK = 4096; // samples

// @ts-ignore  of the scope of worklets, which TypeScript's DOM types leave out
class Take extends AudioWorkletProcessor {
  block = new Float32Array(BLOCK);
  filled = 0;

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    const samples = inputs[0]?.[0];
    if (!samples) return true;
    this.block.set(samples, this.filled);
    this.filled += samples.length;
    if (this.filled + samples.length > BLOCK) {
      // @ts-ignore
      this.port.postMessage(this.block.slice(0, this.filled));
      this.filled = 0;
    }
    return true;
  }
}

// @ts-ignore
registerProcessor("take", Take);
