"use strict";
// Maps of one shape, map after map as float32, and the colours between both ends of the scale.
const { picks, rows, cols, x, y, label, vmin, vmax, shades, values } = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(values), (c) => c.charCodeAt(0));
const all = new Float32Array(bytes.buffer);
const [picker, map, told, colNames, rowNames, overview] =
  ["picks", "map", "told", "cols", "rows", "all"].map((id) => document.getElementById(id));
// Cells as large as fit a screen, at most as high as a line.
const SIDE = Math.max(2, Math.min(26, Math.floor(760 / Math.max(rows.length, cols.length))));
const MISSING = [205, 205, 205];
const colors = shades.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
const chosen = picks.map(() => 0);

const colorOf = (value) => {
  if (Number.isNaN(value)) return MISSING;
  const place = Math.floor(((value - vmin) / (vmax - vmin)) * colors.length);
  return colors[Math.max(0, Math.min(colors.length - 1, place))];
};

/** The number of a map by what was picked. */
const number = (chosen) => chosen.reduce((at, pick, i) => at * picks[i][1] + pick, 0);
const name = (chosen) => chosen.map((pick, i) => `${picks[i][0]} ${pick}`).join(", ");

function paint(canvas, which) {
  canvas.width = cols.length;
  canvas.height = rows.length;
  const context = canvas.getContext("2d");
  const image = context.createImageData(cols.length, rows.length);
  const size = rows.length * cols.length;
  for (let i = 0; i < size; i++) image.data.set([...colorOf(all[which * size + i]), 255], i * 4);
  context.putImageData(image, 0, 0);
}

function element(kind, text, parent) {
  const made = document.createElement(kind);
  made.textContent = text;
  parent.append(made);
  return made;
}

const sliders = picks.map(([what, count], i) => {
  const holder = element("label", `${what} `, picker);
  const slider = element("input", "", holder);
  Object.assign(slider, { type: "range", min: 0, max: count - 1, value: 0, name: what });
  const shown = element("output", "0", holder);
  slider.addEventListener("input", () => pick(i, Number(slider.value)));
  return { slider, shown };
});

function pick(axis, to) {
  if (to < 0 || to >= picks[axis][1]) return;
  chosen[axis] = to;
  show();
}

function show() {
  paint(map, number(chosen));
  sliders.forEach(({ slider, shown }, i) => { slider.value = chosen[i]; shown.textContent = chosen[i]; });
  [...overview.children].forEach((button, i) => button.setAttribute("aria-pressed", i === number(chosen)));
}

map.style.width = `${cols.length * SIDE}px`;
map.style.height = `${rows.length * SIDE}px`;
// Labels that would lie on each other are left out; the pointer tells them.
const every = Math.ceil(12 / SIDE);
cols.forEach((text, i) => { element("span", i % every ? "" : text, colNames).style.width = `${SIDE}px`; });
rows.forEach((text, i) => {
  const line = element("span", i % every ? "" : text, rowNames);
  line.style.height = line.style.lineHeight = `${SIDE}px`;
});

map.addEventListener("pointermove", (event) => {
  const box = map.getBoundingClientRect();
  // The border belongs to no cell.
  const along = (at, from, length, count) => Math.max(0, Math.min(count - 1, Math.floor(((at - from - 1) / (length - 2)) * count)));
  const col = along(event.clientX, box.left, box.width, cols.length);
  const row = along(event.clientY, box.top, box.height, rows.length);
  const value = all[(number(chosen) * rows.length + row) * cols.length + col];
  told.textContent = `${name(chosen)}: ${y} ${rows[row]}, ${x} ${cols[col]}: ${label} ${Number(value.toPrecision(6))}`;
});
document.addEventListener("keydown", (event) => {
  if (event.target instanceof HTMLInputElement) return;
  const last = picks.length - 1;
  const moves = { ArrowRight: [last, 1], ArrowLeft: [last, -1], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  pick(move[0], chosen[move[0]] + move[1]);
});

const [low, bar, high] = document.getElementById("bar").children;
[low.textContent, high.textContent] = [vmin, vmax].map((end) => String(Number(end.toPrecision(4))));
high.textContent += `  ${label}`;
const strip = bar.getContext("2d");
colors.forEach((color, i) => { strip.fillStyle = `rgb(${color})`; strip.fillRect(i, 0, 1, 1); });

// All of them, small, to pick from; of very many that would be no help.
const count = picks.reduce((all, [, n]) => all * n, 1);
if (count <= 400) {
  for (let i = 0; i < count; i++) {
    const whose = picks.length === 1 ? [i] : [Math.floor(i / picks[1][1]), i % picks[1][1]];
    const button = element("button", "", overview);
    button.type = "button";
    button.title = name(whose);
    paint(element("canvas", "", button), i);
    element("span", whose.join("."), button);
    button.addEventListener("click", () => { whose.forEach((pick, axis) => { chosen[axis] = pick; }); show(); });
  }
}
show();
