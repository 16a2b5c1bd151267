// The state machine without IO: for event loops of your own. `Participant` drives one.

import { ConfigError, ModelError, StoppedError } from "./errors.js";
import { Instance, dataTypeOf, isBytes } from "./instance.js";

const forgotten = new FinalizationRegistry(({ instance, free, handle }) => {
  try {
    instance.call(free, handle);
  } catch {
    // The instance is dead, and its memory goes with it.
  }
});

/** A job: work that takes long. Call `step` until it gives true, and hand it in with `Machine.jobDone`. */
export class Job {
  #instance;
  #handle;

  /** @internal */
  constructor(instance, { job: handle, name, label }) {
    this.#instance = instance;
    this.#handle = handle;
    /** What it does, in two or three words. */
    this.name = name;
    /** The same as a short, stable name, such as `mask_model`. */
    this.label = label;
    forgotten.register(this, { instance, free: "pet_job_free", handle }, this);
  }

  #live() {
    if (this.#handle === 0) throw new ConfigError("this job was freed, or handed in");
    return this.#handle;
  }

  /** Does the next piece, of about a millisecond; true once nothing is left. */
  step() {
    return this.#instance.call("pet_job_step", this.#live()) === 1;
  }

  /** Works for so many milliseconds, or to the end; true once nothing is left. */
  run(milliseconds = Infinity) {
    const until = performance.now() + milliseconds;
    while (!this.step()) {
      if (performance.now() >= until) return false;
    }
    return true;
  }

  /** How far it is, from 0 to 1. */
  get progress() {
    return this.#instance.call("pet_job_progress", this.#live());
  }

  /** Gives it up. It is given out again if it is still needed. */
  free() {
    if (this.#handle !== 0) this.#instance.call("pet_job_free", this.take(this.#instance));
  }

  /** @internal */
  take(instance) {
    if (instance !== this.#instance) throw new ConfigError("the job is of another machine");
    const handle = this.#live();
    this.#handle = 0;
    forgotten.unregister(this);
    return handle;
  }
}

/** Numbers as a typed array whose type says what they are. */
function typed(weights) {
  if (Array.isArray(weights)) {
    if (!weights.every((weight) => typeof weight === "number")) {
      throw new ModelError("the local model is an array of which not all are numbers");
    }
    return Float64Array.from(weights);
  }
  if (dataTypeOf(weights) === undefined) {
    throw new ModelError(
      "a local model is a Float32Array, Float64Array, Int32Array, BigInt64Array, or an array of numbers",
    );
  }
  return weights;
}

/** A participant without clock and network. Times are milliseconds of any clock that does not go back. */
export class Machine {
  #instance;
  #handle;

  /**
   * @param {WebAssembly.Module} module the compiled module: see `loadModule`
   * @param {{ seed?: Uint8Array, state?: Uint8Array, settings?: object }} [options]
   */
  constructor(module, { seed, state, settings = {} } = {}) {
    const instance = new Instance(module);
    const text = settingsText(settings);
    if (state !== undefined) {
      if (!isBytes(state)) throw new ConfigError("a saved state is a Uint8Array");
      const given = instance.give(state);
      this.#handle = instance.attempt("pet_participant_restore", ...given, ...instance.giveText(text));
    } else {
      const own = seed ?? crypto.getRandomValues(new Uint8Array(32));
      if (!isBytes(own) || own.length !== 32) {
        throw new ConfigError("a seed is a Uint8Array of 32 bytes that nobody can guess");
      }
      const [data] = instance.give(own);
      if (seed === undefined) own.fill(0);
      this.#handle = instance.attempt("pet_participant_new", data, ...instance.giveText(text));
    }
    this.#instance = instance;
    forgotten.register(this, { instance, free: "pet_participant_free", handle: this.#handle }, this);
  }

  #live() {
    if (this.#handle === 0) throw new StoppedError("this machine was freed");
    return this.#handle;
  }

  #tell(name, ...args) {
    this.#instance.attempt(name, this.#live(), ...args);
  }

  /** Time has passed. */
  tick(now) {
    this.#tell("pet_participant_tick", now);
  }

  /** A request was answered: its status, body, and two headers if the answer has them. */
  response(now, id, { status, body, retryAfter, contentType }) {
    const instance = this.#instance;
    const handle = this.#live();
    const texts = [...instance.giveText(retryAfter ?? ""), ...instance.giveText(contentType ?? "")];
    const given = instance.give(body ?? new Uint8Array(0));
    instance.attempt("pet_participant_response", handle, now, id, status, ...given, ...texts);
  }

  /** A request was not answered. */
  fault(now, id, kind, text = "") {
    const handle = this.#live();
    const number = { unreachable: 0, timeout: 1, toolarge: 2 }[kind];
    if (number === undefined) throw new ConfigError(`${kind} is not unreachable, timeout or toolarge`);
    this.#instance.attempt("pet_participant_fault", handle, now, id, number, ...this.#instance.giveText(text));
  }

  /** A job is finished. It is the machine's from now on. */
  jobDone(now, job) {
    const handle = this.#live();
    this.#instance.attempt("pet_participant_job_done", handle, now, job.take(this.#instance));
  }

  /** Sets a trained model, of which a copy is made. */
  setModel(now, weights) {
    const handle = this.#live();
    const given = this.#instance.giveWeights(typed(weights));
    this.#instance.attempt("pet_participant_set_model", handle, now, ...given);
  }

  /** Wants the global model: the answer is an event, `globalmodel` or `globalmodelfailed`. */
  fetchModel(now) {
    this.#tell("pet_participant_fetch_model", now);
  }

  /** Answers may be held back for so many milliseconds, where an output says so. */
  patience(now, milliseconds) {
    this.#tell("pet_participant_patience", now, milliseconds);
  }

  /** Does nothing more. */
  stop(now) {
    this.#tell("pet_participant_stop", now);
  }

  /** Says what should happen next. Call it until it is idle. */
  pollOutput() {
    const instance = this.#instance;
    instance.call("pet_participant_poll", this.#live());
    const output = instance.said();
    if (output.kind === "job") {
      return { kind: "job", job: new Job(instance, output) };
    }
    if (output.kind === "request") {
      const body = instance.blob();
      output.body = body.length > 0 ? body : null;
    } else if (output.kind === "event" && output.event.type === "globalmodel") {
      const { dataType } = output.event;
      output.event.model = dataType === null ? null : instance.weights(dataType);
    }
    return output;
  }

  /** All that is needed to go on later. It holds secret keys. */
  save() {
    this.#instance.call("pet_participant_save", this.#live());
    const state = this.#instance.blob();
    this.#instance.forget();
    return state;
  }

  /** What is known of it: public key, task, the round's models. */
  get view() {
    this.#instance.call("pet_participant_view", this.#live());
    return this.#instance.said();
  }

  /** Frees it, and wipes its keys. */
  free() {
    if (this.#handle === 0) return;
    const handle = this.#handle;
    this.#handle = 0;
    forgotten.unregister(this);
    this.#instance.call("pet_participant_free", handle);
    this.#instance.forget();
  }
}

/** Settings as the module reads them. An exact scalar goes as two whole numbers. */
function settingsText(settings) {
  if (settings === null || typeof settings !== "object") throw new ConfigError("settings are an object");
  for (const [name, value] of Object.entries(settings)) {
    // JSON would make a null of them, which would be the default.
    if (typeof value === "number" && !Number.isFinite(value)) throw new ConfigError(`${name} is ${value}`);
  }
  try {
    return JSON.stringify(settings);
  } catch (cause) {
    throw new ConfigError(`the settings cannot be written down: ${cause.message}`, { cause });
  }
}
