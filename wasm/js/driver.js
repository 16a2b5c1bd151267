// Drives a machine: sends its requests, runs its jobs, keeps its time, and has models trained. It runs in a worker, or
// wherever else it is made.

import { FetchError, LateError, ModelError, StoppedError } from "./errors.js";
import { PATIENCE_MS, Transport } from "./transport.js";

/** Pauses before the global model is asked for again that could not be had, in milliseconds. */
const FETCH_AGAIN = [500, 1000, 2000, 4000, 8000];

/** Timers take no longer times. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Lets everything else that waits have its turn. Timers would wait 4 ms in browsers. */
const turn =
  typeof setImmediate === "function"
    ? () => new Promise((resolve) => setImmediate(resolve))
    : () =>
        new Promise((resolve) => {
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = () => {
            port1.close();
            resolve();
          };
          port2.postMessage(null);
        });

export class Driver {
  #machine;
  #transport;
  #slice;
  #onEvent;
  #onTrain;
  #onFailed;
  #timer = null;
  #jobs = [];
  #isWorking = false;
  #stopped = false;
  #wishes = [];
  /** How many rounds have begun. */
  #round = 0;
  #isTraining = false;
  /** Whether the model that the machine has is one that was trained here. */
  #isOwnModel = false;
  /** The round for which training has given nothing. */
  #satOut = null;
  #why = null;

  /**
   * @param {import("./machine.js").Machine} machine
   * @param {object} options
   *   `url`, `fetch`, `headers`, `credentials`: see Transport. `slice`: how many milliseconds a job may run at a time.
   *   `onEvent(event)`; `onTrain(model, round)`, which is answered with `trained`, or null; `onFailed(error)`.
   */
  constructor(machine, { slice = 10, onEvent, onTrain = null, onFailed, ...transport }) {
    this.#machine = machine;
    this.#transport = new Transport(transport);
    this.#slice = slice;
    this.#onEvent = onEvent;
    this.#onTrain = onTrain;
    this.#onFailed = onFailed;
  }

