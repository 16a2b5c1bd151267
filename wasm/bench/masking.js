// How long masking takes in WebAssembly, beside the same natively, in the same run: `make bench-wasm`.
//
//   node bench/masking.js path/to/examples/masking [--json file] [--at-most 3]

import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";

import { Machine, loadModule } from "../js/node.js";

const LENGTH = 1_000_000;
const RUNS = 7;
const CONFIGS = ["Prime/F32/B0/M3", "Integer/F64/B2/M6", "Word32/F32/B0/M3"];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "string" }, "at-most": { type: "string" } },
});
const module = await loadModule();
const weights = Float32Array.from({ length: LENGTH }, (_, i) => (i % 2001) / 1000 - 1);

const native = () =>
  execFileSync(positionals[0], [String(LENGTH), ...CONFIGS], { encoding: "utf8" }).trim().split("\n").map((line) => JSON.parse(line));

/** Masks a model once; gives how many nanoseconds each weight takes. */
function mask(parameters, seed) {
  const machine = new Machine(module, { seed: new Uint8Array(32).fill(seed) });
  machine.setModel(0, weights);
  let now = 0;
  for (;;) {
    const output = machine.pollOutput();
    if (output.kind === "request") {
      const body = output.target === "/params" ? parameters : new Uint8Array(8);
      machine.response(now, output.id, { status: 200, body });
    } else if (output.kind === "job") {
      const begun = performance.now();
      output.job.run();
      const milliseconds = performance.now() - begun;
      if (output.job.label === "mask_model") {
        machine.free();
        return (milliseconds * 1e6) / LENGTH;
      }
      machine.jobDone(now, output.job);
    } else if (output.kind === "idle") {
      now = output.wakeAt;
      machine.tick(now);
    }
  }
}

const median = (numbers) => numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

const before = native();
const ours = before.map(({ parameters }) => {
  const bytes = Uint8Array.from(parameters.match(/../g), (byte) => parseInt(byte, 16));
  // The first runs are also when the engine compiles.
  for (let i = 0; i < 2; i++) mask(bytes, 100 + i);
  return median(Array.from({ length: RUNS }, (_, i) => mask(bytes, i + 1)));
});
const after = native();

const rows = CONFIGS.map((config, i) => {
  const ns = (before[i].ns + after[i].ns) / 2;
  return { config, native: ns, wasm: ours[i], times: ours[i] / ns };
});
console.log(`masking ${LENGTH.toLocaleString("en")} weights on one thread, nanoseconds for each (medians of ${RUNS}); Node ${process.version}`);
for (const { config, native: ns, wasm, times } of rows) {
  console.log(`  ${config.padEnd(20)} native ${ns.toFixed(2).padStart(7)}   WebAssembly ${wasm.toFixed(2).padStart(7)}   ${times.toFixed(2)} times`);
}
if (values.json) await writeFile(values.json, `${JSON.stringify({ node: process.version, length: LENGTH, rows }, null, 1)}\n`);
if (values["at-most"] && rows[0].times > Number(values["at-most"])) {
  console.error(`${rows[0].config} takes more than ${values["at-most"]} times as long`);
  process.exit(1);
}
