// A plot of one series: a picture, and the same as a table.

import { element, svg, text } from "./dom.js";

const LEFT = 58;
const RIGHT = 14;
const TOP = 12;
const BOTTOM = 22;

export class Plot {
  // `x` and `y` write numbers; `from` is where the vertical axis begins, unless the numbers say.
  constructor(figure, { x, y, columns, area = false, from, empty }) {
    Object.assign(this, { figure, x, y, area, from });
    this.points = [];
    this.name = figure.querySelector("h2").textContent;
    this.empty = element("p", { class: "empty" }, empty);
    this.picture = svg("svg", { class: "plot", role: "img" });
    this.hint = element("p", { class: "hint", "aria-hidden": "true", hidden: "" });
    this.body = element("tbody");
    const head = element("tr", {}, ...columns.map((title) => element("th", { scope: "col" }, title)));
    const table = element("table", {}, element("caption", { class: "hidden" }, this.name), element("thead", {}, head), this.body);
    const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${this.name}: table` }, table);
    this.details = element("details", {}, element("summary", {}, "As a table"), scroll);
    figure.append(this.empty, this.picture, this.hint, this.details);
    this.details.addEventListener("toggle", () => this.fillTable());
    new ResizeObserver(() => this.draw()).observe(this.picture);
    this.picture.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.picture.addEventListener("pointerleave", () => this.point(null));
    this.show([]);
  }

  // Points as [x, y], in order.
  show(points) {
    this.points = points;
    const any = points.length > 0;
    this.empty.hidden = any;
    this.picture.toggleAttribute("hidden", !any);
    this.details.hidden = !any;
    this.fillTable();
    this.draw();
  }

  fillTable() {
    if (!this.details.open) return;
    const rows = this.points.toReversed().map(([x, y]) => element("tr", {}, element("th", { scope: "row" }, this.x(x)), element("td", {}, this.y(y))));
    this.body.replaceChildren(...rows);
  }

  scale() {
    const [width, height] = [this.picture.clientWidth, this.picture.clientHeight];
    const [xs, ys] = [this.points.map(([x]) => x), this.points.map(([, y]) => y)];
    let [low, high] = [Math.min(...ys), Math.max(...ys)];
    const room = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
    low = this.from ?? low - room;
    high += room;
    const step = nice((high - low) / 4);
    const ticks = [];
    for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(tick);
    const [first, last] = [xs[0], xs.at(-1)];
    const alone = first === last;
    return {
      width,
      height,
      ticks,
      first,
      last,
      across: (x) => (alone ? (LEFT + width - RIGHT) / 2 : LEFT + ((x - first) / (last - first)) * (width - LEFT - RIGHT)),
      down: (y) => TOP + ((high - y) / (high - low)) * (height - TOP - BOTTOM),
    };
  }

  draw() {
    if (this.points.length === 0 || this.picture.clientWidth === 0) return;
    const { width, height, ticks, first, last, across, down } = this.scale();
    this.places = this.points.map(([x, y]) => [across(x), down(y)]);
    const parts = [];
    for (const tick of ticks) {
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: down(tick), y2: down(tick) }));
      parts.push(svg("text", { x: LEFT - 8, y: down(tick) + 4, "text-anchor": "end" }, this.y(tick)));
    }
    parts.push(svg("text", { x: across(first), y: height - 4, "text-anchor": first === last ? "middle" : "start" }, this.x(first)));
    if (first !== last) parts.push(svg("text", { x: across(last), y: height - 4, "text-anchor": "end" }, this.x(last)));
    const path = this.places.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
    if (this.area) {
      const base = height - BOTTOM;
      parts.push(svg("path", { class: "area", d: `M${this.places[0][0]} ${base}L${path}L${this.places.at(-1)[0]} ${base}Z` }));
    }
    parts.push(svg("path", { class: "line", d: `M${path}` }));
    const marked = this.area ? this.places.slice(-1) : this.places;
    parts.push(...marked.map(([cx, cy]) => svg("circle", { class: "point", cx, cy, r: 3.5 })));
    this.cursor = svg("line", { class: "cursor", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
    parts.push(this.cursor);
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.picture.setAttribute("aria-label", this.summary());
    this.picture.replaceChildren(...parts);
    if (this.pointed !== undefined) this.point(this.pointed);
  }

  summary() {
    const ys = this.points.map(([, y]) => y);
    const [x, y] = this.points.at(-1);
    return `${this.name}: ${this.points.length} values from ${this.y(Math.min(...ys))} to ${this.y(Math.max(...ys))}, the latest ${this.y(y)} at ${this.x(x)}.`;
  }

  // Shows the value that is nearest to a place.
  point(place) {
    this.pointed = place ?? undefined;
    const off = place === null || this.points.length === 0;
    this.hint.hidden = off;
    this.cursor?.setAttribute("visibility", off ? "hidden" : "visible");
    if (off) return;
    const distance = ([x]) => Math.abs(x - place);
    const nearest = this.places.reduce((best, at, index) => (distance(at) < distance(this.places[best]) ? index : best), 0);
    const [x, y] = this.points[nearest];
    const at = this.places[nearest][0];
    this.cursor.setAttribute("x1", at);
    this.cursor.setAttribute("x2", at);
    text(this.hint, `${this.x(x)}: ${this.y(y)}`);
    const most = this.figure.clientWidth - this.hint.offsetWidth - 8;
    this.hint.style.left = `${Math.max(8, Math.min(most, at + this.picture.getBoundingClientRect().left - this.figure.getBoundingClientRect().left + 10))}px`;
  }
}

// The next number of the form 1, 2 or 5 times a power of ten.
function nice(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= step);
  return factor * power;
}
