// Places in the numbers of a mean.
const [VALUE, LOW, HIGH, SPREAD, CELLS, IMAGES, LEFT_OUT] = [0, 1, 2, 3, 4, 5, 6];
const SHORT = { blind: "non-adaptive", paper: "one draw", standard: "standard", common: "" };
const BLUE = "47, 126, 216";
const ORANGE = "217, 130, 43";

let table = 0;
const sorting = { column: -1, descending: true };

const hasSeveral = (data.presets ?? []).some((preset) => !preset.marked);
const part = () => (document.querySelector("select.part") ? document.querySelector("select.part").value : "0");
const partName = () => (part() === "0" ? "the whole run" : `${data.parts[part()].kind} ${data.parts[part()].name}`);
const number = (value, digits) => {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text;
};

// ---- tables ------------------------------------------------------------------------------------------

function shownColumns(entry) {
  const mode = byId("table-mode").value;
  return entry.columns.map((column, place) => ({ ...column, place })).filter(
    (column) => !mode || column.mode === mode || column.mode === "common",
  );
}

function shownRows(entry) {
  const values = entry.values[part()] ?? entry.values[0];
  const chosenOnly = hasSeveral && byId("chosen").checked && !entry.families;
  const rows = entry.rows.map((row, place) => {
    const preset = entry.families ? { name: row, marked: true } : data.presets[row];
    return { ...preset, place, values: values[place] };
  });
  const kept = rows.filter((row) => (!chosenOnly || row.marked) && row.values.some((value) => value !== null));
  if (sorting.column < 0) return sorting.descending ? kept : kept.reverse();
  const sign = sorting.descending ? -1 : 1;
  return kept.sort((a, b) => {
    const [x, y] = [a.values[sorting.column], b.values[sorting.column]];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (x[VALUE] - y[VALUE]);
  });
}

function sortButton(title, place, better) {
  const active = sorting.column === place;
  const arrow = make("span", { className: "arrow", "aria-hidden": "true" });
  arrow.textContent = active ? (sorting.descending ? "\u2193" : "\u2191") : "";
  const button = make("button", { type: "button" }, ...(place < 0 ? [title, " ", arrow] : [arrow, " ", title]));
  button.dataset.column = place;
  button.addEventListener("click", () => {
    const first = place < 0 || better === "up";
    Object.assign(sorting, { column: place, descending: active ? !sorting.descending : first });
    drawTable();
    byId("table").querySelector(`button[data-column="${place}"]`)?.focus();
  });
  return button;
}

/** Two rows of headings: scores with their condition, and below each the attackers. */
function headings(entry, columns) {
  const first = make("th", { scope: "col", rowSpan: 2, className: "text name" });
  first.append(sortButton(entry.families ? "Family" : "Defence", -1));
  const [upper, lower] = [[first], []];
  let last = null;
  for (const column of columns) {
    const score = data.scores[column.score];
    const title = column.section ? `${column.section}: ${score.title}` : score.title;
    const starts = last === null || last.title !== title || column.mode === "common";
    if (starts) {
      const way = score.better === "up" ? "\u2191" : "\u2193";
      last = { title, cell: make("th", { scope: "colgroup", className: "group edge", title: score.help, colSpan: 1 }, `${title} ${way}`) };
      upper.push(last.cell);
    } else last.cell.colSpan += 1;
    const cell = make("th", { scope: "col", className: starts ? "edge" : "" });
    const active = sorting.column === column.place;
    cell.setAttribute("aria-sort", active ? (sorting.descending ? "descending" : "ascending") : "none");
    cell.append(sortButton(SHORT[column.mode] || "all", column.place, score.better));
    column.edge = starts;
    lower.push(cell);
  }
  return [make("tr", {}, ...upper), make("tr", {}, ...lower)];
}

