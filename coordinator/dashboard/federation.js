// The groups of a federation: what each member has done, who was excluded, and what was strange.

import { byId, element, text } from "./dom.js";
import { count } from "./format.js";

const DONE = ["announced", "reported", "voted", "mask"];

let shown = "";

export function showFederation({ v2 }) {
  const is = v2 !== undefined;
  byId("federation").hidden = !is;
  byId("steps").hidden = is;
  byId("steps-v2").hidden = !is;
  for (const item of document.querySelectorAll(".legend [data-version]")) item.hidden = (item.dataset.version === "2") !== is;
  if (!is) return;
  const key = JSON.stringify(v2);
  if (key === shown) return;
  shown = key;
  text(byId("n-min"), count(v2.n_min));
  text(byId("noise"), v2.noise === null ? "" : noise(v2.noise));
  text(byId("roster"), v2.roster);
  const table = byId("members");
  table.replaceChildren(table.tHead, ...v2.groups.map(group));
  const others = v2.excluded_count - v2.excluded.length;
  const excluded = v2.excluded.map(({ updater, by, accusation }) => element("li", {}, "Excluded: ", element("code", {}, updater), ` (member ${by} reports ${accusation})`));
  if (others > 0) excluded.push(element("li", {}, `and ${count(others)} more`));
  byId("excluded").replaceChildren(...excluded);
  byId("notes").replaceChildren(...v2.notes.toReversed().map(({ round, message }) => element("li", {}, `#${round}: ${message}`)));
}

function noise({ multiplier, clip, most_epsilon: epsilon, most_rounds: rounds }) {
  return ` · noise ${multiplier} at clip ${clip}: epsilon ${epsilon.toFixed(2)} spent by who was in most rounds (${count(rounds)})`;
}

function group({ name, majority, members }) {
  const done = (what) => members.filter((member) => member[what]).length;
  const counted = DONE.map((what) => element("td", { "data-enough": done(what) >= majority ? "" : undefined }, `${done(what)} of ${majority}`));
  const head = element("tr", { class: "group" }, element("th", { scope: "rowgroup" }, name), ...counted);
  return element("tbody", {}, head, ...members.map(row));
}

function row(member) {
  const title = `${member.id} ${member.key}`;
  const name = element("th", { scope: "row", title }, `${member.id} `, element("code", {}, `${member.key.slice(0, 12)}…`));
  if (member.disregarded) name.append(element("b", {}, " disregarded"));
  const cells = DONE.map((what) => element("td", { "data-done": member[what] ? "" : undefined }, member[what] ? "✓" : "·"));
  return element("tr", {}, name, ...cells);
}
