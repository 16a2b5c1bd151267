// The map and the chart.

import { probability } from "./model.js";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** How finely the model is looked at. */
const CELLS = 120;

/** Shades the plane by a model's probability, and draws the lines where two models are undecided. */
export function drawMap(canvas, { points, together, alone }) {
  const context = canvas.getContext("2d");
  const size = canvas.width;
  const at = ({ x, y }) => [((x + 1) / 2) * size, ((1 - y) / 2) * size];
  context.clearRect(0, 0, size, size);
  context.fillStyle = color("card");
  context.fillRect(0, 0, size, size);
  if (together) {
    const cell = size / CELLS;
    for (let row = 0; row < CELLS; row++) {
      for (let column = 0; column < CELLS; column++) {
        const p = probability(together, (2 * (column + 0.5)) / CELLS - 1, 1 - (2 * (row + 0.5)) / CELLS);
        context.globalAlpha = Math.min(0.42, Math.abs(p - 0.5) * 0.84);
        context.fillStyle = color(p < 0.5 ? "zero" : "one");
        context.fillRect(Math.floor(column * cell), Math.floor(row * cell), Math.ceil(cell), Math.ceil(cell));
      }
    }
    context.globalAlpha = 1;
  }
  context.strokeStyle = color("line");
  context.lineWidth = 1;
  for (let i = 1; i < 8; i++) {
    context.beginPath();
    context.moveTo((i * size) / 8, 0);
    context.lineTo((i * size) / 8, size);
    context.moveTo(0, (i * size) / 8);
    context.lineTo(size, (i * size) / 8);
    context.globalAlpha = 0.5;
    context.stroke();
  }
  context.globalAlpha = 1;
  if (alone) border(context, size, alone, { style: color("muted"), width: 4, dash: [16, 12] });
  if (together) border(context, size, together, { style: color("text"), width: 7, dash: [] });
  for (const point of points) {
    const [x, y] = at(point);
    context.beginPath();
    context.arc(x, y, 11, 0, 2 * Math.PI);
    context.fillStyle = color(point.label === 1 ? "one" : "zero");
    context.fill();
    context.lineWidth = 3;
    context.strokeStyle = color("card");
    context.stroke();
  }
}

/** Marching squares along probability one half. */
function border(context, size, weights, { style, width, dash }) {
  const n = CELLS;
  const value = (i, j) => probability(weights, (2 * i) / n - 1, 1 - (2 * j) / n) - 0.5;
  const step = size / n;
  const segments = [];
  for (let j = 0; j < n; j++) {
    for (let i = 0; i < n; i++) {
      const corners = [
        [i, j, value(i, j)],
        [i + 1, j, value(i + 1, j)],
        [i + 1, j + 1, value(i + 1, j + 1)],
        [i, j + 1, value(i, j + 1)],
      ];
      const crossings = [];
      for (let edge = 0; edge < 4; edge++) {
        const [x1, y1, v1] = corners[edge];
        const [x2, y2, v2] = corners[(edge + 1) % 4];
        if (v1 < 0 === v2 < 0) continue;
        const share = v1 / (v1 - v2);
        crossings.push([(x1 + share * (x2 - x1)) * step, (y1 + share * (y2 - y1)) * step]);
      }
      for (let k = 0; k + 1 < crossings.length; k += 2) segments.push([crossings[k], crossings[k + 1]]);
    }
  }
  context.strokeStyle = style;
  context.lineWidth = width;
  context.lineCap = "round";
  context.setLineDash(dash);
  context.beginPath();
  for (const line of joined(segments)) {
    context.moveTo(...line[0]);
    for (const point of line.slice(1)) context.lineTo(...point);
  }
  context.stroke();
  context.setLineDash([]);
}

/** Segments as lines, so that dashes are even. */
function joined(segments) {
  const name = ([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`;
  const ends = new Map();
  const left = new Set(segments);
  for (const segment of segments) {
    for (const end of segment) ends.set(name(end), [...(ends.get(name(end)) ?? []), segment]);
  }
  const lines = [];
  for (const segment of segments) {
    if (!left.delete(segment)) continue;
    const line = [...segment];
    for (const [grow, last] of [[(p) => line.push(p), () => line.at(-1)], [(p) => line.unshift(p), () => line[0]]]) {
      for (;;) {
        const next = (ends.get(name(last())) ?? []).find((each) => left.has(each));
        if (!next) break;
        left.delete(next);
        grow(name(next[0]) === name(last()) ? next[1] : next[0]);
      }
    }
    lines.push(line);
  }
  return lines;
}

/** Accuracy by round: a list of { together, alone }, each from 0 to 1 or null. */
export function drawChart(canvas, history) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const [left, right, top, bottom] = [96, 16, 18, 22];
  context.clearRect(0, 0, width, height);
  const lowest = 0.4;
  const y = (share) => top + ((1 - Math.max(share, lowest)) / (1 - lowest)) * (height - top - bottom);
  const count = Math.max(history.length, 10);
  const x = (i) => left + (i / (count - 1)) * (width - left - right);
  context.font = "22px system-ui, sans-serif";
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const share of [0.5, 0.75, 1]) {
    context.strokeStyle = color("line");
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(left, y(share));
    context.lineTo(width - right, y(share));
    context.stroke();
    context.fillStyle = color("muted");
    context.fillText(`${100 * share} %`, left - 12, y(share));
  }
  for (const [name, style, dash] of [["alone", "muted", [10, 8]], ["together", "update", []]]) {
    context.strokeStyle = color(style);
    context.lineWidth = 5;
    context.lineJoin = "round";
    context.setLineDash(dash);
    context.beginPath();
    history.forEach((each, i) => {
      if (each[name] !== null) context.lineTo(x(i), y(each[name]));
    });
    context.stroke();
  }
  context.setLineDash([]);
  const last = history.at(-1);
  if (last && last.together !== null) {
    context.beginPath();
    context.arc(x(history.length - 1), y(last.together), 8, 0, 2 * Math.PI);
    context.fillStyle = color("update");
    context.fill();
  }
}
