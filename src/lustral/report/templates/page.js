const filters = byId("filters").elements;
const sorting = { key: "robust.average", descending: true };
const MARKS = { "+": "PASS", "~": "WARN", "!": "FAIL", "?": "NOT RUN" };
const SHOTS = {
  clean: "Clean",
  attacked: "Attacked",
  purified_clean: "Purified clean",
  purified_attacked: "Purified attacked",
};
const STRIPS = {
  steps_clean: "Inside the purifier, clean image",
  steps_attacked: "Inside the purifier, attacked image",
};
const DIFFERENCES = [
  ["attacked", "clean", "Attacked - clean"],
  ["purified_attacked", "clean", "Purified attacked - clean"],
];

// ---- table -------------------------------------------------------------------------------------------

function startFilters() {
  const suites = unique(data.rows.map((row) => row.values.suite));
  const options = (key, all) => [["", all], ...unique(data.rows.map((row) => row.values[key])).map((v) => [v, v])];
  fill(filters.suite, options("suite", "All suites"), suites[0] ?? "");
  fill(filters.verdict, options("verdict", "All verdicts"), "");
  fill(filters.kind, [["", "All kinds"], ...unique(data.rows.map((row) => row.kind)).map((v) => [v, v])], "");
  fillAttacks(data.worst);
}

/** Only attacks of the chosen suite can be chosen. */
function fillAttacks(wanted) {
  const suite = filters.suite.value;
  const rows = data.rows.filter((row) => !suite || row.values.suite === suite);
  const labels = unique(rows.map((row) => row.values.attack));
  labels.sort((a, b) => (b === data.worst) - (a === data.worst));
  fill(filters.attack, [["", "All attacks"], ...labels.map((v) => [v, v])], labels.includes(wanted) ? wanted : "");
}

function filteredRows() {
  const words = filters.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = ["suite", "attack", "verdict"].filter((name) => filters[name].value);
  return data.rows.filter((row) => {
    const text = Object.values(row.texts).join(" ").toLowerCase();
    return (
      wanted.every((name) => row.values[name] === filters[name].value) &&
      (!filters.kind.value || row.kind === filters.kind.value) &&
      words.every((word) => text.includes(word))
    );
  });
}

function sortedRows(rows) {
  const sign = sorting.descending ? -1 : 1;
  const column = data.columns.find((entry) => entry.key === sorting.key);
  return [...rows].sort((a, b) => {
    if (filters.below.checked && a.upper_bound !== b.upper_bound) return a.upper_bound - b.upper_bound;
    const [x, y] = [a.values[column.key], b.values[column.key]];
    if (x === y) return 0;
    if (x === null || y === null) return x === null ? 1 : -1;
    return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
  });
}

function shownColumns(rows) {
  return data.columns.filter((column) => {
    if (column.extra && !filters.extra.checked) return false;
    if (["suite", "attack"].includes(column.key) && filters[column.key].value) return false;
    if (column.key === "access" && filters.attack.value === data.worst) return false;
    return rows.some((row) => row.texts[column.key] !== "");
  });
}

function headerCell(column) {
  const active = sorting.key === column.key;
  const arrow = make("span", { className: "arrow", "aria-hidden": "true" });
  arrow.textContent = active ? (sorting.descending ? "\u2193" : "\u2191") : "";
  const better = { up: " Higher is better.", down: " Lower is better.", "": "" }[column.better];
  const button = make("button", { type: "button", title: column.help + better });
  button.append(...(column.style === "text" ? [column.title, " ", arrow] : [arrow, " ", column.title]));
  button.dataset.key = column.key;
  button.addEventListener("click", () => sortBy(column));
  const cell = make("th", { scope: "col", className: cellClass(column).replace("long", "") }, button);
  cell.setAttribute("aria-sort", active ? (sorting.descending ? "descending" : "ascending") : "none");
  return cell;
}

function cellClass(column) {
  if (column.key === "defence") return "text name";
  if (column.key === "indicator_string") return "text wrap";
  if (column.key === "attack" || column.key === "suite") return "text long";
  return column.style === "text" ? "text" : "";
}

function sortBy(column) {
  const first = column.style !== "text" && column.style !== "place" && column.better !== "down";
  sorting.descending = sorting.key === column.key ? !sorting.descending : first;
  sorting.key = column.key;
  drawTable();
  byId("table").querySelector(`button[data-key="${CSS.escape(column.key)}"]`)?.focus();
}

function badge(row) {
  const kind = { "passes checks": "pass", "upper bound": "bound" }[row.texts.verdict] ?? "none";
  return make("span", { className: `badge ${kind}`, textContent: row.texts.verdict });
}

