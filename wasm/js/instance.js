// An instance of the WebAssembly module: the only place that knows its functions and its memory.

import { BugError, LoadError, errorOf } from "./errors.js";

/** The interface that this file was written for: `INTERFACE` in src/lib.rs. */
const INTERFACE = 1;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const TYPES = { f32: Float32Array, f64: Float64Array, i32: Int32Array, i64: BigInt64Array };
const NUMBERS = { f32: 0, f64: 1, i32: 2, i64: 3 };

/** The class of a typed array, by its name: `instanceof` fails for arrays of other frames and of Jest's. */
const classOf = (array) => Object.prototype.toString.call(array).slice("[object ".length, -1);

/** The name of the type of an array's numbers; nothing if it is none of ours. */
export function dataTypeOf(array) {
  const name = classOf(array);
  return Object.keys(TYPES).find((type) => TYPES[type].name === name);
}

/** Whether these are bytes. */
export const isBytes = (array) => classOf(array) === "Uint8Array";

export class Instance {
  #exports;
  #dead = null;

  /** @param {WebAssembly.Module} module */
  constructor(module) {
    let exports;
    try {
      ({ exports } = new WebAssembly.Instance(module, {}));
    } catch (cause) {
      throw new LoadError(`the WebAssembly module cannot be started: ${cause.message}`, { cause });
    }
    const found = exports.pet_interface?.();
    if (found !== INTERFACE) {
      throw new LoadError(
        `pet.wasm has interface ${found}, and these scripts want ${INTERFACE}: take all files from the same package`,
      );
    }
    this.#exports = exports;
    exports.pet_start();
  }

  /** Calls a function. A trap is a bug of ours, and ends the instance: nothing in it is called any more. */
  call(name, ...args) {
    if (this.#dead) throw this.#dead;
    try {
      return this.#exports[name](...args);
    } catch (cause) {
      this.#dead = new BugError(`a bug in pet-participant: ${this.#panicText() || cause.message}; please report it`, {
        cause,
      });
      throw this.#dead;
    }
  }

  /** Calls a function that gives 0 where it says why it did not do what was asked. */
  attempt(name, ...args) {
    const result = this.call(name, ...args);
    if (result === 0) {
      const { code, message } = this.said();
      throw errorOf(code, message);
    }
    return result;
  }

  /** What the last call has said. */
  said() {
    const text = this.#bytes(this.call("pet_text"), this.call("pet_text_length"));
    return JSON.parse(decoder.decode(text));
  }

  /** A copy of the bytes beside it. */
  blob() {
    return this.#bytes(this.call("pet_blob"), this.call("pet_blob_length")).slice();
  }

  /** Has what was said forgotten, and wiped if it was secret. */
  forget() {
    this.call("pet_forget");
  }

  /** A copy of the weights beside it. */
  weights(dataType) {
    return new TYPES[dataType](this.blob().buffer);
  }

  /** Gives bytes, or the numbers of a typed array, to a function that takes them: where they are, and how many. */
  give(array) {
    // (Not its own constructor: that of a Buffer does something else.)
    const type = isBytes(array) ? Uint8Array : TYPES[dataTypeOf(array)];
    const align = type.BYTES_PER_ELEMENT;
    const data = this.call("pet_alloc", array.byteLength, align);
    if (data === 0) throw errorOf("config", `there is no memory for ${array.byteLength} bytes`);
    new type(this.#exports.memory.buffer, data >>> 0, array.length).set(array);
    return [data, array.length];
  }

  giveText(text) {
    return this.give(encoder.encode(text));
  }

  giveWeights(array) {
    return [NUMBERS[dataTypeOf(array)], ...this.give(array)];
  }

  #bytes(data, length) {
    return new Uint8Array(this.#exports.memory.buffer, data >>> 0, length);
  }

  #panicText() {
    try {
      const { pet_panic_text, pet_panic_text_length } = this.#exports;
      return decoder.decode(this.#bytes(pet_panic_text(), pet_panic_text_length()));
    } catch {
      return "";
    }
  }
}