function valueCell(column, mean, best, most, entry) {
  const cell = make("td", { className: column.edge ? "edge" : "" });
  if (mean === null) {
    cell.textContent = "\u2013";
    cell.classList.add("none");
    return cell;
  }
  const digits = data.scores[column.score].digits;
  const few = mean[CELLS] < most;
  cell.append(number(mean[VALUE], digits) + (few ? "*" : ""));
  cell.classList.toggle("best", mean[VALUE] === best);
  cell.classList.toggle("few", few);
  if (entry.spread) cell.append(make("span", { className: "interval", textContent: `\u00b1${number(mean[SPREAD], digits)}` }));
  else if (byId("intervals").checked && mean[LOW] !== null && column.score !== "milliseconds") {
    cell.append(make("span", { className: "interval", textContent: `[${number(mean[LOW], digits)}, ${number(mean[HIGH], digits)}]` }));
  }
  const left = mean[LEFT_OUT] ? `, ${mean[LEFT_OUT]} cells without a value left out` : "";
  const range = mean[LOW] === null ? "" : `95 % [${number(mean[LOW], digits)}, ${number(mean[HIGH], digits)}], `;
  cell.title = `${range}${mean[CELLS]} cells, ${mean[IMAGES]} values of images${left}`;
  return cell;
}

function drawTable() {
  const entry = data.tables[table];
  const [columns, rows] = [shownColumns(entry), shownRows(entry)];
  byId("table").tHead.replaceChildren(...headings(entry, columns));
  const ends = columns.map((column) => {
    const found = rows.map((row) => row.values[column.place]).filter((mean) => mean !== null);
    const values = found.map((mean) => mean[VALUE]);
    const best = data.scores[column.score].better === "up" ? Math.max(...values) : Math.min(...values);
    return { best, most: entry.families ? 0 : Math.max(...found.map((mean) => mean[CELLS])) };
  });
  byId("table").tBodies[0].replaceChildren(
    ...rows.map((row) => {
      const line = make("tr", {}, make("td", { className: "text name", textContent: row.name }));
      line.classList.toggle("other", hasSeveral && !row.marked);
      line.classList.toggle("reference", row.name === "without defence");
      line.append(...columns.map((column, at) => valueCell(column, row.values[column.place], ends[at].best, ends[at].most, entry)));
      return line;
    }),
  );
  for (const button of byId("table-choice").children) {
    button.setAttribute("aria-pressed", String(Number(button.value) === table));
  }
  const means = rows.flatMap((row) => columns.map((column) => row.values[column.place])).filter((mean) => mean !== null);
  const cells = Math.max(0, ...means.map((mean) => mean[CELLS]));
  const few = byId("table").querySelector("td.few") ? " * is a mean over fewer cells than the best covered defence has." : "";
  const grey = hasSeveral && !entry.families && !byId("chosen").checked ? " Grey names are presets that were not chosen." : "";
  const apart = part() in entry.values ? partName() : "the whole run";
  const spread = entry.spread ? " \u00b1 is the standard deviation over targets and data sets." : " Hover over a number for its interval.";
  byId("table-caption").textContent = entry.caption;
  byId("table-note").textContent =
    `Of ${apart}: means over up to ${cells} cells and ${Math.max(0, ...means.map((mean) => mean[IMAGES]))} values of images. Bold is best; a dash means that there is no such number.${few}${grey}${spread}`;
}

function startTables() {
  fill(byId("table-mode"), [["", "all, side by side"], ...Object.entries(data.modes)], "");
  byId("chosen-label").hidden = !hasSeveral;
  byId("table-choice").append(
    ...data.tables.map((entry, place) => {
      const button = make("button", { type: "button", value: String(place), textContent: `${entry.number} ${entry.title}` });
      button.addEventListener("click", () => {
        table = place;
        Object.assign(sorting, { column: -1, descending: true });
        drawTable();
      });
      return button;
    }),
  );
  for (const id of ["table-mode", "intervals", "chosen"]) byId(id).addEventListener("change", drawTable);
  drawTable();
}