function marks(text) {
  return text.split(" ").filter(Boolean).map((part) => {
    const verdict = MARKS[part.at(-1)];
    const meaning = data.indicators[part.slice(0, -1)];
    return make("span", { className: `mark ${verdict}`, title: `${verdict}: ${meaning}`, textContent: part });
  });
}

function bodyCell(row, column) {
  const cell = make("td", { className: cellClass(column) });
  const text = row.texts[column.key];
  if (column.key === "defence") {
    const button = make("button", { type: "button", className: "link", textContent: text });
    button.setAttribute("aria-haspopup", "dialog");
    cell.append(button);
  } else if (column.key === "verdict") cell.append(badge(row));
  else if (column.key === "indicator_string") cell.append(...marks(text));
  else if (column.interval && text.includes(" [")) {
    const [value, interval] = text.split(" [");
    cell.append(value, make("span", { className: "interval", textContent: `[${interval}` }));
  } else cell.textContent = text;
  return cell;
}

function drawTable() {
  const rows = sortedRows(filteredRows());
  const columns = shownColumns(rows);
  const firstBound = filters.below.checked ? rows.findIndex((row) => row.upper_bound) : -1;
  byId("table").tHead.replaceChildren(make("tr", {}, ...columns.map(headerCell)));
  byId("table").tBodies[0].replaceChildren(
    ...rows.map((row, position) => {
      const line = make("tr", {}, ...columns.map((column) => bodyCell(row, column)));
      line.classList.toggle("bound", row.upper_bound);
      line.classList.toggle("first-bound", position === firstBound && position > 0);
      line.addEventListener("click", () => openDetail(row.defence_number, row.values.attack));
      return line;
    }),
  );
  const bounds = rows.filter((row) => row.upper_bound).length;
  const note = bounds ? `; ${bounds} of them are upper bounds, not robustness` : "";
  byId("count").textContent = `${rows.length} of ${data.rows.length} rows${note}`;
}

// ---- exports -----------------------------------------------------------------------------------------

const LATEX = {
  "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
  "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
};
const latex = (text) => text.replace(/[\\{}~^&%$#_<>|]/g, (sign) => LATEX[sign] ?? `\\${sign}`);
const markdown = (text) =>
  text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/[\\`*_[\]|~!]/g, "\\$&");
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

const EXPORTS = {
  csv: {
    type: "text/csv",
    text: (rows) =>
      [data.csv.columns, ...rows.map((row) => row.csv)].map((cells) => `${cells.map(quoted).join(",")}\n`).join(""),
  },
  md: {
    type: "text/markdown",
    text: (rows, columns) => {
      const rule = columns.map((column) => (column.style === "text" ? ":--" : "--:"));
      const body = rows.map((row) => columns.map((column) => markdown(row.texts[column.key])));
      const head = columns.map((column) => markdown(column.title));
      return [head, rule, ...body].map((cells) => `| ${cells.join(" | ")} |\n`).join("");
    },
  },
  tex: {
    type: "application/x-tex",
    text: (rows, columns) => {
      const line = (cells) => `${cells.join(" & ")} \\\\\n`;
      const alignment = columns.map((column) => (column.style === "text" ? "l" : "r")).join("");
      const head = line(columns.map((column) => latex(column.title)));
      const body = rows.map((row) => line(columns.map((column) => latex(row.texts[column.key])))).join("");
      return `\\begin{tabular}{${alignment}}\n\\hline\n${head}\\hline\n${body}\\hline\n\\end{tabular}\n`;
    },
  },
};

function save(kind) {
  const rows = sortedRows(filteredRows());
  const blob = new Blob([EXPORTS[kind].text(rows, shownColumns(rows))], { type: EXPORTS[kind].type });
  const link = make("a", { href: URL.createObjectURL(blob), download: `lustral-table.${kind}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---- figure ------------------------------------------------------------------------------------------

let view = "worst";
let measure = null; // the suite's own until one is chosen

function drawFigure() {
  drawBudget();
  const views = data.figures[Number(byId("figure-suite").value)]?.views ?? {};
  if (!(view in views)) view = Object.keys(views)[0] ?? view;
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === view));
    button.disabled = !(button.dataset.view in views);
    if (button.dataset.view === view) byId("view-text").textContent = `${button.title}.`;
  }
  if (!(view in views)) return;
  plot("pareto", views[view], openClicked);
  drawCost();
}

