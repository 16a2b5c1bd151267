// A running participant: the page's side. The machine is in a worker, or here if that is wanted.

import { BugError, ConfigError, LoadError, StoppedError, TrainError } from "./errors.js";
import { host, read } from "./host.js";
import { baseUrl } from "./transport.js";

const OPTIONS = new Set([
  "url", "train", "scalar", "maxMessageSize", "maxModelLength", "keepModels", "polling", "headers", "credentials",
  "signal", "worker", "fetch",
]);

/** A thing that happened, with what belongs to it in `detail`. */
class ParticipantEvent extends Event {
  constructor(type, detail) {
    super(type);
    this.detail = detail;
  }
}

/**
 * Makes the class for a platform: `loadModule()` gives the compiled module, `startWorker()` gives
 * `{ post(message, transfer), listen(onMessage, onError), close() }`, `base` is what URLs are relative to.
 */
export function participantFor({ loadModule, startWorker, base }) {
  return class Participant extends EventTarget {
    #port;
    #train;
    #training = null;
    #answers = new Map();
    #calls = 0;
    #ended = false;
    #resolve;
    #reject;
    #started = Promise.withResolvers
      ? Promise.withResolvers()
      : (() => {
          const all = {};
          all.promise = new Promise((resolve, reject) => Object.assign(all, { resolve, reject }));
          return all;
        })();
    #publicKey = null;
    #unlisten = () => {};

    /** Starts a new participant. */
    static create(options) {
      return Participant.#start(undefined, options);
    }

    /** Starts a participant that goes on where it was when it was saved. */
    static restore(state, options) {
      if (Object.prototype.toString.call(state) !== "[object Uint8Array]") {
        return Promise.reject(new ConfigError("a saved state is a Uint8Array"));
      }
      return Participant.#start(state.slice(), options);
    }

    static async #start(state, options) {
      if (options === null || typeof options !== "object") throw new ConfigError("options are an object, with a url");
      const unknown = Object.keys(options).find((name) => !OPTIONS.has(name));
      if (unknown !== undefined) throw new ConfigError(`there is no option ${unknown}`);
      const { url, train, headers = {}, credentials, signal, worker = true, fetch, ...settings } = options;
      if (url === undefined) throw new ConfigError("the option url is missing: where the coordinator is");
      if (train !== undefined && typeof train !== "function") throw new ConfigError("the option train is a function");
      if (fetch !== undefined && worker) {
        throw new ConfigError("a fetch of your own cannot go to a worker: set the option worker to false as well");
      }
      const transport = { url: baseUrl(url, base()), headers: Object.fromEntries(new Headers(headers)), credentials };
      signal?.throwIfAborted();
      const module = await loadModule();
      signal?.throwIfAborted();
      const participant = new Participant(train);
      participant.#port = worker ? await startWorker() : inline();
      participant.#port.listen(
        (message) => participant.#take(message),
        (error) => participant.#end(error),
      );
      const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
      participant.#post({
        type: "start",
        module,
        state,
        settings: given,
        transport: worker ? transport : { ...transport, fetch },
        trains: train !== undefined,
        slice: worker ? 40 : 8,
      }, worker && state ? [state.buffer] : []);
      if (signal) {
        const abort = () => participant.#end(signal.reason);
        signal.addEventListener("abort", abort, { once: true });
        participant.#unlisten = () => signal.removeEventListener("abort", abort);
        if (signal.aborted) abort();
      }
      participant.#publicKey = await participant.#started.promise;
      return participant;
    }

    /** @private Use Participant.create. */
    constructor(train) {
      super();
      this.#train = train;
      /** Settled once it has ended: fulfilled after `stop`, else rejected with what ended it. */
      this.finished = new Promise((resolve, reject) => {
        this.#resolve = resolve;
        this.#reject = reject;
      });
      // Nobody has to look at it.
      this.finished.catch(() => {});
    }

    /** Its public key, in hexadecimal. */
    get publicKey() {
      return this.#publicKey;
    }

    /** The global model; null while there is none. */
    globalModel() {
      return this.#call("fetchModel");
    }

    /** Sets a trained model, in place of one that was not yet used. For participants without `train`. */
    async setModel(weights) {
      await this.#call("setModel", { weights });
    }

    /** All that is needed to go on later, while it goes on. It holds secret keys. */
    save() {
      return this.#call("save");
    }

    /** What it does in this round, and what is known of the round. */
    status() {
      return this.#call("view");
    }

    /** Ends all work at once, wipes its keys, and gives what `save` would have given. */
    stop() {
      return this.#call("stop");
    }

    async [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
      if (!this.#ended) await this.stop();
    }

    #post(message, transfer = []) {
      this.#port.post(message, transfer);
    }

    #call(name, more = {}) {
      if (this.#ended) return Promise.reject(new StoppedError("the participant was stopped"));
      const id = this.#calls++;
      return new Promise((resolve, reject) => {
        this.#answers.set(id, { name, resolve, reject });
        try {
          this.#post({ type: "call", id, name, ...more });
        } catch (cause) {
          this.#answers.delete(id);
          reject(new ConfigError(`this cannot be given to the worker: ${cause.message}`, { cause }));
        }
      });
    }

    #take(message) {
      if (this.#ended) return;
      switch (message.type) {
        case "started":
          this.#started.resolve(message.publicKey);
          break;
        case "event":
          this.#event(message.event);
          break;
        case "train":
          this.#runTrain(message.model, message.round);
          break;
        case "answer": {
          const { name, resolve, reject } = this.#answers.get(message.id);
          this.#answers.delete(message.id);
          const error = message.error ? read(message.error) : null;
          if (error) reject(error);
          else resolve(message.value);
          // With that answer the worker ends, and may be seen to before whoever has called goes on: no fault then.
          if (name === "stop") this.#end(error);
          break;
        }
        case "failed":
          this.#end(read(message.error));
          break;
      }
    }

    #event({ type, ...detail }) {
      if (type === "round") this.#training?.abort(new StoppedError("the round of this training is over"));
      this.dispatchEvent(new ParticipantEvent(type, detail));
    }

    async #runTrain(model, round) {
      const training = new AbortController();
      this.#training = training;
      this.dispatchEvent(new ParticipantEvent("training", { round: round.round }));
      let weights = null;
      try {
        weights = await this.#train(model, { ...round, signal: training.signal });
      } catch (cause) {
        // One that was told to give up has nothing wrong.
        if (!training.signal.aborted) {
          this.#end(new TrainError(`the train function failed: ${cause?.message ?? cause}`, { cause }));
          return;
        }
      }
      this.#training = null;
      if (this.#ended) return;
      try {
        this.#post({ type: "trained", weights: weights ?? null, round: round.round });
      } catch (cause) {
        this.#end(new TrainError(`the train function gave no model: ${cause.message}`, { cause }));
      }
    }

    #end(error) {
      if (this.#ended) return;
      this.#ended = true;
      this.#unlisten();
      this.#port.close();
      const reason = error ?? new StoppedError("the participant was stopped");
      this.#training?.abort(reason);
      for (const { reject } of this.#answers.values()) reject(reason);
      this.#answers.clear();
      this.#started.reject(reason);
      this.#started.promise.catch(() => {});
      if (error) this.#reject(error);
      else this.#resolve();
      this.dispatchEvent(new ParticipantEvent("end", { error }));
    }
  };
}

/** A host without a worker, on this thread. */
function inline() {
  let take;
  let listener = () => {};
  let closed = false;
  const tell = (message) => {
    if (!closed) listener(message);
  };
  return {
    listen(onMessage) {
      listener = onMessage;
      take = host((message) => queueMicrotask(() => tell(message)), () => {});
    },
    post(message) {
      // A message of its own, as with a worker: what is given later changes nothing.
      queueMicrotask(() => take(message));
    },
    close() {
      closed = true;
      take({ type: "call", name: "stop", id: -1 });
    },
  };
}

/** The port of a worker, for messages of both platforms. */
export function workerPort(worker, on) {
  return {
    listen(onMessage, onError) {
      on(worker, onMessage, (cause) => {
        // Browsers do not say why a script cannot be loaded.
        onError(
          cause?.message
            ? new BugError(`the participant's worker has ended: ${cause.message}`, { cause })
            : new LoadError("the participant's worker cannot be loaded: is the package whole, and does worker-src let it in?", { cause }),
        );
      });
    },
    post: (message, transfer) => worker.postMessage(message, transfer),
    // It stops, wipes what is secret, and closes itself: terminated it would just be gone.
    close: () => worker.postMessage({ type: "call", name: "stop", id: -1 }),
  };
}
