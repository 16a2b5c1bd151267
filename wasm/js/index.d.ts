/** The numbers of a model: Float32Array, Float64Array, Int32Array or BigInt64Array for rounds of `f32`, `f64`, `i32`, `i64`. */
export type Weights = Float32Array | Float64Array | Int32Array | BigInt64Array;

/** The type of a model's weights. */
export type DataType = "f32" | "f64" | "i32" | "i64";

/** What a participant does in a round: nothing, sum masks, or train and send a masked model. */
export type Task = "none" | "sum" | "update";

/** What a round's models are. */
export interface RoundShape {
  /** The round's name, the same for all participants: the ETag of the coordinator's `/params`. */
  tag: string;
  dataType: DataType;
  /** How many weights a model has. */
  length: number;
  /** How models are masked, such as `Prime/F32/B0/M3`. */
  maskConfig: string;
}

/** The round that a model is trained for. */
export interface Round extends RoundShape {
  /** The how manieth round it is that this participant has seen begin: 1 is the first. */
  round: number;
  /** Aborted once the round is over, or the participant has ended: the model would not be used any more. */
  signal: AbortSignal;
}

/**
 * Trains: gives the new weights, as many as the round's models have, or nothing to sit the round out. `globalModel` is null before there
 * is one. It is the function's own to change.
 */
export type Train = (
  globalModel: Weights | null,
  round: Round,
) => Weights | number[] | null | undefined | void | Promise<Weights | number[] | null | undefined | void>;

/** Pauses between two looks at the coordinator, in milliseconds. */
export interface Polling {
  /** After progress. Default: 100. */
  afterProgress?: number;
  /** The first pause without progress. Default: 100. */
  initial?: number;
  /** By what each further one is longer, 1 or more. Default: 1.2. */
  factor?: number;
  /** The longest. Default: 10,000. */
  max?: number;
}

/** How a machine behaves. */
export interface Settings {
  /**
   * How much this participant's models count: the global model is the mean of all, weighted with these. Not negative. A fraction
   * that is exact is given as `[numerator, denominator]`. Default: 1.
   */
  scalar?: number | readonly [numerator: number, denominator: number];
  /** The most bytes that a message may have before it is sent in parts. Default: no limit. */
  maxMessageSize?: number;
  /** The most weights that models may have; in rounds of longer ones this participant takes no part. Default: 2^28. */
  maxModelLength?: number;
  /** Whether a model that was set in one round and not used is kept for a later one. Default: true. */
  keepModels?: boolean;
  polling?: Polling;
}

export interface ParticipantOptions extends Settings {
  /** Where the coordinator is, such as `https://pet.example.org`. In pages it may be relative to the page. */
  url: string | URL;
  /** Trains whenever a model is wanted. Without it, `modelneeded` says so, and `setModel` takes the model. */
  train?: Train;
  /** Headers to send with every request, such as `Authorization`. A coordinator of another origin has to allow them. */
  headers?: Record<string, string> | Headers | [string, string][];
  /** As of `fetch`: whether cookies and client certificates are sent. */
  credentials?: "include" | "omit" | "same-origin";
  /** Ends the participant at once. */
  signal?: AbortSignal;
  /**
   * Whether the cryptography runs in a worker, so that the page never stalls. Default: true. Without one it runs here, 8
   * milliseconds at a time.
   */
  worker?: boolean;
  /** A `fetch` of your own. Only with `worker: false`. */
  fetch?: typeof globalThis.fetch;
}

/** What has happened, by the name of the event. All have a text for people. */
export interface ParticipantEventDetails {
  /** A new round has begun. */
  round: RoundShape & { round: number; task: Task; text: string };
  /** A local model is wanted: said once a round, also with a `train` function. */
  modelneeded: { round: number; dataType: DataType; length: number; text: string };
  /** `train` is called. */
  training: { round: number };
  /** The local model cannot be used and was dropped. */
  modelrejected: { text: string };
  /** The local model was for the round before and was dropped (`keepModels: false`). */
  modeloutdated: { text: string };
  /** The local model was masked. `clamped` weights were beyond the bound of this coordinator's models and were put on it. */
  masked: { clamped: number; text: string };
  /** A part of a message was delivered. */
  progress: { message: string; sent: number; total: number; text: string };
  /** A message was delivered. */
  sent: { message: string; text: string };
  /** The coordinator has rejected a message for good: nothing more can be done in this round. */
  rejected: { message: string; problem: string; text: string };
  /** Nothing more can be done in this round. */
  gaveup: { text: string };
  /** The coordinator could not be asked, or gave a wrong answer: it is asked again later. */
  trouble: { call: string; text: string };
  /** A training ended after its round: its model is not used. */
  late: { text: string };
  /** What it waits for now: the next look at the coordinator, a local model, an answer, or a job of its own. */
  waiting: { why: "poll" | "localmodel" | "answer" | "job" | "storage" | "stopped" | "other" };
  /** It has ended: `error` is null after `stop`. */
  end: { error: unknown };
}