function drawCost() {
  const entry = data.figures[Number(byId("figure-suite").value)];
  const shown = measure ?? entry.measure;
  for (const button of document.querySelectorAll("[data-measure]")) {
    button.setAttribute("aria-pressed", String(button.dataset.measure === shown));
  }
  plot("cost", entry.costs[view][shown], openClicked);
}

function drawBudget() {
  const suite = byId("figure-suite").value;
  const budgets = data.figures[Number(suite)]?.budgets ?? [];
  const choice = byId("budget-attack");
  byId("budgets").hidden = budgets.length === 0;
  if (choice.dataset.suite !== suite) {
    choice.dataset.suite = suite;
    fill(choice, budgets.map((entry, number) => [String(number), entry.title]), "0");
  }
  if (budgets.length > 0) plot("budget", budgets[Number(choice.value)].figure, openClicked);
}

function openClicked(event) {
  const number = event.points.find((point) => point.customdata !== undefined)?.customdata;
  if (number !== undefined) openDetail(number);
}

function startFigure() {
  fill(byId("figure-suite"), data.figures.map((entry, number) => [String(number), entry.suite]), "0");
  byId("figure-suite").addEventListener("change", drawFigure);
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => {
      view = button.dataset.view;
      drawFigure();
    });
  }
  for (const button of document.querySelectorAll("[data-measure]")) {
    button.addEventListener("click", () => {
      measure = button.dataset.measure;
      drawCost();
    });
  }
  byId("budget-attack").addEventListener("change", drawBudget);
  drawFigure();
}

// ---- details -----------------------------------------------------------------------------------------

let opened = null;

function openDetail(number, attack) {
  const defence = data.defences[number];
  const rows = data.rows.filter((row) => row.defence_number === number);
  opened = { defence, image: null };
  byId("detail-title").textContent = `${defence.name} in ${defence.suite}`;
  byId("detail-badge").replaceChildren(badge(rows[0]));
  byId("detail-about").replaceChildren(
    ...Object.entries(defence.about).map(([name, text]) =>
      make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: text })),
    ),
  );
  drawAttacks(rows);
  drawIndicators(defence.verdicts);
  byId("detail-command").textContent = defence.command;
  byId("detail-settings").textContent = defence.settings;
  const labels = Object.keys(defence.pictures);
  byId("detail-pictures").hidden = labels.length === 0;
  if (labels.length) {
    const strongest = rows.find((row) => labels.includes(row.values.attack) && row.values.access !== "blind");
    const fallback = strongest?.values.attack ?? labels[0];
    fill(byId("picture-attack"), labels.map((v) => [v, v]), labels.includes(attack) ? attack : fallback);
    drawChoice();
  }
  if (!byId("detail").open) byId("detail").showModal();
  byId("detail").scrollTop = 0;
}

function drawAttacks(rows) {
  const skipped = ["order", "defence", "suite", "verdict", "indicator_string", "cost.passes", "cost.milliseconds"];
  const columns = data.columns.filter(
    (column) => !skipped.includes(column.key) && rows.some((row) => row.texts[column.key] !== ""),
  );
  const head = columns.map((column) =>
    make("th", { scope: "col", className: `plain ${column.style === "text" ? "text" : ""}`, title: column.help }, column.title),
  );
  byId("attack-table").tHead.replaceChildren(make("tr", {}, ...head));
  byId("attack-table").tBodies[0].replaceChildren(
    ...rows.map((row) => make("tr", {}, ...columns.map((column) => bodyCell(row, column)))),
  );
}

function drawIndicators(verdicts) {
  const rank = (name) => (verdicts[name].verdict === "NOT RUN") * 100 + Number(name.slice(1));
  const names = Object.keys(verdicts).sort((a, b) => rank(a) - rank(b));
  byId("detail-indicators").replaceChildren(
    ...names.map((name) => {
      const { verdict, detail } = verdicts[name];
      const found = make("div", {}, data.indicators[name], make("small", { textContent: detail }));
      const mark = make("span", { className: `mark ${verdict.replace(" ", "-")}`, textContent: `${name} ${verdict}` });
      return make("li", {}, mark, found);
    }),
  );
}

const shotsOf = () => opened.defence.pictures[byId("picture-attack").value] ?? {};

function drawChoice() {
  const shots = shotsOf();
  const images = Object.keys(shots).sort();
  if (!images.includes(opened.image)) opened.image = images[0];
  byId("picture-choice").replaceChildren(
    ...images.map((image) => {
      const picture = make("img", { src: data.pictures[shots[image].clean], alt: image });
      const button = make("button", { type: "button", title: image, "aria-pressed": String(image === opened.image) }, picture);
      button.addEventListener("click", () => {
        opened.image = image;
        drawChoice();
      });
      return button;
    }),
  );
  drawPictures();
}