  #now() {
    return Math.floor(performance.now());
  }

  start() {
    // A saved participant may be in the middle of a round, of which it says nothing more.
    this.#guarded(() => {
      this.#machine.patience(this.#now(), PATIENCE_MS);
      this.#drain();
    });
  }

  /** Sets a local model, for a round of that number or whichever there is; false if that round is over. */
  setModel(weights, round = null) {
    if (round !== null && round !== this.#round) return false;
    this.#alive();
    this.#machine.setModel(this.#now(), weights);
    this.#guarded(() => this.#drain());
    return true;
  }

  /** Fetches the global model; null while there is none. */
  fetchModel() {
    return new Promise((resolve, reject) => {
      this.#alive();
      this.#wishes.push({ resolve, reject });
      this.#guarded(() => {
        this.#machine.fetchModel(this.#now());
        this.#drain();
      });
    });
  }

  save() {
    this.#alive();
    return this.#machine.save();
  }

  get view() {
    this.#alive();
    return this.#machine.view;
  }

  /** Ends all work and wipes the machine. */
  stop(error = new StoppedError("the participant was stopped")) {
    if (this.#stopped) return;
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#transport.cancelAll();
    for (const { reject } of this.#wishes.splice(0)) reject(error);
    try {
      for (const job of this.#jobs.splice(0)) job.free();
      this.#machine.free();
    } catch {
      // A dead instance has nothing to free, and its memory is collected.
    }
  }

  /** A training has ended, with weights or without. */
  trained(weights, round) {
    this.#isTraining = false;
    this.#guarded(() => {
      // (What is wrong with it would be wrong again the next time: that is the end.)
      if (weights === null) this.#satOut = round;
      else if (this.setModel(weights, round)) this.#isOwnModel = true;
      else this.#onEvent({ type: "late", text: "the training ended after its round: the model is not used" });
      this.#trainIfNeeded();
    });
  }

  #alive() {
    if (this.#stopped) throw new StoppedError("the participant was stopped");
  }

  /** What throws here is a bug, or the end. */
  #guarded(action) {
    if (this.#stopped) return;
    try {
      action();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error) {
    if (this.#stopped) return;
    this.stop(error);
    this.#onFailed(error);
  }

  /** Tells the machine something that may come too late. */
  #tell(action) {
    this.#guarded(() => {
      try {
        action(this.#now());
      } catch (error) {
        if (!(error instanceof LateError)) throw error;
      }
      this.#drain();
    });
  }

  #drain() {
    for (;;) {
      const output = this.#machine.pollOutput();
      switch (output.kind) {
        case "request":
          this.#send(output);
          break;
        case "cancel":
          this.#transport.cancel(output.id);
          break;
        case "job":
          this.#jobs.push(output.job);
          this.#work();
          break;
        case "event":
          this.#event(output.event);
          // A listener may have stopped it.
          if (this.#stopped) return;
          break;
        case "idle":
          this.#sleep(output);
          return;
      }
    }
  }

  #sleep({ wakeAt, why }) {
    if (why !== this.#why) {
      this.#why = why;
      this.#onEvent({ type: "waiting", why });
    }
    clearTimeout(this.#timer);
    if (wakeAt === null) return;
    const pause = Math.min(Math.max(wakeAt - this.#now(), 0), LONGEST_TIMER);
    // (A millisecond more: timers may be early, and the clock is rounded down.)
    this.#timer = setTimeout(() => this.#tell((now) => this.#machine.tick(now)), pause + 1);
  }

  async #send(request) {
    const { id } = request;
    const result = await this.#transport.send(request);
    if (result === null) return;
    this.#tell((now) => {
      if (result.response) this.#machine.response(now, id, result.response);
      else this.#machine.fault(now, id, result.fault, result.text);
    });
  }

  /** Runs jobs, one after the other, a slice at a time. */
  async #work() {
    if (this.#isWorking) return;
    this.#isWorking = true;
    try {
      while (this.#jobs.length > 0 && !this.#stopped) {
        await turn();
        this.#guarded(() => {
          const job = this.#jobs[0];
          if (!job.run(this.#slice)) return;
          this.#jobs.shift();
          this.#tell((now) => this.#machine.jobDone(now, job));
        });
      }
    } finally {
      this.#isWorking = false;
    }
  }

  #event(event) {
    switch (event.type) {
      case "globalmodel":
        this.#wishes.shift()?.resolve(event.model);
        return;
      case "globalmodelfailed":
        this.#wishes.shift()?.reject(new FetchError(event.text));
        return;
      case "round":
        this.#round += 1;
        event.round = this.#round;
        break;
      case "modelrejected":
        if (this.#isOwnModel) throw new ModelError(event.text);
        break;
      case "modelneeded":
        event.round = this.#round;
        // After what else there is to be said.
        queueMicrotask(() => this.#guarded(() => this.#trainIfNeeded()));
        break;
    }
    this.#onEvent(event);
  }

  #trainIfNeeded() {
    if (!this.#onTrain || this.#isTraining || this.#satOut === this.#round) return;
    if (!this.#machine.view.needsModel) return;
    this.#isTraining = true;
    this.#train();
  }

  /** Fetches the global model of this round, and has it trained. */
  async #train() {
    const round = this.#round;
    let model = null;
    for (let misses = 0; ; misses++) {
      try {
        model = await this.fetchModel();
        break;
      } catch (error) {
        if (this.#stopped) return;
        this.#onEvent({ type: "trouble", call: "model", text: error.message });
        const pause = FETCH_AGAIN[Math.min(misses, FETCH_AGAIN.length - 1)];
        await new Promise((resolve) => setTimeout(resolve, pause));
        if (this.#stopped) return;
        if (round !== this.#round) break;
      }
    }
    this.#guarded(() => {
      const { needsModel, round: shape } = this.#machine.view;
      if (round !== this.#round || !needsModel) {
        this.#isTraining = false;
        this.#trainIfNeeded();
        return;
      }
      this.#onTrain(model, { round, ...shape });
    });
  }
}
