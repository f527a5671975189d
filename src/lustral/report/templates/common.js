"use strict";

// What the pages of a run share; stands before the script of the page in one script element.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

/** An element with properties and children; text is only ever set as text. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

function fill(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => make("option", { value, textContent: text })));
  select.value = chosen;
}

const unique = (values) => [...new Set(values)];

const clickable = new Set(); // figures that hear clicks

/** Draw a figure in the colours of the page; a click on a point calls ``clicked``. */
function plot(place, drawing, clicked) {
  const figure = structuredClone(drawing);
  if (byId(place).clientWidth < 600) {
    for (const trace of figure.data) Object.assign(trace, trace.meta?.narrow);
  }
  const style = getComputedStyle(document.documentElement);
  const [text, card, line] = ["--text", "--card", "--line"].map((name) => style.getPropertyValue(name).trim());
  Object.assign(figure.layout, {
    font: { color: text, family: getComputedStyle(document.body).fontFamily, size: 13 },
    hoverlabel: { ...figure.layout.hoverlabel, bgcolor: card, bordercolor: line, font: { color: text } },
    dragmode: false,
    autosize: true,
  });
  const config = { displayModeBar: false, displaylogo: false, responsive: true, showTips: false };
  Plotly.react(place, figure.data, figure.layout, config);
  if (clicked && !clickable.has(place)) {
    clickable.add(place);
    byId(place).on("plotly_click", clicked);
  }
}

/** The button that switches between light and dark; figures have to be drawn again. */
function startTheme(draw) {
  const darkScheme = matchMedia("(prefers-color-scheme: dark)");
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : darkScheme.matches;
    root.dataset.theme = isDark ? "light" : "dark";
    draw();
  });
  darkScheme.addEventListener("change", draw);
}