function sourceOf(what) {
  return data.pictures[shotsOf()[opened.image][what]];
}

async function drawPictures() {
  drawComparison();
  const tiles = Object.entries(SHOTS).map(([what, text]) =>
    make("figure", {}, make("img", { src: sourceOf(what), alt: text }), make("figcaption", { textContent: text })),
  );
  const gain = Number(byId("picture-gain").value);
  const differences = DIFFERENCES.map(([a, b, text]) => {
    const canvas = make("canvas", { role: "img", "aria-label": `${text}, times ${gain}` });
    return { canvas, pair: [a, b], tile: make("figure", {}, canvas, make("figcaption", { textContent: `${text}, x ${gain}` })) };
  });
  byId("tiles").replaceChildren(...tiles, ...differences.map((entry) => entry.tile));
  drawStrips();
  const left = data.pictures_left_out ? ` Pictures of ${data.pictures_left_out} more images were left out to keep the page small.` : "";
  byId("picture-note").textContent =
    `Image ${opened.image}. Differences are shown around grey. Pictures larger than ${data.side} pixels are cut to their centre.${left}`;
  await Promise.all(differences.map(({ canvas, pair }) => drawDifference(canvas, ...pair.map(sourceOf), gain)));
}

/** What the purifier showed of its inside, in the order in which it did, scrolling sideways where it does not fit. */
function drawStrips() {
  const shown = shotsOf()[opened.image];
  const strips = Object.entries(STRIPS).filter(([what]) => what in shown);
  byId("strips").replaceChildren(
    ...strips.flatMap(([what, title]) => {
      const tiles = data.strips[shown[what]].map(([name, picture]) =>
        make("figure", {}, make("img", { src: data.pictures[picture], alt: `${title}: ${name}` }), make("figcaption", { textContent: name })),
      );
      const strip = make("div", { className: "strip", tabIndex: 0, role: "region", "aria-label": `${title}, scrolls sideways` }, ...tiles);
      return [make("h4", { textContent: title }), strip];
    }),
  );
}

function drawComparison() {
  for (const side of ["left", "right"]) {
    const what = byId(`compare-${side}-kind`).value;
    const picture = byId(`compare-${side}`);
    picture.src = sourceOf(what);
    picture.alt = SHOTS[what];
  }
  // The second picture lies on the first and is uncovered from the right.
  byId("compare-right").style.clipPath = `inset(0 0 0 ${byId("compare-range").value}%)`;
}

async function pixels(source) {
  const picture = make("img", { src: source });
  await picture.decode();
  const canvas = make("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

async function drawDifference(canvas, first, second, gain) {
  const [a, b] = await Promise.all([pixels(first), pixels(second)]);
  Object.assign(canvas, { width: a.width, height: a.height });
  const result = new ImageData(a.width, a.height);
  if (a.width !== b.width || a.height !== b.height) return;
  for (let i = 0; i < a.data.length; i += 1) {
    result.data[i] = i % 4 === 3 ? 255 : 127.5 + gain * (a.data[i] - b.data[i]);
  }
  canvas.getContext("2d").putImageData(result, 0, 0);
}

function startDetail() {
  for (const [side, chosen] of [["left", "attacked"], ["right", "purified_attacked"]]) {
    fill(byId(`compare-${side}-kind`), Object.entries(SHOTS), chosen);
    byId(`compare-${side}-kind`).addEventListener("change", drawComparison);
  }
  byId("compare-range").addEventListener("input", drawComparison);
  byId("picture-attack").addEventListener("change", drawChoice);
  byId("picture-gain").addEventListener("change", drawPictures);
  byId("detail-close").addEventListener("click", () => byId("detail").close());
  byId("detail").addEventListener("click", (event) => {
    if (event.target === byId("detail")) byId("detail").close();
  });
}

// ---- start -------------------------------------------------------------------------------------------

startTheme(drawFigure);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("input", (event) => {
  if (event.target === filters.suite) {
    fillAttacks(filters.attack.value);
    const number = data.figures.findIndex((entry) => entry.suite === filters.suite.value);
    if (number >= 0) {
      byId("figure-suite").value = String(number);
      drawFigure();
    }
  }
  drawTable();
});
for (const button of document.querySelectorAll("[data-export]")) {
  button.addEventListener("click", () => save(button.dataset.export));
}
startFilters();
drawTable();
startDetail();
startFigure();