// ---- figures -----------------------------------------------------------------------------------------

function drawFigure() {
  if (!byId("figure")) return;
  const entry = data.figures[Number(byId("figure-choice").value)];
  const mode = byId("figure-mode").value;
  const wanted = [`${part()} ${mode}`, part(), `0 ${mode}`, "0"];
  const key = wanted.find((name) => name in entry.drawings) ?? Object.keys(entry.drawings)[0];
  const drawing = entry.drawings[key];
  byId("figure-mode").disabled = !key.includes(" ");
  if (key.includes(" ")) byId("figure-mode").value = key.split(" ")[1];
  byId("figure").style.height = `${drawing.layout.height ?? 460}px`;
  plot("figure", drawing);
  const of = key.split(" ")[0] === "0" ? "the whole run" : partName();
  const attackers = key.includes(" ") ? `, ${data.modes[key.split(" ")[1]]} attacks` : "";
  const bars = drawing.data.some((trace) => trace.error_x) ? "bars are 95 % intervals over images" : "hover over a point for 95 % intervals over images";
  const front = drawing.data.some((trace) => trace.name === "Pareto front") ? " The dotted line is the Pareto front: what no other preset beats in both." : "";
  const presets = hasSeveral ? (bars.startsWith("hover") ? " Every preset is a point; the filled ones are chosen." : " One chosen preset per defence.") : "";
  byId("figure-caption").textContent = `${entry.title}, ${of}${attackers}. Means over cells as in the tables; ${bars}.${front}${presets}`;
}

function startFigures() {
  fill(byId("figure-choice"), data.figures.map((entry, place) => [String(place), entry.title]), "0");
  fill(byId("figure-mode"), Object.entries(data.modes), data.mode);
  for (const id of ["figure-choice", "figure-mode"]) byId(id).addEventListener("change", drawFigure);
  drawFigure();
}

// ---- matrices ----------------------------------------------------------------------------------------

/** A square of numbers with names on two sides; ``shade`` gives the share of the colour. */
function drawMatrix(id, corner, names, text, shade, colour, title) {
  const heads = names.map((name) => make("th", { scope: "col", className: "head" }, make("span", { textContent: name })));
  byId(id).tHead.replaceChildren(make("tr", {}, make("th", { className: "corner name", textContent: corner }), ...heads));
  byId(id).tBodies[0].replaceChildren(
    ...names.map((name, row) => {
      const cells = names.map((other, column) => {
        const cell = make("td", { textContent: text(row, column), title: title(name, other) });
        cell.classList.toggle("diagonal", row === column);
        const share = shade(row, column);
        if (share !== null) cell.style.backgroundColor = `rgba(${colour}, ${Math.min(1, Math.max(0, share)) * 0.6})`;
        return cell;
      });
      return make("tr", {}, make("td", { className: "text name", textContent: name }), ...cells);
    }),
  );
}

function drawTests() {
  if (!byId("test-table")) return;
  const [score, mode] = [byId("test-score").value, byId("test-mode").value];
  const entry = data.tests.find((one) => one.score === score && one.mode === mode);
  const found = entry?.matrices[`${part()} ${byId("test-correction").value}`];
  byId("test-table").hidden = !found;
  if (!found) {
    byId("test-note").textContent = "No two defences share an image with this score.";
    return;
  }
  const names = entry.presets.map((preset) => data.presets[preset].name);
  const share = (row, column) => found.shares[row][column];
  const text = (row, column) => (row === column ? "\u2013" : share(row, column) === null ? "" : `${(100 * share(row, column)).toFixed(0)}`);
  const title = (row, column) => `${row} better than ${column}`;
  drawMatrix("test-table", "row better than column, % of cells", names, text, share, BLUE, title);
  const pairs = names.length * (names.length - 1);
  const m = pairs * found.cells === found.m ? `${pairs} ordered pairs x ${found.cells} cells = ${found.m} tests` : `${found.m} tests`;
  const [least, most] = entry.images;
  const images = least === most ? `${least}` : `${least} to ${most}`;
  const reach = found.reachable ? "" : ` With ${least} images no p-value can be below 2^-${least}, too large for ${found.m} tests: differences cannot be found there, however large.`;
  byId("test-note").textContent =
    `As tables 18 to 23: share of cells of ${partName()} in which the row is significantly better in ${data.scores[score].title} than the column (one-sided Wilcoxon signed rank over ${images} images, p < 0.05 after ${data.corrections[byId("test-correction").value]} for m = ${m}; images equal under both are dropped).${hasSeveral ? " One chosen preset per defence." : ""}${reach}`;
}

