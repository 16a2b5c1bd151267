import assert from "node:assert/strict";
import test from "node:test";

import * as pet from "../../js/node.js";

test("all errors have one base, a name and a code", () => {
  const names = Object.keys(pet).filter((name) => name.endsWith("Error"));
  assert.equal(names.length, 10);
  const codes = new Set();
  for (const name of names) {
    const error = new pet[name]("text", { cause: 7 });
    assert.ok(error instanceof pet.ParticipantError && error instanceof Error);
    assert.equal(error.name, name);
    assert.equal(error.message, "text");
    assert.equal(error.cause, 7);
    codes.add(error.code);
  }
  assert.equal(codes.size, names.length);
});
