"use strict";
// A component: its number, facts by name, contexts (tokens, which of them, its value), and points (x, y, label).
const { axes, components } = JSON.parse(document.getElementById("data").textContent);
const [by, query, count, more] = ["by", "query", "count", "more"].map((id) => document.getElementById(id));
const main = document.querySelector("main");
// Components that are added at once, and points that have their text beside them.
const PAGE = 20;
const LABELS = 40;
const SIZE = 300;
const SVG = "http://www.w3.org/2000/svg";
let found = [];

function element(name, text, parent) {
  const made = document.createElement(name);
  made.textContent = text;
  parent.append(made);
  return made;
}

function shape(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

/** The token as one sees it: a line break, or nothing at all, has a sign. */
const visible = (token) => (token === "" ? "∅" : token.replaceAll("\n", "⏎"));

/** Where numbers lie on an axis of the scatter. */
function scale(values) {
  const low = Math.min(...values), high = Math.max(...values);
  return (value) => 20 + (SIZE - 40) * (high > low ? (value - low) / (high - low) : 0.5);
}

function scatter(points, parent) {
  const svg = shape("svg", { width: SIZE, height: SIZE }, parent);
  const [x, y] = [0, 1].map((i) => scale(points.map((point) => point[i])));
  points.forEach(([px, py, label], i) => {
    const [left, top] = [x(px), SIZE - y(py)];
    const circle = shape("circle", { cx: left, cy: top, r: 2.5 }, svg);
    shape("title", {}, circle, `${visible(label)}  ${px.toFixed(3)}, ${py.toFixed(3)}`);
    const side = left > SIZE * 0.8 ? { x: left - 3, "text-anchor": "end" } : { x: left + 3 };
    if (i < LABELS) shape("text", { ...side, y: top - 2 }, svg, visible(label));
  });
  shape("text", { x: SIZE / 2, y: SIZE - 4, class: "axis" }, svg, axes[0]);
  shape("text", { x: 4, y: SIZE / 2, class: "axis" }, svg, axes[1]);
}

function show([number, facts, contexts, points]) {
  const article = element("article", "", main);
  const side = element("div", "", article);
  const head = element("h2", `component ${number}`, side);
  for (const [name, text] of facts) element("span", `${name} ${text}`, head);
  for (const [tokens, at, value] of contexts) {
    const line = element("p", "", side);
    element("span", value, line).className = "value";
    tokens.forEach((token, i) => {
      const span = element("span", visible(token), line);
      if (i === at) span.className = "peak";
    });
  }
  if (points.length > 0) scatter(points, article);
}

function add() {
  const shown = main.childElementCount;
  found.slice(shown, shown + PAGE).forEach(show);
  more.hidden = main.childElementCount >= found.length;
}

function find() {
  const wanted = query.value;
  const fits = {
    token: ([, , contexts]) => contexts.some(([tokens, at]) => tokens[at].includes(wanted)),
    text: ([, , contexts]) => contexts.some(([tokens]) => tokens.join("").includes(wanted)),
    component: ([number]) => String(number) === wanted.trim(),
  }[by.value];
  found = wanted === "" ? components : components.filter(fits);
  count.textContent = `${found.length} found`;
  main.replaceChildren();
  add();
}

query.addEventListener("input", find);
by.addEventListener("change", find);
more.addEventListener("click", add);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
find();
