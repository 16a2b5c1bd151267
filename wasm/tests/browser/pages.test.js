// Ten pages of one browser take part in a real coordinator's rounds. They share six connections.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import test from "node:test";

import { chromium } from "playwright-core";

import { servePage, startCoordinator } from "../../demo/serve.js";
import { isMean } from "../exact.js";

const PAGES = 10;
const ROUNDS = 6;
/** The bound of the demo's weights: B2. */
const BOUND = 100;

const binary = process.env.PET_COORDINATOR;

function browserPath() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8" }).trim();
    } catch {
      // The next one.
    }
  }
  return null;
}

const executablePath = browserPath();
const skip = (!binary && "PET_COORDINATOR is not set") || (!executablePath && "there is no Chromium: install it, or name one with CHROMIUM");

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync",
];

async function until(isSo, what, seconds = 120) {
  const end = Date.now() + seconds * 1000;
  while (!(await isSo())) {
    assert.ok(Date.now() < end, `not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("ten pages learn together, exactly", { skip }, async (t) => {
  const page = await servePage();
  t.after(() => page.stop());
  const coordinator = await startCoordinator({ binary, origins: page.url });
  t.after(() => coordinator.stop());
  page.setCoordinator(coordinator.url);
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  t.after(() => browser.close());
  const context = await browser.newContext({ viewport: { width: 1280, height: 960 }, colorScheme: process.env.PET_SCHEME ?? "light" });
  const complaints = [];
  const pages = [];
  for (let i = 0; i < PAGES; i++) {
    const tab = await context.newPage();
    tab.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
    });
    tab.on("pageerror", (error) => complaints.push(`exception: ${error}`));
    tab.on("request", (request) => {
      const ours = [page.url, coordinator.url, "data:"].some((start) => request.url().startsWith(start));
      if (!ours) complaints.push(`asked for ${request.url()}`);
    });
    pages.push(tab);
  }
  await Promise.all(pages.map((tab) => tab.goto(page.url)));
  // A visitor adds a point, which is kept.
  const points = () => pages[0].evaluate(() => globalThis.demo.state.points.length);
  const before = await points();
  await pages[0].locator("#map").click({ position: { x: 30, y: 40 } });
  await until(async () => (await points()) === before + 1, "the point is there");

  const status = async () => (await fetch(`${coordinator.url}/status?rounds=50&samples=0`)).json();
  await until(async () => (await status()).totals.completed >= ROUNDS, `${ROUNDS} rounds are completed`);
  await until(() => pages[0].evaluate(() => globalThis.demo.state.together !== null), "the page has the global model");
  if (process.env.PET_SCREENSHOT) {
    await mkdir(dirname(process.env.PET_SCREENSHOT), { recursive: true });
    await pages[0].locator("#steps li[data-phase=update][aria-current]").waitFor();
    await pages[0].screenshot({ path: process.env.PET_SCREENSHOT, fullPage: true });
  }
  for (const tab of pages) assert.equal(await tab.locator("#link").getAttribute("data-state"), "live");
  assert.match(await pages[0].locator("#together").innerText(), /^\d+\.\d %$/);

  const { rounds: past, messages } = await status();
  const logs = await Promise.all(pages.map((tab) => tab.evaluate(() => JSON.parse(JSON.stringify(globalThis.demo.log)))));
  if (process.env.PET_DUMP) await writeFile(process.env.PET_DUMP, JSON.stringify({ past, logs }));
  // Whoever the lot has not drawn to add up masks each time has trained.
  for (const log of logs) {
    assert.ok(log.some((entry) => entry.sent) || log.every((entry) => entry.task !== "update"), "a page has never sent a model");
  }
  const tags = [];
  for (const log of logs) for (const { tag } of log) if (!tags.includes(tag)) tags.push(tag);
  const of = (tag) => logs.flatMap((log) => log.filter((entry) => entry.tag === tag));
  const counts = (entry) => entry.sent && !entry.rejected;
  const sentIn = (tag) => of(tag).filter(counts).map((entry) => entry.local);
  const results = [];
  let since = 0;
  for (let i = 0; i + 1 < tags.length; i++) {
    // What those began with whose models count in the next round. (Who is late may be given the model of a round later.)
    const begun = of(tags[i + 1]).filter(counts).map((entry) => entry.before).filter((model) => model);
    assert.ok(begun.every((model) => String(model) === String(begun[0])), "pages were given different global models in one round");
    const [model] = begun;
    if (!model || String(model) === String(results.at(-1)?.model)) continue;
    // It is of the round before, or, if that has failed, of one before that.
    const made = tags.slice(since, i + 1).map(sentIn).findLast((models) => models.length > 0 && isMean(model, models, BOUND));
    assert.ok(made, `the global model before round ${tags[i + 1]} is not the mean of what was sent in any round since ${tags[since]}`);
    results.push({ model, count: made.length });
    since = i + 1;
  }
  const completed = past.filter(({ outcome }) => outcome === "completed");
  assert.ok(results.length >= ROUNDS - 2, `${results.length} of ${completed.length} rounds were looked at`);
  // The coordinator has counted the same, in the same order.
  const counted = completed.map(({ models }) => models);
  const at = counted.findIndex((_, i) => results.every(({ count }, k) => counted[i + k] === count));
  assert.ok(at >= 0, `${results.map(({ count }) => count)} are not among ${counted}`);
  assert.ok(messages.accepted.update >= 3 * ROUNDS);
  t.diagnostic(`${results.length} global models are exact; of ${results.map(({ count }) => count).join(", ")} models`);
  assert.deepEqual(complaints, []);
});
