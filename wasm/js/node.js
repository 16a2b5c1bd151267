// The package in Node.

import { readFile } from "node:fs/promises";
import { Worker } from "node:worker_threads";

import { once } from "./load.js";
import { participantFor, workerPort } from "./participant.js";

export * from "./errors.js";
export { Job, Machine } from "./machine.js";

/** The compiled module, for `new Machine(module)`. */
export const loadModule = once(async () => WebAssembly.compile(await readFile(new URL("../pet.wasm", import.meta.url))));

async function startWorker() {
  const worker = new Worker(new URL("./worker-node.js", import.meta.url), { name: "pet-participant" });
  return workerPort(worker, (worker, onMessage, onError) => {
    worker.on("message", onMessage);
    worker.on("error", onError);
    worker.on("messageerror", onError);
    worker.on("exit", (code) => onError(new Error(`exit code ${code}`)));
  });
}

export const Participant = participantFor({ loadModule, startWorker, base: () => undefined });
