"use strict";

const figure = JSON.parse(document.getElementById("data").textContent);
const style = getComputedStyle(document.documentElement);
const [text, card, line] = ["--text", "--card", "--line"].map((name) => style.getPropertyValue(name).trim());
Object.assign(figure.layout, {
  font: { color: text, family: getComputedStyle(document.body).fontFamily, size: 13 },
  hoverlabel: { ...figure.layout.hoverlabel, bgcolor: card, bordercolor: line, font: { color: text } },
  dragmode: false,
  autosize: true,
});
const config = { displayModeBar: false, displaylogo: false, responsive: true, showTips: false };
Plotly.newPlot("front", figure.data, figure.layout, config);
