import assert from "node:assert/strict";
import test from "node:test";

import {
  ConfigError, ModelError, Participant, StateError, StoppedError, TrainError,
} from "../../js/node.js";
import { startCoordinator } from "../../demo/serve.js";
import { BugError } from "../../js/errors.js";
import { participantFor } from "../../js/participant.js";
import { isMean } from "../exact.js";

const binary = process.env.PET_COORDINATOR;
const LENGTH = 16;
// (Nobody is there: ports of outgoing connections end below.)
const url = "http://127.0.0.1:65533";
const next = (target, type) => new Promise((resolve) => target.addEventListener(type, ({ detail }) => resolve(detail), { once: true }));

const FAST = [
  "pet.sum.prob=0.3", "pet.sum.time.min=0.3", "pet.sum.time.max=2", "pet.update.time.min=0.6", "pet.update.time.max=20",
  "pet.sum2.time.min=0.3", "pet.sum2.time.max=20",
];

test("options that cannot be used are refused", async () => {
  for (const options of [
    null, {}, { url: "no" }, { url, trian: () => {} }, { url, train: 7 }, { url, scalar: -1 }, { url, maxModelLength: 0.5 },
    { url, fetch: () => {} },
  ]) {
    await assert.rejects(Participant.create(options), ConfigError, JSON.stringify(options));
  }
  await assert.rejects(Participant.restore(new Uint8Array(9), { url }), StateError);
  await assert.rejects(Participant.restore("no", { url }), ConfigError);
});

// Where a machine is busy, both come in the same turn: the answer, and that the worker has ended with it.
test("a worker that ends with its answer to stop is no fault", async () => {
  const state = new Uint8Array([1, 2, 3]);
  const startWorker = async () => {
    let told;
    return {
      listen: (onMessage, onError) => (told = { onMessage, onError }),
      post({ type, name, id }) {
        if (type === "start") told.onMessage({ type: "started", publicKey: "ab" });
        if (name !== "stop") return;
        queueMicrotask(() => {
          told.onMessage({ type: "answer", id, value: state });
          told.onError(new BugError("exit code 0"));
        });
      },
      close() {},
    };
  };
  const Faked = participantFor({ loadModule: async () => null, startWorker, base: () => undefined });
  const participant = await Faked.create({ url });
  const ended = next(participant, "end");
  assert.equal(await participant.stop(), state);
  await participant.finished;
  assert.equal((await ended).error, null);
});

for (const worker of [true, false]) {
  const where = worker ? "in a worker" : "without a worker";

  test(`a coordinator that is not there is a trouble, no error: ${where}`, async (t) => {
    const participant = await Participant.create({ url, worker });
    t.after(() => participant.stop().catch(() => {}));
    const { text } = await next(participant, "trouble");
    assert.match(text, /ECONNREFUSED/);
    await assert.rejects(participant.globalModel(), { code: "fetch" });
    const state = await participant.stop();
    await participant.finished;
    for (const call of ["stop", "save", "globalModel", "status"]) await assert.rejects(participant[call](), StoppedError);
    const again = await Participant.restore(state, { url, worker });
    assert.equal(again.publicKey, participant.publicKey);
    assert.deepEqual(await again.save(), state);
    assert.equal((await again.status()).task, "none");
    await again.stop();
  });

  test(`an AbortSignal ends it, with its reason: ${where}`, async () => {
    await assert.rejects(Participant.create({ url, worker, signal: AbortSignal.abort(new Error("before")) }), /before/);
    const controller = new AbortController();
    const participant = await Participant.create({ url, worker, signal: controller.signal });
    const model = participant.globalModel();
    const ended = next(participant, "end");
    controller.abort(new Error("enough"));
    await assert.rejects(participant.finished, /enough/);
    await assert.rejects(model);
    assert.match((await ended).error.message, /enough/);
  });

  test(`rounds with a real coordinator are exact: ${where}`, { skip: !binary && "PET_COORDINATOR is not set" }, async (t) => {
    const coordinator = await startCoordinator({ binary, length: LENGTH, settings: FAST });
    t.after(() => coordinator.stop());
    const rounds = new Map();
    const participants = [];
    t.after(() => Promise.all(participants.map((each) => each.stop().catch(() => {}))));
    for (let i = 0; i < 6; i++) {
      const of = (tag) => rounds.get(tag) ?? rounds.set(tag, { models: new Map(), before: undefined }).get(tag);
      let latest = null;
      const participant = await Participant.create({
        url: coordinator.url,
        worker,
        polling: { max: 200 },
        async train(globalModel, round) {
          assert.equal(round.length, LENGTH);
          assert.ok(globalModel === null || globalModel instanceof Float32Array);
          const { models, before } = of(round.tag);
          // All are given the same global model in a round.
          if (before !== undefined) assert.deepEqual(globalModel, before);
          of(round.tag).before = globalModel;
          latest = { models, weights: Float32Array.from({ length: LENGTH }, () => 2 * Math.random() - 1) };
          await new Promise((resolve) => setTimeout(resolve, 5));
          return latest.weights;
        },
      });
      participant.addEventListener("sent", ({ detail }) => {
        if (detail.message === "update") latest.models.set(i, latest.weights);
      });
      participant.addEventListener("rejected", ({ detail }) => {
        if (detail.message === "update") latest.models.delete(i);
      });
      participants.push(participant);
    }
    const completed = async () => (await (await fetch(`${coordinator.url}/status?samples=0`)).json()).totals.completed;
    while ((await completed()) < 4) await new Promise((resolve) => setTimeout(resolve, 50));
    const tags = [...rounds.keys()];
    let exact = 0;
    let model = null;
    for (const [i, tag] of tags.entries()) {
      const after = rounds.get(tags[i + 1])?.before;
      if (after && String(after) !== String(model)) {
        // (Nothing is known of a round in which nobody here trained: there is none, as all are here.)
        assert.ok(isMean(after, [...rounds.get(tag).models.values()], 1), `round ${i}`);
        model = after;
        exact++;
      }
    }
    assert.ok(exact >= 3, `${exact} of ${tags.length}`);
    const fetched = await participants[0].globalModel();
    assert.equal(fetched.length, LENGTH);
  });
}

