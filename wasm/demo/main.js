// The page: a participant, what it knows, and what becomes of that.

import { Participant } from "pet-participant";

import { LENGTH, accuracy, train } from "./model.js";
import { drawChart, drawMap } from "./plot.js";
import { corner, everywhere } from "./world.js";

const $ = (id) => document.getElementById(id);
const KEPT = 40;
const PHASES = ["sum", "update", "sum2", "unmask"];
const judged = everywhere();

const state = { points: corner(Math.random), together: null, alone: null, history: [], task: "none", step: "", phase: null };
const log = [];
/** For tests: all rounds that this page has seen, with what it has sent and what it was given. */
globalThis.demo = { log, state };

function percent(share) {
  return share === null ? "–" : `${(100 * share).toFixed(1)} %`;
}

function draw() {
  drawMap($("map"), state);
  drawChart($("chart"), state.history);
  $("together").textContent = percent(accuracy(state.together, judged));
  $("alone").textContent = percent(accuracy(state.alone, judged));
  $("points").textContent = `${state.points.length} points, which stay here`;
}

/** What the page would know without the others. */
function learnAlone() {
  let weights = new Float32Array(LENGTH);
  for (let i = 0; i < 12; i++) weights = train(weights, state.points);
  state.alone = state.points.length > 0 ? weights : null;
}

function changed() {
  learnAlone();
  draw();
}

const roles = {
  none: ["looking on", "The lot has drawn you for nothing in this round. The next one draws anew."],
  sum: ["adds masks", "The lot has drawn you to add up masks. You see no model, not even a masked one."],
  update: ["trains", "You train on your points, and send the model masked."],
};

function say(step) {
  state.step = step ?? state.step;
  const [name, role] = state.seen ? roles[state.task] : ["waiting", "Waiting for a round to begin."];
  $("task").textContent = name;
  $("task").dataset.task = state.task;
  $("doing").textContent = state.step || role;
  $("why").textContent = why() || "\u00a0";
}

/** Why there is nothing to do but to wait. */
function why() {
  const phase = state.phase;
  if (!phase) return "";
  const missing = Math.max(0, (phase.min_count ?? 0) - phase.accepted);
  const left = phase.left_seconds === null ? "" : ` It fails in ${Math.ceil(phase.left_seconds)} s if they do not come.`;
  switch (phase.name) {
    case "sum":
      return missing > 0 ? "Nobody has been drawn yet who adds up the masks." + left : "A moment, so that everyone drawn can say so.";
    case "update":
      return missing > 0
        ? `${missing} more masked ${missing === 1 ? "model has" : "models have"} to come: a sum of fewer would say too much of each.${left}`
        : "There are enough models; others have a moment to send theirs.";
    case "sum2":
      return "Those who were drawn add up the masks." + (missing > 0 ? left : "");
    case "unmask":
      return "The sum of the masks is taken off the sum of the models.";
    case "failure":
      return "The round has failed: too few took part. The next one begins.";
    default:
      return "";
  }
}

function show(status) {
  const { phase, round, totals } = status;
  state.phase = phase;
  $("round").textContent = round.id;
  $("rounds").textContent = `${totals.completed} rounds`;
  const now = PHASES.indexOf(phase.name);
  for (const step of $("steps").children) {
    const at = PHASES.indexOf(step.dataset.phase);
    if (at === now) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
    step.toggleAttribute("data-done", now >= 0 && at < now);
  }
  const least = phase.min_count ?? 0;
  const noun = { sum: "drawn", update: "masked models", sum2: "sums of masks" }[phase.name];
  $("crowd").textContent = status.rounds.length > 0 ? crowd(status.rounds.at(-1)) : "";
  $("count-bar").style.width = noun ? `${100 * Math.min(1, phase.accepted / Math.max(least, 1))}%` : "100%";
  $("count-bar").style.background = `var(--${PHASES.includes(phase.name) ? phase.name : "failure"})`;
  $("phase-text").textContent = noun ? `${phase.accepted} ${noun}; ${least} needed at least` : phase.name;
  say();
}

const crowd = ({ models, outcome }) => (outcome === "completed" ? `the last one added up ${models} models` : "the last one failed");

function link(name, text) {
  $("link").dataset.state = name;
  $("link-text").textContent = text;
}

async function look(url) {
  for (;;) {
    try {
      const answer = await fetch(`${url}/status?rounds=1&samples=0`, { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(`HTTP status ${answer.status}`);
      show(await answer.json());
      link("live", "taking part");
    } catch {
      link("lost", "no coordinator");
    }
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? 3000 : 500));
  }
}

async function take(url) {
  let entry = null;
  const participant = await Participant.create({
    url,
    polling: { max: 1000 },
    train(globalModel, round) {
      const start = globalModel ?? new Float32Array(round.length);
      const weights = train(start, state.points);
      entry.local = [...weights];
      entry.before = globalModel && [...globalModel];
      return weights;
    },
  });
  globalThis.demo.participant = participant;
  $("key").textContent = participant.publicKey;
  participant.addEventListener("round", async ({ detail }) => {
    entry = { tag: detail.tag, task: detail.task, local: null, before: undefined, sent: false, rejected: null };
    log.push(entry);
    if (log.length > 500) log.shift();
    state.seen = true;
    state.task = detail.task;
    say("");
    const mine = entry;
    const model = await participant.globalModel().catch(() => undefined);
    if (model === undefined) return;
    mine.model = model && [...model];
    if (!model || String(model) === String(state.together)) return;
    state.together = model;
    state.history.push({ together: accuracy(model, judged), alone: accuracy(state.alone, judged) });
    state.history.splice(0, state.history.length - KEPT);
    draw();
  });
  participant.addEventListener("training", () => say(`Training on your ${state.points.length} points.`));
  participant.addEventListener("masked", () => say("Your model is masked, and on its way."));
  participant.addEventListener("sent", ({ detail }) => {
    if (detail.message === "update") entry.sent = true;
    const what = {
      sum: "You have said that you add up masks. Now the others train.",
      update: "Your masked model is there. Nobody can read it.",
      sum2: "You have added up the masks, and handed in their sum.",
    };
    say(what[detail.message] ?? "");
  });
  participant.addEventListener("rejected", ({ detail }) => {
    entry.rejected = detail.problem;
    say("Too late for this round: the next one is yours again.");
  });
  participant.addEventListener("gaveup", ({ detail }) => say(detail.text));
  participant.addEventListener("end", ({ detail }) => {
    if (!detail.error) return;
    link("lost", "stopped");
    say(String(detail.error.message ?? detail.error));
  });
}

$("map").addEventListener("click", (event) => {
  const { left, top, width, height } = $("map").getBoundingClientRect();
  const label = Number(document.querySelector("input[name=label]:checked").value);
  const x = (2 * (event.clientX - left)) / width - 1;
  const y = 1 - (2 * (event.clientY - top)) / height;
  state.points.push({ x, y, label });
  changed();
});
$("another").addEventListener("click", () => {
  state.points = corner(Math.random);
  changed();
});
$("clear").addEventListener("click", () => {
  state.points = [];
  changed();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

changed();
const { coordinator } = await (await fetch("config.json")).json();
look(coordinator);
take(coordinator).catch((error) => {
  link("lost", "stopped");
  say(String(error.message ?? error));
});
