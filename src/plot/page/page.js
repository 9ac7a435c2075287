"use strict";
// `spots[i]` is where `rows[i]` is drawn: left, top, width and height in the units of the picture.
const { name, columns, rows, spots } = JSON.parse(document.getElementById("figure").textContent);
const main = document.querySelector("main");
const svg = document.querySelector("svg");
// How far from a spot the pointer may be, and how far the outline of a point is from it.
const REACH = 14, ROOM = 4;
const pins = new Map();

function distance([left, top, width, height], x, y) {
  const dx = Math.max(left - x, 0, x - left - width);
  const dy = Math.max(top - y, 0, y - top - height);
  return Math.hypot(dx, dy);
}

/** The index of the record nearest to the pointer, or -1. */
function under(event) {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  let best = -1, least = REACH;
  spots.forEach((spot, i) => {
    const far = distance(spot, at.x, at.y);
    if (far < least) [best, least] = [i, far];
  });
  return best;
}

/** A card with everything known about record `i`, beside its outline. */
function show(i, pinned) {
  const [left, top, width, height] = spots[i];
  const room = width > 0 && height > 0 ? 0 : ROOM;
  const outline = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const box = { x: left - room, y: top - room, width: width + 2 * room, height: height + 2 * room };
  for (const [key, value] of Object.entries(box)) outline.setAttribute(key, value);
  outline.setAttribute("class", "outline");
  svg.append(outline);

  const list = document.createElement("dl");
  columns.forEach((column, c) => {
    const term = document.createElement("dt"), value = document.createElement("dd");
    term.textContent = column;
    value.textContent = rows[i][c];
    list.append(term, value);
  });
  const card = document.createElement("div");
  card.className = pinned ? "card pinned" : "card";
  card.dataset.record = i;
  card.append(list);
  main.append(card);
  // Right of the spot, or left of it where the window ends.
  const edge = document.documentElement.clientWidth - main.getBoundingClientRect().left;
  const right = left + width + 10;
  card.style.left = `${right + card.offsetWidth < edge ? right : Math.max(0, left - 10 - card.offsetWidth)}px`;
  card.style.top = `${top + height / 2 + 10}px`;
  return { remove: () => (outline.remove(), card.remove()) };
}

let hovered = { i: -1, remove() {} };
function hover(i) {
  if (i === hovered.i) return;
  hovered.remove();
  hovered = i < 0 || pins.has(i) ? { i, remove() {} } : { i, ...show(i, false) };
}

function unpin(i) {
  pins.get(i).remove();
  pins.delete(i);
}

svg.addEventListener("pointermove", (event) => hover(under(event)));
svg.addEventListener("pointerleave", () => hover(-1));
svg.addEventListener("click", (event) => {
  const i = under(event);
  if (i < 0) return;
  hover(-1);
  if (pins.has(i)) unpin(i);
  else pins.set(i, show(i, true));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") [...pins.keys()].forEach(unpin);
});

const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
document.getElementById("download").addEventListener("click", () => {
  const csv = [columns, ...rows].map((row) => row.map(quoted).join(",") + "\n").join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
  link.download = `${name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
