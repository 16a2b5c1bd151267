import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

import { Machine, loadModule } from "../../js/node.js";

const module = await loadModule();
const recorded = JSON.parse(await readFile(new URL("round.json", import.meta.url)));
const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));

/** As in examples/round.rs. */
function digest(data) {
  let hash = 0xcbf29ce484222325n;
  for (const byte of data) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, "0");
}

const trained = (participant, round) =>
  Float64Array.from({ length: recorded.length }, (_, i) => (((i * 31 + participant * 17 + round * 7) % 129) - 64) / 64);

/** Has a machine told what a native one was told; each thing that it does must be the next that the other did. */
function replay({ seed, steps }, bodies) {
  const machine = new Machine(module, { seed: bytes(seed) });
  let at = 0;
  let jobs = [];
  let sent = 0;
  const tell = () => {
    for (; at < steps.length && steps[at].tells; at++) {
      const { tells, now, ...step } = steps[at];
      if (tells === "tick") machine.tick(now);
      else if (tells === "fetch") machine.fetchModel(now);
      else if (tells === "model") machine.setModel(now, trained(step.participant, step.round));
      else if (tells === "job") {
        const job = jobs.shift();
        job.run();
        machine.jobDone(now, job);
      } else {
        machine.response(now, step.id, { ...step, body: bytes(bodies[step.body]) });
      }
    }
  };
  tell();
  while (at < steps.length) {
    const output = machine.pollOutput();
    const expected = steps[at];
    if (output.kind === "request") {
      const body = output.body ?? new Uint8Array(0);
      assert.deepEqual(
        { sends: output.method + output.target, body: digest(body), length: body.length },
        expected,
        `step ${at}`,
      );
      sent += body.length;
      at++;
    } else if (output.kind === "job") {
      assert.deepEqual({ polls: "job" }, expected, `step ${at}`);
      jobs.push(output.job);
      at++;
    } else if (output.kind === "idle") {
      assert.deepEqual({ idle: output.wakeAt }, expected, `step ${at}`);
      at++;
    } else if (output.kind === "event" && output.event.type === "globalmodel" && output.event.model) {
      assert.deepEqual({ model: digest(new Uint8Array(output.event.model.buffer)) }, expected, `step ${at}`);
      at++;
    } else {
      assert.deepEqual({ polls: "event" }, expected, `step ${at}`);
      at++;
    }
    tell();
  }
  return sent;
}

for (const { config, bodies, participants } of recorded.cases) {
  test(`sends the same bytes as a native participant: ${config}`, () => {
    const sent = participants.map((each) => replay(each, bodies));
    // Masked models were among them.
    assert.ok(sent.filter((length) => length > 4 * recorded.length).length >= 3, String(sent));
  });
}