export interface ParticipantEvent<Name extends keyof ParticipantEventDetails> extends Event {
  readonly type: Name;
  readonly detail: ParticipantEventDetails[Name];
}

/** What is known of a participant. */
export interface Status {
  /** In hexadecimal. */
  publicKey: string;
  /** In this round; `none` before the first. */
  task: Task;
  /** Whether it waits for a local model. */
  needsModel: boolean;
  /** Whether there is one that was not yet used. */
  hasModel: boolean;
  /** What this round's models are; null before the first. */
  round: RoundShape | null;
}

/** A running participant: an EventTarget. */
export class Participant {
  private constructor();

  /**
   * Starts a new participant, with secrets from `crypto.getRandomValues`. A coordinator that cannot be reached is no error: it is
   * asked again for ever, and `trouble` says so.
   *
   * @throws {ConfigError} an option cannot be used
   * @throws {LoadError} pet.wasm or the worker cannot be loaded
   */
  static create(options: ParticipantOptions): Promise<Participant>;

  /**
   * Starts a participant that goes on where it was when it was saved, with other options if need be. No two may go on from the same
   * state at a time.
   *
   * @throws {StateError} these bytes are no saved state
   */
  static restore(state: Uint8Array, options: ParticipantOptions): Promise<Participant>;

  /** Its public key, in hexadecimal. */
  readonly publicKey: string;

  /** Fulfilled after `stop`; rejected with what else has ended it: a TrainError, a BugError, or the reason of `signal`. */
  readonly finished: Promise<void>;

  /**
   * The current global model, fetched anew; null while there is none.
   *
   * @throws {FetchError} it cannot be had now
   */
  globalModel(): Promise<Weights | null>;

  /**
   * Sets a trained model, in place of one that was not yet used. For participants without `train`.
   *
   * @throws {ModelError} it does not fit the round
   */
  setModel(weights: Weights | number[]): Promise<void>;

  /** All that is needed to go on later, while it goes on. It holds secret keys: keep it where nobody else reads it. */
  save(): Promise<Uint8Array>;

  /** What is known of it. */
  status(): Promise<Status>;

  /** Ends all work at once, wipes its keys, and gives what `save` would have given. */
  stop(): Promise<Uint8Array>;

  addEventListener<Name extends keyof ParticipantEventDetails>(
    type: Name,
    listener: (event: ParticipantEvent<Name>) => void,
    options?: AddEventListenerOptions | boolean,
  ): void;
  removeEventListener<Name extends keyof ParticipantEventDetails>(
    type: Name,
    listener: (event: ParticipantEvent<Name>) => void,
    options?: EventListenerOptions | boolean,
  ): void;
}

/** The compiled module, for `new Machine(module)`. It is compiled once. */
export function loadModule(): Promise<WebAssembly.Module>;

/** What happened to a machine's user: as a participant's events, and two answers to `fetchModel`. */
export type MachineEvent =
  | {
      [Name in Exclude<keyof ParticipantEventDetails, "training" | "late" | "waiting" | "end" | "round" | "modelneeded">]: {
        type: Name;
      } & ParticipantEventDetails[Name];
    }[Exclude<keyof ParticipantEventDetails, "training" | "late" | "waiting" | "end" | "round" | "modelneeded">]
  | ({ type: "round"; task: Task; text: string } & RoundShape)
  | { type: "modelneeded"; dataType: DataType; length: number; text: string }
  | { type: "globalmodel"; model: Weights | null; dataType: DataType | null; length: number; text: string }
  | { type: "globalmodelfailed"; text: string }
  | { type: "other"; text: string };