function startTests() {
  const scores = unique(data.tests.map((one) => one.score));
  fill(byId("test-score"), scores.map((key) => [key, data.scores[key].title]), scores[0]);
  fill(byId("test-mode"), Object.entries(data.modes), data.mode);
  fill(byId("test-correction"), Object.entries(data.corrections), "bonferroni");
  for (const id of ["test-score", "test-mode", "test-correction"]) byId(id).addEventListener("change", drawTests);
  drawTests();
}

function drawTransfer() {
  if (!byId("transfer-table")) return;
  const entry = data.transfer[Number(byId("transfer-choice").value)];
  const select = byId("transfer-measure");
  const measures = Object.keys(entry.values);
  fill(select, measures.map((key) => [key, data.measures[key]]), measures.includes(select.value) ? select.value : measures.at(-1));
  const values = entry.values[select.value];
  const largest = select.value === "gain" ? Math.max(1e-9, ...values.flat().map((value) => Math.abs(value ?? 0))) : 100;
  const names = entry.presets.map((preset) => data.presets[preset].name);
  const text = (row, column) => (values[row][column] === null ? "" : number(values[row][column], 1));
  const shade = (row, column) => {
    const value = values[row][column];
    return value === null ? null : select.value === "robust" ? 1 - value / 100 : value / largest;
  };
  const title = (row, column) => `made on ${row}, scored behind ${column}`;
  drawMatrix("transfer-table", "made on row, scored behind column", names, text, shade, ORANGE, title);
  const where = entry.suites > 1 ? `mean over ${entry.suites} suites of at least ${entry.images} images each` : `${entry.images} images`;
  byId("transfer-note").textContent =
    `${data.measures[select.value]}, ${where}. The diagonal is the adaptive attack itself, the row "without defence" the attack on the bare target; the darker, the better for the attacker. Where a column is darker off its diagonal, the adaptive attack on that defence was not the strongest one.`;
}

function startTransfer() {
  const names = data.transfer.map((one) => `${one.label}, ${one.suites > 1 ? "mean over suites" : one.suite}`);
  const start = Math.max(0, data.transfer.findIndex((one) => one.suites > 1));
  fill(byId("transfer-choice"), names.map((name, place) => [String(place), name]), String(start));
  for (const id of ["transfer-choice", "transfer-measure"]) byId(id).addEventListener("change", drawTransfer);
  drawTransfer();
}

// ---- start -------------------------------------------------------------------------------------------

/** One choice of a part for the whole page, wherever it is made. */
function startParts() {
  const options = data.parts.map((entry, place) => [String(place), place ? `${entry.kind}: ${entry.name}` : "everything"]);
  const selects = [...document.querySelectorAll("select.part")];
  for (const select of selects) {
    fill(select, options, "0");
    select.parentElement.hidden = options.length < 2;
    select.addEventListener("change", () => {
      for (const other of selects) other.value = select.value;
      drawTable();
      drawFigure();
      drawTests();
    });
  }
}

startTheme(drawFigure);
startParts();
if (byId("table")) startTables();
if (byId("figure")) startFigures();
if (byId("test-table")) startTests();
if (byId("transfer-table")) startTransfer();
