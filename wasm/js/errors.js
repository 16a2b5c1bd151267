// What can go wrong. All of these are a ParticipantError; `code` says which one it is without `instanceof`.

/** The base of all errors of this package. */
export class ParticipantError extends Error {
  /** @param {string} message @param {ErrorOptions} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
    this.code = new.target.code;
  }

  static code = "participant";
}

/** An option or an argument cannot be used. */
export class ConfigError extends ParticipantError {
  static code = "config";
}

/** The local model cannot be used: its length, its type, or a weight that is no number. */
export class ModelError extends ParticipantError {
  static code = "model";
}

/** The saved state cannot be read. */
export class StateError extends ParticipantError {
  static code = "state";
}

/** The participant was stopped. */
export class StoppedError extends ParticipantError {
  static code = "stopped";
}

/** What a machine was told came too late: nothing is wrong. Only those who drive a Machine see it. */
export class LateError extends ParticipantError {
  static code = "late";
}

/** The global model could not be fetched. Ask again later. */
export class FetchError extends ParticipantError {
  static code = "fetch";
}

/** The `train` function threw, or its promise was rejected: `cause` is what it threw. */
export class TrainError extends ParticipantError {
  static code = "train";
}

/** The WebAssembly module or its worker cannot be loaded. */
export class LoadError extends ParticipantError {
  static code = "load";
}

/** A bug of ours. The participant is gone; restore it from a state that was saved before. Please report it. */
export class BugError extends ParticipantError {
  static code = "bug";
}

const classes = [
  ConfigError, ModelError, StateError, StoppedError, LateError, FetchError, TrainError, LoadError, BugError,
];

/** An error of the class that a code names. Used for what comes from WebAssembly or from a worker. */
export function errorOf(code, message, options) {
  const found = classes.find((each) => each.code === code) ?? ParticipantError;
  return new found(message, options);
}