/** An HTTP request to send. */
export interface MachineRequest {
  kind: "request";
  /** To be told with the answer. */
  id: number;
  method: "GET" | "POST";
  /** Path and query, to be put behind the coordinator's URL (which has no slash at its end). */
  target: string;
  /** Headers to send. */
  headers: [name: string, value: string][];
  /** If the answer may be held back until there are news: headers to send as well, and how much longer it may then take. */
  patience: { headers: [name: string, value: string][]; waitMs: number } | null;
  body: Uint8Array | null;
  /** How long to wait for the beginning of the answer, sending included. */
  answerMs: number;
  /** How long all of it may take. */
  totalMs: number;
  /** The most bytes that the answer's body may have: more is the fault `toolarge`. */
  maxAnswer: number;
}

/** Something that should happen. */
export type Output =
  | MachineRequest
  /** The answer to this request is not waited for any more. */
  | { kind: "cancel"; id: number }
  /** Run it, and hand it in with `jobDone`. */
  | { kind: "job"; job: Job }
  | { kind: "event"; event: MachineEvent }
  /** Nothing until the next input, or until then. */
  | { kind: "idle"; wakeAt: number | null; why: ParticipantEventDetails["waiting"]["why"] }
  | { kind: "other" };

/** Work that takes long. */
export class Job {
  private constructor();
  /** What it does, in two or three words. */
  readonly name: string;
  /** The same as a short, stable name, such as `mask_model`. */
  readonly label: string;
  /** How far it is, from 0 to 1. */
  readonly progress: number;
  /** Does the next piece, of about a millisecond; true once nothing is left. */
  step(): boolean;
  /** Works for so many milliseconds, or to the end; true once nothing is left. */
  run(milliseconds?: number): boolean;
  /** Gives it up: it is given out again if it is still needed. */
  free(): void;
}

/**
 * A participant without clock and network, for event loops of your own. After each input call `pollOutput` until it is `idle`. Times are
 * milliseconds of any clock that does not go back.
 */
export class Machine {
  /**
   * @throws {ConfigError} settings or seed cannot be used
   * @throws {StateError} the state cannot be read
   */
  constructor(module: WebAssembly.Module, options?: {
    /** 32 bytes that nobody can guess and no other participant has. By default they are drawn. */
    seed?: Uint8Array;
    /** A saved state to go on from. */
    state?: Uint8Array;
    settings?: Settings;
  });
  pollOutput(): Output;
  tick(now: number): void;
  /** @throws {LateError} it is not waited for any more: nothing is wrong */
  response(now: number, id: number, response: {
    status: number;
    body?: Uint8Array;
    retryAfter?: string | null;
    contentType?: string | null;
  }): void;
  /** @throws {LateError} */
  fault(now: number, id: number, kind: "unreachable" | "timeout" | "toolarge", text?: string): void;
  /** @throws {LateError} */
  jobDone(now: number, job: Job): void;
  /** @throws {ModelError} it does not fit the round */
  setModel(now: number, weights: Weights | number[]): void;
  fetchModel(now: number): void;
  patience(now: number, milliseconds: number): void;
  stop(now: number): void;
  save(): Uint8Array;
  readonly view: Status;
  /** Frees it, and wipes its keys. */
  free(): void;
}

/** The base of all errors of this package. */
export class ParticipantError extends Error {
  constructor(message: string, options?: ErrorOptions);
  readonly code: "participant" | "config" | "model" | "state" | "stopped" | "late" | "fetch" | "train" | "load" | "bug";
}
/** An option or an argument cannot be used. */
export class ConfigError extends ParticipantError {}
/** The local model cannot be used. */
export class ModelError extends ParticipantError {}
/** The saved state cannot be read. */
export class StateError extends ParticipantError {}
/** The participant was stopped. */
export class StoppedError extends ParticipantError {}
/** What a machine was told came too late: nothing is wrong. */
export class LateError extends ParticipantError {}
/** The global model could not be fetched: ask again later. */
export class FetchError extends ParticipantError {}
/** The `train` function failed: `cause` is what it threw. */
export class TrainError extends ParticipantError {}
/** The WebAssembly module or its worker cannot be loaded. */
export class LoadError extends ParticipantError {}
/** A bug of ours. The participant is gone; restore it from a state that was saved before, and please report it. */
export class BugError extends ParticipantError {}
