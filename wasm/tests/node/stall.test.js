import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import test from "node:test";

import { Participant } from "../../js/node.js";

/** How long masking is to be felt: this many weights take some tenths of a second. */
const LENGTH = 3_000_000;

for (const worker of [true, false]) {
  test(`while a long model is masked, the thread of the page goes on: ${worker ? "in a worker" : "without one"}`, async (t) => {
    const { parameters: hex } = JSON.parse(await readFile(new URL("round.json", import.meta.url)));
    const parameters = Buffer.from(hex, "hex");
    parameters.writeBigUInt64LE(BigInt(LENGTH), parameters.length - 8);
    const server = createServer((request, answer) => {
      request.resume().on("end", () => answer.end(request.url === "/params" ? parameters : Buffer.alloc(8)));
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const participant = await Participant.create({ url: `http://127.0.0.1:${server.address().port}`, worker });
    t.after(async () => {
      await participant.stop();
      server.closeAllConnections();
      server.close();
    });
    const happened = (type) => new Promise((resolve) => participant.addEventListener(type, resolve, { once: true }));
    await happened("modelneeded");
    const masked = happened("masked");
    await participant.setModel(new Float32Array(LENGTH).fill(0.25));
    let longest = 0;
    const begun = performance.now();
    let last = begun;
    const timer = setInterval(() => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
    }, 1);
    await masked;
    clearInterval(timer);
    const took = performance.now() - begun;
    t.diagnostic(`masking took ${took.toFixed(0)} ms; the longest pause here was ${longest.toFixed(0)} ms`);
    assert.ok(longest < took / 4, `${longest} ms of ${took} ms`);
  });
}
