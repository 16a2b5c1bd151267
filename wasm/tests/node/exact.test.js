// What the other tests judge global models by has to find wrong ones.

import assert from "node:assert/strict";
import test from "node:test";

import { isMean, isNearest } from "../exact.js";

const f32 = (...weights) => weights.map(Math.fround);

test("the mean is recognised", () => {
  assert.ok(isMean(f32(0.5, -0.25), [f32(0.5, -0.25)], 1));
  assert.ok(isMean(f32(0.5, 1.5), [f32(0.25, 1), f32(0.75, 2)], 100));
  // Weights beyond the bound count as the bound.
  assert.ok(isMean(f32(0.5), [f32(7), f32(0)], 1));
});

test("a model that is off by one place, of fewer, of more or of others is not", () => {
  const [one, two, three] = [f32(0.5, 1.5), f32(0.25, 1), f32(0.75, 2)];
  const next = (weight) => Math.fround(weight * (1 + 2 ** -23));
  assert.ok(!isMean([next(one[0]), one[1]], [two, three], 100));
  assert.ok(!isMean(one, [two], 100));
  assert.ok(!isMean(one, [two, three, two], 100));
  assert.ok(!isMean(one, [two, two], 100));
  assert.ok(!isMean(one, [], 100));
  assert.ok(!isMean(one.slice(1), [two, three], 100));
  assert.ok(!isMean(f32(NaN, 1.5), [two, three], 100));
});

test("the nearest f32 is told from its neighbours", () => {
  for (const [numerator, denominator] of [[1n, 3n], [-1n, 3n], [0n, 5n], [7n, 10n ** 10n], [-(10n ** 11n) + 1n, 10n ** 10n]]) {
    const nearest = Math.fround(Number(numerator) / Number(denominator));
    const step = Math.max(Math.abs(nearest) * 2 ** -23, 2 ** -149);
    assert.ok(isNearest(nearest, numerator, denominator), String(numerator));
    for (const other of [nearest - step, nearest + step]) assert.ok(!isNearest(Math.fround(other), numerator, denominator));
  }
  assert.ok(!isNearest(1 / 3, 1n, 3n), "no f32");
});
