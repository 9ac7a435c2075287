"use strict";
// An example: whose it is, its value, its passage, the token it is about, the first token that has a shade, and a digit
// of base 36 for the shade of each.
const { unit, passages, examples } = JSON.parse(document.getElementById("data").textContent);
const [by, query, count, more] = ["by", "query", "count", "more"].map((id) => document.getElementById(id));
const main = document.querySelector("main");
// Examples that are added at once.
const PAGE = 40;
const texts = passages.map(([, tokens]) => tokens.join(""));
let found = [];

function element(name, text, parent) {
  const made = document.createElement(name);
  made.textContent = text;
  parent.append(made);
  return made;
}

/** The token as one sees it: a line break, or nothing at all, has a sign. */
const visible = (token) => (token === "" ? "∅" : token.replaceAll("\n", "⏎\n"));

function show([of, value, passage, position, start, shades]) {
  const [name, tokens] = passages[passage];
  const article = element("article", "", main);
  const head = element("h2", `${unit} ${of}`, article);
  element("span", value, head);
  element("span", `${name}, token ${position}`, head);
  const line = element("p", "", article);
  tokens.forEach((token, i) => {
    const span = element("span", visible(token), line);
    const digit = shades[i - start];
    const shade = parseInt(digit, 36) / 35;
    if (digit === undefined) span.className = "far";
    else if (shade > 0) {
      span.style.background = `rgb(21 96 130 / ${shade.toFixed(2)})`;
      if (shade > 0.6) span.style.color = "#fff";
    }
    if (i === position) span.classList.add("peak");
  });
}

function add() {
  const shown = main.childElementCount;
  found.slice(shown, shown + PAGE).forEach(show);
  more.hidden = main.childElementCount >= found.length;
}

function find() {
  const wanted = query.value;
  const fits = {
    token: ([, , passage, position]) => passages[passage][1][position].includes(wanted),
    text: ([, , passage]) => texts[passage].includes(wanted),
    [unit]: ([of]) => String(of) === wanted.trim(),
  }[by.value];
  found = wanted === "" ? examples : examples.filter(fits);
  count.textContent = `${found.length} found`;
  main.replaceChildren();
  add();
}

query.addEventListener("input", find);
by.addEventListener("change", find);
more.addEventListener("click", add);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
find();
