// The phase now, with its clock and its counter.

import { byId, text } from "./dom.js";
import { clock, count, duration, plural } from "./format.js";

// Limits beyond this are none.
const FOREVER = 30 * 86400;

const WAITS = {
  messages: "Waiting for messages.",
  min_time: "Enough messages are there; the phase goes on until its least time is over.",
  job: "Computing.",
  store: "Waiting for the store.",
  resume: "Paused: the next round begins when the operator says so.",
  nothing: "",
};

const PHASES = {
  idle: "Between two rounds.",
  failure: "The round has failed; the next one is about to begin.",
  failed: "The round has failed; the next one is about to begin.",
  shutdown: "The coordinator is shutting down.",
};

export function showNow(state) {
  const { round, phase } = state;
  text(byId("round-id"), count(round.id));
  let seen = false;
  for (const step of byId(state.v2 === undefined ? "steps" : "steps-v2").children) {
    const name = step.dataset.phase;
    const over = round.phases.find((past) => past.name === name);
    const now = name === phase.name;
    seen ||= now;
    step.dataset.state = now ? "now" : over ? "done" : "todo";
    if (now) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
    text(step.querySelector(".step-note"), over && !now ? `${duration(over.seconds)} · ${plural(over.accepted ?? 0, "message")}` : now ? "now" : "");
  }
  byId("gauges").dataset.phase = seen ? phase.name : "";
  showCount(phase);
  const paused = phase.waits_for === "resume";
  text(byId("waits"), (paused ? null : PHASES[phase.name]) ?? WAITS[phase.waits_for] ?? "");
}

function showCount({ accepted, min_count: min, max_count: max }) {
  const counts = min !== null;
  const bar = byId("count-bar");
  const end = counts ? Math.min(max, Math.max(min * 1.5, accepted * 1.15)) : 1;
  fill(bar, counts ? accepted : 0, end, counts ? min : null);
  text(byId("count-value"), counts ? count(accepted) : "–");
  const missing = counts ? min - accepted : 0;
  const note = missing > 0 ? `${plural(missing, "more message")} needed of at least ${count(min)}` : `enough: at least ${count(min)}`;
  text(byId("count-note"), counts ? `${note}, at most ${count(max)}` : "this phase takes no messages");
  bar.setAttribute("aria-valuetext", counts ? `${count(accepted)}, at least ${count(min)} needed` : "none");
}

// Called often: the clock runs between two events.
export function showClock(state, since) {
  const { round, phase } = state;
  text(byId("round-seconds"), clock(Math.floor(round.seconds + since)));
  const bar = byId("time-bar");
  const limited = phase.max_seconds !== null && phase.max_seconds < FOREVER;
  const elapsed = phase.seconds + since;
  text(byId("time-label"), limited ? "Time left" : "Time");
  if (!limited) {
    fill(bar, 0, 1, null);
    text(byId("time-value"), clock(elapsed));
    text(byId("time-note"), "no limit");
    bar.setAttribute("aria-valuetext", "no limit");
    return;
  }
  const left = Math.max(0, phase.max_seconds - elapsed);
  fill(bar, Math.min(elapsed, phase.max_seconds), phase.max_seconds, phase.min_seconds > 0 ? phase.min_seconds : null);
  text(byId("time-value"), clock(left));
  const least = phase.min_seconds > 0 ? `at least ${duration(phase.min_seconds)}, ` : "";
  text(byId("time-note"), `${least}at most ${duration(phase.max_seconds)}`);
  bar.setAttribute("aria-valuetext", `${clock(left)} left`);
}

function fill(bar, value, end, tick) {
  const share = (part) => `${Math.min(100, (part / end) * 100)}%`;
  bar.setAttribute("aria-valuemax", String(Math.round(end)));
  bar.setAttribute("aria-valuenow", String(Math.min(Math.round(end), Math.round(value))));
  bar.querySelector(".fill").style.width = share(value);
  const mark = bar.querySelector(".tick");
  mark.hidden = tick === null || tick >= end;
  if (tick !== null) mark.style.left = share(tick);
}
