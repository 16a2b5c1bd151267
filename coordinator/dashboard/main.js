// Follows the coordinator's events and shows them.

import { byId, element, text } from "./dom.js";
import { showFederation } from "./federation.js";
import { bytes, count, duration, plural, time, weight, words } from "./format.js";
import { showClock, showNow } from "./now.js";
import { Plot } from "./plot.js";
import { showRounds } from "./rounds.js";

// The coordinator says something every second; after so many milliseconds of silence it is gone.
const SILENCE = 6000;
const AGAIN = 3000;

let state = null;
let heard = 0;
let source = null;

const byRound = { x: (id) => `#${id}`, y: weight, columns: ["Round", "Value"], empty: "No global model yet." };
const byTime = { x: time, y: bytes, area: true, from: 0, empty: "The first measurement comes after some seconds." };
const plots = {
  norm: new Plot(byId("norm"), byRound),
  change: new Plot(byId("change"), { ...byRound, from: 0, empty: "No second global model yet." }),
  rate: new Plot(byId("rate"), { ...byTime, y: (rate) => `${bytes(rate)}/s`, columns: ["Time", "Bytes a second"] }),
  resident: new Plot(byId("resident"), { ...byTime, columns: ["Time", "Memory"] }),
};

function connect() {
  source?.close();
  source = new EventSource("/events");
  source.addEventListener("status", (event) => {
    // What is left out has not changed.
    const change = JSON.parse(event.data);
    const before = state;
    state = { ...state, ...change };
    heard = performance.now();
    live();
    show(before, change);
  });
  source.addEventListener("error", () => {
    lost();
    // The browser comes back by itself, unless it was refused.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN);
  });
}

function live() {
  byId("link").dataset.state = "live";
  text(byId("link-text"), "Live");
  byId("banner").hidden = true;
  delete document.body.dataset.stale;
}

function lost() {
  const link = byId("link");
  if (link.dataset.state === "lost") return;
  link.dataset.state = "lost";
  text(byId("link-text"), "Not connected, trying again");
  document.body.dataset.stale = "";
  const banner = byId("banner");
  const shown = state === null ? "" : ` What is shown is of ${time(state.time)}.`;
  text(banner, `The coordinator does not answer.${shown}`);
  banner.hidden = false;
  announce("The connection to the coordinator is lost.");
}

const announce = (message) => text(byId("announce"), message);

function show(before, change) {
  showFederation(state);
  showNow(state);
  showTiles(state);
  if (change.rounds) {
    showRounds(state.rounds);
    const points = (key) => state.rounds.filter((round) => round[key] !== null).map((round) => [round.id, round[key]]);
    plots.norm.show(points("norm"));
    plots.change.show(points("change"));
  }
  if (change.samples) {
    const points = (key) => state.samples.filter((sample) => sample[key] !== null).map((sample) => [sample.time, sample[key]]);
    plots.rate.show(points("bytes_per_second"));
    plots.resident.show(points("resident_bytes"));
  }
  showReasons(state.messages.rejected);
  tellChanges(before);
}

const sum = (counts) => Object.values(counts).reduce((total, number) => total + number, 0);
const ORDER = ["sum", "update", "sum2", "announcement", "update_header", "update_chunk", "report", "vote", "mask_header", "mask_chunk"];
const place = ([name]) => ORDER.indexOf(name);
const listed = (counts) => Object.entries(counts).sort((a, b) => place(a) - place(b)).map(([name, number]) => `${count(number)} ${words(name)}`).join(", ");

function showTiles({ totals, messages, throughput, memory, ...rest }) {
  const tile = (id, value, note) => {
    text(byId(id), value);
    text(byId(`${id}-note`), note);
  };
  const [failed, rejected] = [sum(totals.failed), sum(messages.rejected)];
  tile("completed", count(totals.completed), totals.last_completed === null ? "none yet" : `last at ${time(totals.last_completed)}`);
  tile("failed", count(failed), failed === 0 ? "none" : listed(totals.failed));
  tile("accepted", count(sum(messages.accepted)), listed(messages.accepted) || "none yet");
  tile("rejected", count(rejected), rejected === 0 ? "none" : plural(Object.keys(messages.rejected).length, "reason"));
  tile("throughput", `${bytes(throughput.bytes_per_second)}/s`, `${throughput.messages_per_second.toFixed(1)} messages a second`);
  tile("memory", memory.resident_bytes === null ? "–" : bytes(memory.resident_bytes), `${bytes(messages.received_bytes)} received`);
  text(byId("version"), rest.version);
  text(byId("form"), `${plural(rest.model.length, "weight")}, ${rest.model.mask}`);
  text(byId("uptime"), duration(Math.floor(rest.time - rest.started)));
}

let shownReasons = "";

function showReasons(rejected) {
  const key = JSON.stringify(rejected);
  if (key === shownReasons) return;
  shownReasons = key;
  const reasons = Object.entries(rejected).sort(([, a], [, b]) => b - a);
  byId("reasons-empty").hidden = reasons.length > 0;
  const table = byId("reasons");
  table.hidden = reasons.length === 0;
  const most = reasons[0]?.[1];
  const rows = reasons.map(([reason, number]) => {
    const fill = element("i", { class: "fill" });
    fill.style.width = `${Math.max(1, (number / most) * 100)}%`;
    const bar = element("div", { class: "bar", "aria-hidden": "true" }, fill);
    return element("tr", {}, element("th", { scope: "row" }, words(reason)), element("td", {}, bar), element("td", {}, count(number)));
  });
  table.tBodies[0].replaceChildren(...rows);
}

// Says aloud what matters, not every number that moves.
function tellChanges(before) {
  const { round, phase } = state;
  document.title = `Round ${count(round.id)}, ${phase.name} · PET coordinator`;
  if (before === null || (before.round.id === round.id && before.phase.name === phase.name)) return;
  const last = state.rounds.at(-1);
  const ended = before.round.id !== round.id && last?.id === before.round.id;
  const outcome = !ended ? "" : last.outcome === "completed" ? `Round ${last.id} is completed. ` : `Round ${last.id} has failed: ${last.failure.message}. `;
  announce(`${outcome}Round ${round.id}: ${phase.name} phase.`);
}

setInterval(() => {
  if (state === null) return;
  const since = (performance.now() - heard) / 1000;
  if (since * 1000 > SILENCE) lost();
  // A clock that nobody confirms stands still.
  else showClock(state, since);
}, 250);

connect();
