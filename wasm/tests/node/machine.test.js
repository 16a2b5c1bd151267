import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

import {
  BugError, ConfigError, LateError, Machine, ModelError, StateError, StoppedError, loadModule,
} from "../../js/node.js";
import { Instance } from "../../js/instance.js";

const module = await loadModule();
const seed = (byte) => new Uint8Array(32).fill(byte);

/** A round in which everyone updates, as /params has it: see docs/protocol.md. */
const parameters = Uint8Array.from(
  JSON.parse(await readFile(new URL("round.json", import.meta.url))).parameters.match(/../g).map((byte) => parseInt(byte, 16)),
);

/** Everything until it is idle; gives the idle output, and the others. */
function drain(machine) {
  const outputs = [];
  for (;;) {
    const output = machine.pollOutput();
    if (output.kind === "idle") return [output, outputs];
    outputs.push(output);
  }
}

test("keys follow from the seed, and are drawn without one", () => {
  const key = (options) => new Machine(module, options).view.publicKey;
  assert.equal(key({ seed: seed(1) }), key({ seed: seed(1) }));
  assert.notEqual(key({ seed: seed(1) }), key({ seed: seed(2) }));
  assert.notEqual(key(), key());
  assert.match(key(), /^[0-9a-f]{64}$/);
});

test("a new machine looks at the coordinator, and comes back later", () => {
  const machine = new Machine(module, { seed: seed(1) });
  machine.tick(0);
  const [idle, [request, ...rest]] = drain(machine);
  assert.deepEqual(rest, []);
  assert.deepEqual([idle.wakeAt, idle.why], [null, "answer"]);
  assert.equal(request.method + request.target, "GET/params");
  assert.equal(request.body, null);
  assert.ok(request.answerMs >= 1000 && request.totalMs >= request.answerMs && request.maxAnswer === 65536);
  machine.response(5, request.id, { status: 204 });
  const [later] = drain(machine);
  assert.ok(later.wakeAt > 5 && later.why === "poll");
  assert.throws(() => machine.response(6, request.id, { status: 204 }), LateError);
  assert.throws(() => machine.fault(6, 999, "timeout"), LateError);
});

test("faults are troubles, and their texts are told", () => {
  const machine = new Machine(module, { seed: seed(1) });
  for (const [kind, told] of [["unreachable", "no route: π"], ["timeout", "in time"], ["toolarge", "too long"]]) {
    machine.tick(1e9);
    const [, [request]] = drain(machine);
    machine.fault(1e9, request.id, kind, "no route: π");
    const [idle, [{ event }]] = drain(machine);
    assert.equal(event.type, "trouble");
    assert.ok(event.text.includes(told), event.text);
    machine.tick(idle.wakeAt);
  }
  assert.throws(() => machine.fault(1e9, 0, "other"), ConfigError);
});

test("patience is asked for where there is news to wait for", () => {
  const machine = new Machine(module, { seed: seed(1) });
  machine.patience(0, 45_000);
  let [, [request]] = drain(machine);
  machine.response(0, request.id, { status: 200, body: parameters });
  let waited = false;
  for (let now = 0, i = 0; i < 20 && !waited; i++) {
    const [idle, outputs] = drain(machine);
    for (const output of outputs) {
      if (output.kind !== "request") continue;
      if (output.patience) {
        waited = true;
        assert.equal(output.patience.headers[0][0], "prefer");
        assert.equal(output.patience.waitMs, 45_000);
      } else {
        const sums = output.target === "/sums";
        machine.response(now, output.id, sums ? { status: 200, body: new Uint8Array(8) } : { status: 204 });
      }
    }
    now = idle.wakeAt ?? now + 1000;
    machine.tick(now);
  }
  assert.ok(waited);
});

test("what cannot be used is refused, and says why", () => {
  for (const [options, named] of [
    [{ seed: new Uint8Array(31) }, "32 bytes"],
    [{ seed: "no" }, "32 bytes"],
    [{ settings: { scaler: 1 } }, "scaler"],
    [{ settings: { scalar: -1 } }, "scalar -1"],
    [{ settings: { scalar: Infinity } }, "scalar is Infinity"],
    [{ settings: { scalar: 1n } }, "settings"],
    [{ settings: { maxModelLength: 0.5 } }, "maxModelLength"],
    [{ settings: null }, "settings"],
    [{ state: "no" }, "Uint8Array"],
  ]) {
    assert.throws(() => new Machine(module, options), (error) => error instanceof ConfigError && error.message.includes(named));
  }
  for (const state of [new Uint8Array(0), new Uint8Array(100), new TextEncoder().encode("PETp")]) {
    assert.throws(() => new Machine(module, { state }), StateError);
  }
});

