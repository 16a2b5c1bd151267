import assert from "node:assert/strict";
import { createServer } from "node:http";
import test from "node:test";

import { ConfigError } from "../../js/node.js";
import { Transport, baseUrl, waitingPlace } from "../../js/transport.js";

const request = (more) => ({
  kind: "request", id: 1, method: "GET", target: "/params", headers: [], patience: null, body: null, answerMs: 5000, totalMs: 5000,
  maxAnswer: 100, ...more,
});

/** A server that does what it is told; gives its URL. */
async function serving(t, handler) {
  const server = createServer(handler);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

test("URLs are read, and what is none is refused", () => {
  assert.equal(baseUrl("http://127.0.0.1:8081/"), "http://127.0.0.1:8081");
  assert.equal(baseUrl(new URL("https://example.org/pet//")), "https://example.org/pet");
  assert.equal(baseUrl("/pet", "https://example.org/page?x#y"), "https://example.org/pet");
  for (const url of ["", "127.0.0.1:8081", "ftp://h", "http://h?x", "http://h#x", "http://u:p@h", undefined]) {
    assert.throws(() => baseUrl(url), ConfigError, String(url));
  }
});

test("what is asked and answered goes through as it is", async (t) => {
  const seen = [];
  const url = await serving(t, (incoming, answer) => {
    const pieces = [];
    incoming.on("data", (piece) => pieces.push(piece)).on("end", () => {
      seen.push({ method: incoming.method, url: incoming.url, headers: incoming.headers, body: Buffer.concat(pieces).toString() });
      answer.writeHead(503, { "retry-after": "7", "content-type": "application/vnd.pet.weights; dtype=f32" });
      answer.end("later");
    });
  });
  const transport = new Transport({ url: `${url}/sub`, headers: { "x-own": "1" } });
  const body = new TextEncoder().encode("sealed");
  const { response } = await transport.send(request({ method: "POST", target: "/message?x=%2F", headers: [["accept", "a/b"]], body }));
  assert.equal(response.status, 503);
  assert.equal(new TextDecoder().decode(response.body), "later");
  assert.deepEqual([response.retryAfter, response.contentType], ["7", "application/vnd.pet.weights; dtype=f32"]);
  assert.deepEqual([seen[0].method, seen[0].url, seen[0].body], ["POST", "/sub/message?x=%2F", "sealed"]);
  assert.deepEqual([seen[0].headers.accept, seen[0].headers["x-own"]], ["a/b", "1"]);
});

test("redirects are told, and not followed", async (t) => {
  let asked = 0;
  const url = await serving(t, (_, answer) => {
    asked++;
    answer.writeHead(302, { location: "/elsewhere" }).end();
  });
  const { response } = await new Transport({ url }).send(request());
  assert.deepEqual([response.status, asked], [302, 1]);
  // As browsers show one.
  const opaque = { type: "opaqueredirect", status: 0, headers: new Headers(), body: null };
  const shown = await new Transport({ url, fetch: async () => opaque }).send(request());
  assert.equal(shown.response.status, 302);
});

test("an answer that is too long is cut off, announced or not", async (t) => {
  const url = await serving(t, (incoming, answer) => {
    if (incoming.url === "/announced") answer.setHeader("content-length", "101");
    answer.write(Buffer.alloc(incoming.url === "/fits" ? 100 : 101));
    // What is too long and not announced never ends.
    if (incoming.url !== "/endless") answer.end();
  });
  const transport = new Transport({ url });
  assert.deepEqual(await transport.send(request({ target: "/announced" })), { fault: "toolarge" });
  assert.deepEqual(await transport.send(request({ target: "/endless" })), { fault: "toolarge" });
  assert.equal((await transport.send(request({ target: "/fits" }))).response.body.length, 100);
});

test("who does not answer in time has not answered", async (t) => {
  const url = await serving(t, (incoming, answer) => {
    // The head only, or nothing.
    if (incoming.url === "/head") answer.writeHead(200).write("x");
  });
  const transport = new Transport({ url });
  assert.deepEqual(await transport.send(request({ answerMs: 50 })), { fault: "timeout" });
  assert.deepEqual(await transport.send(request({ target: "/head", totalMs: 300 })), { fault: "timeout" });
});

test("who is not there is told of with the reason", async (t) => {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  const { fault, text } = await new Transport({ url: `http://127.0.0.1:${port}` }).send(request());
  assert.equal(fault, "unreachable");
  assert.match(text, /ECONNREFUSED/);
});

test("what is cancelled is never told of, and its connection is closed", async (t) => {
  let closed;
  const isClosed = new Promise((resolve) => (closed = resolve));
  let asked;
  const isAsked = new Promise((resolve) => (asked = resolve));
  const url = await serving(t, (incoming) => {
    incoming.on("close", closed);
    asked();
  });
  const transport = new Transport({ url });
  const sent = transport.send(request());
  await isAsked;
  transport.cancel(1);
  assert.equal(await sent, null);
  await isClosed;
  const second = transport.send(request({ id: 2 }));
  transport.cancelAll();
  assert.equal(await second, null);
});

/** Locks as browsers have them, as far as they are used here. */
function locks() {
  const held = new Set();
  return {
    held,
    async request(name, { ifAvailable }, action) {
      assert.ok(ifAvailable);
      if (held.has(name)) return action(null);
      held.add(name);
      try {
        return await action({ name });
      } finally {
        held.delete(name);
      }
    },
  };
}

test("two requests at most wait at a coordinator, whatever the page", async () => {
  const all = locks();
  const place = (url) => waitingPlace(url, all, true);
  const [first, second, third] = [await place("http://a/x"), await place("http://a/y"), await place("http://a")];
  assert.ok(first && second && third === null);
  assert.ok(await place("http://b"));
  first();
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(await place("http://a"));
  // Where there are no locks, and where there is no limit, there is always a place.
  assert.ok(await waitingPlace("http://a", undefined, true));
  assert.ok(await waitingPlace("http://a", all, false));
  const refusing = { request: () => Promise.reject(new Error("no right")) };
  assert.ok(await waitingPlace("http://a", refusing, true));
});

test("who has a place to wait says so, and has more time", async (t) => {
  const prefers = [];
  const url = await serving(t, (incoming, answer) => {
    prefers.push(incoming.headers.prefer, incoming.headers["if-none-match"]);
    setTimeout(() => answer.end(), 100);
  });
  const patience = { headers: [["prefer", "wait=45"], ["if-none-match", '"ab"']], waitMs: 45_000 };
  const { response } = await new Transport({ url }).send(request({ patience, answerMs: 20, totalMs: 20 }));
  assert.equal(response.status, 200);
  assert.deepEqual(prefers, ["wait=45", '"ab"']);
});
