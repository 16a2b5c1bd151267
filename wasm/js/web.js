// The package in browsers.

import { LoadError } from "./errors.js";
import { once } from "./load.js";
import { participantFor, workerPort } from "./participant.js";

export * from "./errors.js";
export { Job, Machine } from "./machine.js";

/** The compiled module, for `new Machine(module)`. */
export const loadModule = once(async () => {
  const response = await fetch(new URL("../pet.wasm", import.meta.url));
  if (!response.ok) throw new Error(`HTTP status ${response.status}`);
  // A server that does not know the type of .wasm files is no trouble.
  if (response.headers.get("content-type") === "application/wasm") return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
});

async function startWorker() {
  let worker;
  try {
    worker = new Worker(new URL("./worker-web.js", import.meta.url), { type: "module", name: "pet-participant" });
  } catch (cause) {
    throw new LoadError(`no worker can be started: ${cause.message}; set the option worker to false to do without`, {
      cause,
    });
  }
  return workerPort(worker, (worker, onMessage, onError) => {
    worker.onmessage = ({ data }) => onMessage(data);
    worker.onerror = onError;
    worker.onmessageerror = onError;
  });
}

export const Participant = participantFor({ loadModule, startWorker, base: () => globalThis.location?.href });
