// The timeline of past rounds.

import { byId, element, text } from "./dom.js";
import { count, duration, plural, time, words } from "./format.js";

const FEW = 10;

let all = false;
let latest = [];

export function showRounds(rounds) {
  latest = rounds;
  byId("rounds-empty").hidden = rounds.length > 0;
  const more = byId("rounds-more");
  more.hidden = rounds.length <= FEW;
  more.setAttribute("aria-expanded", String(all));
  text(more, all ? "Show fewer" : `Show all ${rounds.length}`);
  const shown = rounds.toReversed().slice(0, all ? rounds.length : FEW);
  const longest = Math.max(...shown.map((round) => round.seconds), 0.001);
  byId("rounds").replaceChildren(...shown.map((round) => row(round, longest)));
}

byId("rounds-more").addEventListener("click", () => {
  all = !all;
  showRounds(latest);
});

function row(round, longest) {
  const strip = element("div", { class: "strip", role: "img", "aria-label": `Phases: ${round.phases.map(described).join(", ")}` });
  strip.style.width = `${Math.max(2, (round.seconds / longest) * 100)}%`;
  for (const phase of round.phases) {
    const failed = round.failure?.phase === phase.name ? "" : undefined;
    const part = element("i", { "data-phase": phase.name, "data-failed": failed, title: described(phase) });
    part.style.flexGrow = String(Math.max(phase.seconds, 0.001));
    strip.append(part);
  }
  const number = element("span", { class: "round-id" }, element("span", { class: "hidden" }, "Round "), `#${round.id}`);
  const took = element("span", { class: "round-took" }, duration(round.seconds));
  return element("li", { "data-outcome": round.outcome }, number, strip, took, note(round));
}

function described(phase) {
  const messages = phase.accepted === null ? "" : `, ${plural(phase.accepted, "message")}`;
  return `${phase.name} ${duration(phase.seconds)}${messages}`;
}

function note(round) {
  const parts = [];
  if (round.outcome === "completed") {
    parts.push(element("b", {}, "✓ completed"), ` · ${plural(round.models, "model")} · ${plural(round.votes, "vote")}`);
  } else {
    parts.push(element("b", {}, `✕ failed in ${round.failure.phase}`), `: ${round.failure.message}`);
  }
  if (round.certificate !== undefined) {
    const { decision, count: updates, signers } = round.certificate;
    const code = element("code", { title: `${decision}, signed by ${signers.join(", ")}` }, `${decision.slice(0, 12)}…`);
    parts.push(" · certificate ", code, ` over ${plural(updates, "update")}, signed by ${plural(signers.length, "member")}`);
  }
  const rejected = Object.entries(round.rejected);
  if (rejected.length > 0) {
    parts.push(` · rejected: ${rejected.map(([reason, number]) => `${count(number)} ${words(reason)}`).join(", ")}`);
  }
  parts.push(` · ${time(round.began + round.seconds)}`);
  return element("p", { class: "round-note" }, ...parts);
}
