// The worker in Node.

import { parentPort } from "node:worker_threads";

import { host } from "./host.js";

const take = host((message, transfer) => parentPort.postMessage(message, transfer ?? []), () => parentPort.close());
parentPort.on("message", take);