test("it goes on from a saved state, also from one that a native participant has saved", async () => {
  const machine = new Machine(module, { seed: seed(3) });
  const state = machine.save();
  const second = new Machine(module, { state });
  assert.equal(second.view.publicKey, machine.view.publicKey);
  assert.deepEqual(second.save(), state);
  for (const name of ["sum", "sum2", "update"]) {
    const bytes = await readFile(new URL(`../../../tests/saved/participant-${name}-v1`, import.meta.url));
    const restored = new Machine(module, { state: bytes });
    assert.match(restored.view.task, /^(sum|update)$/);
    assert.deepEqual(restored.save(), new Uint8Array(bytes));
  }
});

test("weights that are no model are refused", () => {
  const machine = new Machine(module, { seed: seed(1) });
  for (const weights of [null, 7, "no", [1, "2"], new Uint8Array(4), new Uint16Array(4), [NaN], new Float32Array([1, Infinity])]) {
    assert.throws(() => machine.setModel(0, weights), ModelError, String(weights));
  }
  machine.tick(0);
  const [, [request]] = drain(machine);
  machine.response(0, request.id, { status: 200, body: parameters });
  drain(machine);
  assert.throws(() => machine.setModel(0, new Float32Array(2)), /has 2 weights, but this coordinator's models have/);
});

test("a machine that was stopped or freed says so", () => {
  const machine = new Machine(module);
  machine.stop(0);
  assert.throws(() => machine.tick(1), StoppedError);
  assert.equal(machine.pollOutput().why, "stopped");
  machine.free();
  machine.free();
  for (const use of [() => machine.tick(1), () => machine.view, () => machine.save(), () => machine.pollOutput()]) {
    assert.throws(use, StoppedError);
  }
});

test("a panic becomes an error with its text, and ends the instance", () => {
  const instance = new Instance(module);
  for (let i = 0; i < 2; i++) {
    assert.throws(() => instance.call(i === 0 ? "pet_panic_for_tests" : "pet_text"), (error) => {
      assert.ok(error instanceof BugError && error.message.includes("a panic for tests"), error.message);
      return error.cause instanceof WebAssembly.RuntimeError;
    });
  }
});

test("rubbish from outside never panics", () => {
  let state = 7;
  const next = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 8;
  for (let i = 0; i < 300; i++) {
    const machine = new Machine(module, { seed: seed(1) });
    let now = 0;
    for (let turn = 0; turn < 12; turn++) {
      machine.tick(now);
      const [idle, outputs] = drain(machine);
      now = (idle.wakeAt ?? now) + 1;
      for (const output of outputs) {
        if (output.kind === "request") {
          const body = next() % 3 === 0 ? parameters.slice() : Uint8Array.from({ length: next() % 200 }, next);
          if (next() % 2) body[next() % Math.max(body.length, 1)] ^= next();
          const status = [200, 200, 200, 204, 304, 500, 70000][next() % 7];
          machine.response(now, output.id, { status, body, contentType: "application/vnd.pet.weights; dtype=f32", retryAfter: "\ud800" });
        } else if (output.kind === "job") {
          output.job.run();
          machine.jobDone(now, output.job);
        }
      }
    }
    machine.free();
  }
});

test("a job of another machine, or that is gone, is refused", async () => {
  const { jobs: [job], machine } = await untilJob();
  const other = new Machine(module);
  assert.throws(() => other.jobDone(0, job), ConfigError);
  assert.ok(job.name.length > 0 && job.progress >= 0 && job.progress <= 1);
  job.free();
  job.free();
  assert.throws(() => job.step(), ConfigError);
  assert.throws(() => machine.jobDone(0, job), ConfigError);
  // It is given out again.
  assert.equal((await untilJob(machine, 100_000)).jobs[0].label, job.label);
});

/** A machine that wants its model masked. */
async function untilJob(machine = new Machine(module, { seed: seed(1) }), now = 0) {
  const { length } = JSON.parse(await readFile(new URL("round.json", import.meta.url)));
  if (now === 0) machine.setModel(0, new Float32Array(length).fill(0.5));
  for (let i = 0; i < 20; i++) {
    machine.tick(now);
    const [idle, outputs] = drain(machine);
    const jobs = outputs.filter((output) => output.kind === "job").map((output) => output.job);
    if (jobs.length > 0) return { machine, jobs };
    for (const { kind, id, target } of outputs) {
      if (kind !== "request") continue;
      machine.response(now, id, { status: 200, body: target === "/sums" ? new Uint8Array(8) : parameters });
    }
    now = idle.wakeAt ?? now + 100;
  }
  assert.fail("no job came");
}