const quick = { skip: !binary && "PET_COORDINATOR is not set" };

/** Participants that train as they should, for rounds to go on. */
async function crowd(t, coordinator, count) {
  const all = await Promise.all(
    Array.from({ length: count }, () =>
      Participant.create({ url: coordinator.url, polling: { max: 200 }, train: (_, { length }) => new Float32Array(length) })),
  );
  t.after(() => Promise.all(all.map((each) => each.stop().catch(() => {}))));
  return all;
}

test("what train does wrong ends the participant, with its cause", quick, async (t) => {
  const coordinator = await startCoordinator({ binary, length: LENGTH, settings: FAST });
  t.after(() => coordinator.stop());
  await crowd(t, coordinator, 4);
  const own = new Error("no data");
  for (const [train, type, check] of [
    [() => { throw own; }, TrainError, (error) => error.cause === own],
    [async () => { throw own; }, TrainError, (error) => error.cause === own],
    [() => new Float32Array(3), ModelError, (error) => /has 3 weights/.test(error.message)],
    [() => "no", ModelError, () => true],
    [() => [NaN], ModelError, (error) => /weight 0/.test(error.message)],
    [() => () => {}, TrainError, () => true],
  ]) {
    const participant = await Participant.create({ url: coordinator.url, polling: { max: 200 }, train });
    await assert.rejects(participant.finished, (error) => error instanceof type && check(error), String(train));
  }
});

test("one that gives no model sits the round out, and is asked again in the next", quick, async (t) => {
  const coordinator = await startCoordinator({ binary, length: LENGTH, settings: FAST });
  t.after(() => coordinator.stop());
  await crowd(t, coordinator, 4);
  const rounds = [];
  let second;
  const isSecond = new Promise((resolve) => (second = resolve));
  const participant = await Participant.create({
    url: coordinator.url,
    polling: { max: 200 },
    train(_, { round }) {
      rounds.push(round);
      if (rounds.length === 2) second();
    },
  });
  await isSecond;
  assert.equal(new Set(rounds).size, rounds.length);
  await participant.stop();
});

test("a training whose round is over is told so", quick, async (t) => {
  const coordinator = await startCoordinator({ binary, length: LENGTH, settings: FAST });
  t.after(() => coordinator.stop());
  await crowd(t, coordinator, 4);
  const participant = await Participant.create({
    url: coordinator.url,
    polling: { max: 200 },
    train: (_, { signal, length }) =>
      new Promise((resolve) => signal.addEventListener("abort", () => resolve(new Float32Array(length)))),
  });
  t.after(() => participant.stop().catch(() => {}));
  assert.match((await next(participant, "late")).text, /after its round/);
});

test("models can be set without train", quick, async (t) => {
  const coordinator = await startCoordinator({ binary, length: LENGTH, settings: FAST });
  t.after(() => coordinator.stop());
  await crowd(t, coordinator, 4);
  const participant = await Participant.create({ url: coordinator.url, polling: { max: 200 }, scalar: [1, 3] });
  t.after(() => participant.stop().catch(() => {}));
  const { length, dataType } = await next(participant, "modelneeded");
  assert.deepEqual([length, dataType], [LENGTH, "f32"]);
  await assert.rejects(participant.setModel(new Float32Array(3)), ModelError);
  await participant.setModel(new Array(LENGTH).fill(2));
  assert.equal((await next(participant, "masked")).clamped, 0);
});
