// Compiles the module, once for all.

import { LoadError } from "./errors.js";

/** A function that compiles what `get` gives, once; a failure is tried again. */
export function once(get) {
  let loaded = null;
  return () => {
    loaded ??= get().catch((cause) => {
      loaded = null;
      throw new LoadError(`pet.wasm cannot be loaded: ${cause.message}`, { cause });
    });
    return loaded;
  };
}
