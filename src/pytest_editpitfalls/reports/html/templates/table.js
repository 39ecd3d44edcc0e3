// The case table: filters, sorting, pages, columns. All but the page is in the address, so that a view can be shared.
const PER_PAGE = 100;
const filters = document.getElementById("filters");
const table = document.getElementById("table");
let shown = [];       // places of the filtered cases, in order
let page = 0;
let order = { column: "", up: false }; // no column: what failed comes first
let haystacks = null; // what the search looks at, made at the first search

const COLUMNS = [
  { name: "id", title: "case", text: id },
  { name: "outcome", title: "outcome", value: (i) => cases.outcome[i] },
  { name: "suite", title: "suite", text: suite },
  { name: "editor", title: "editor", text: editor },
  { name: "model", title: "model", text: model },
  { name: "rule", title: "rule", text: ruleWords, about: rule },
  { name: "missed", title: "missed by", value: (i) => missed(i) || null, down: true },
];

const RUN = "order of the run";

// All columns that the table can have, whatever is filtered.
const several = (column) => !["suite", "editor", "model"].includes(column.name) || data[`${column.name}s`].length > 1;
const every = [
  ...COLUMNS.filter(several),
  ...Object.keys(data.metrics).map((name) => ({
    name: `metric ${name}`, title: data.metrics[name].title, value: (i) => metric(i, name), metric: name,
    down: data.metrics[name].better !== "higher is better",
  })),
];
const usual = new Set(every.filter(({ metric }) => !metric || data.metrics[metric].inTable).map(({ name }) => name));
let chosen = new Set(usual);

// Those that some case of the filtered ones has a value for: what the table can be sorted by.
function columns() {
  const sets = new Set(shown.map((i) => cases.metricSet[i]));
  const names = new Set([...sets].flatMap((place) => data.metricSets[place]));
  return every.filter(({ metric }) => !metric || names.has(metric));
}

const isShown = ({ name }) => name === "id" || chosen.has(name);

// In the address a metric has its own name, unless another column is called so.
const bases = new Set(COLUMNS.map(({ name }) => name));
function plainName(name) {
  const own = name.replace(/^metric /, "");
  return bases.has(own) ? name : own;
}

function chosenText() {
  const names = every.map(({ name }) => name).filter((name) => name !== "id");
  if (names.every((name) => chosen.has(name) === usual.has(name))) return "";
  return names.filter((name) => chosen.has(name)).map(plainName).join(",") || "none";
}

function choose(text) {
  const wanted = new Set(text.split(","));
  const known = every.map(({ name }) => name).filter((name) => wanted.has(plainName(name)));
  chosen = new Set(known.length || text === "none" ? known : usual);
  for (const box of document.querySelectorAll("#columns input")) box.checked = chosen.has(box.value);
}

function startColumns() {
  const boxes = every.filter(({ name }) => name !== "id").map((column) => {
    const box = element("input", { type: "checkbox", value: column.name });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(column.name);
      else chosen.delete(column.name);
      redraw();
    });
    const arrow = column.metric ? ` ${data.metrics[column.metric].arrow}` : "";
    return element("label", { title: column.metric ? about(column.metric) : null }, box, ` ${column.title}${arrow}`);
  });
  const usualAgain = element("button", { type: "button", class: "quiet" }, "as usual");
  const none = element("button", { type: "button", class: "quiet" }, "none");
  usualAgain.addEventListener("click", () => { choose(""); redraw(); });
  none.addEventListener("click", () => { choose("none"); redraw(); });
  document.querySelector("#columns div").append(...boxes, usualAgain, none);
  choose("");
}

function redraw() {
  draw(columns());
  keepAddress();
}

function haystack(i) {
  const told = edits(i).map((edit) => typeof edit === "string" ? edit : `${edit.question} ${edit.old} ${edit.new}`);
  const facts = words(i).map(({ prompt, joiner, object }) => `${prompt}${joiner}${object}`);
  const notes = cases.notes[i] ? cases.notes[i].map(string) : [];
  return [id(i), string(cases.subject[i]), rule(i), ruleWords(i), suite(i), editor(i), model(i), ...told, ...facts, ...notes, string(cases.reason[i])]
    .join("\n").toLowerCase();
}

// Filters that are no column of the data: value of the form -> whether a case is wanted.
const CHOICES = {
  held: { yes: (i) => cases.held[i] === 1, no: (i) => cases.held[i] === 0, "not asked": (i) => cases.held[i] === -1 },
  tokens: { unequal: (i) => cases.unequal[i] === 1, equal: (i) => cases.unequal[i] === 0 },
};

function filter() {
  const wanted = new FormData(filters);
  const words = wanted.get("search").toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length && haystacks === null) haystacks = Array.from({ length: total }, (_, i) => haystack(i));
  const places = {};
  for (const name of ["suite", "editor", "model", "outcome", "rule"]) {
    const list = data[`${name}s`];
    places[name] = wanted.get(name) === "" ? -1 : list.indexOf(wanted.get(name));
  }
  const kept = Object.entries(CHOICES).filter(([name]) => wanted.get(name)).map(([name, of]) => of[wanted.get(name)]);
  const [kind, run] = (wanted.get("changed") || "").split("/");
  shown = [];
  for (let i = 0; i < total; i++) {
    if (Object.entries(places).some(([name, place]) => place >= 0 && cases[name][i] !== place)) continue;
    if (!kept.every((is) => is(i))) continue;
    if (kind && changed(i, Number(run)) !== kind) continue;
    if (words.length && !words.every((word) => haystacks[i].includes(word))) continue;
    shown.push(i);
  }
  page = 0;
  sort();
}

// The form and the order as "#search=...&suite=...", without what stands at its first value.
function view() {
  const found = new URLSearchParams([...new FormData(filters)].filter(([name, value]) => value && name !== "sort"));
  if (order.column) found.set("sort", order.column);
  if (order.column && order.up) found.set("up", "1");
  if (chosenText()) found.set("columns", chosenText());
  return String(found).replaceAll("%2C", ","); // so that people can read it
}

function setAddress(wanted) {
  try {
    history.replaceState(null, "", wanted ? `#${wanted}` : location.pathname + location.search);
  } catch { /* a page in a frame may have no address of its own, and some browsers limit how often it changes */ }
}

function keepAddress() {
  if (story.open || location.hash.startsWith("#case=")) return; // the end of a story brings the view back
  const wanted = view();
  if (wanted || location.hash.includes("=")) setAddress(wanted);
}

// Take a view from the address; what the form does not have is left out.
function takeView(text) {
  const wanted = new URLSearchParams(text);
  for (const field of filters.elements) {
    if (field.name && field.name !== "sort") {
      const value = wanted.get(field.name) || "";
      field.value = field.options && ![...field.options].some((option) => option.value === value) ? "" : value;
    }
  }
  order = { column: wanted.get("sort") || "", up: wanted.get("up") === "1" };
  choose(wanted.get("columns") || "");
  filter();
  if (order.column && order.column !== RUN && !columns().some(({ name }) => name === order.column)) {
    order = { column: "", up: false };
    sort();
  }
}

const collator = new Intl.Collator("en", { numeric: true });

function sort() {
  const all = columns();
  const column = all.find(({ name }) => name === order.column);
  if (column) {
    const sign = order.up ? 1 : -1;
    const value = column.text || column.value;
    const keyed = shown.map((i) => [value(i), i]);
    const unknown = (key) => key === null || key === undefined;
    keyed.sort(([a, i], [b, j]) => {
      if (unknown(a) || unknown(b)) return unknown(a) - unknown(b) || i - j; // what is unknown comes last, always
      return sign * (column.text ? collator.compare(a, b) : a - b) || i - j;
    });
    shown = keyed.map(([, i]) => i);
  } else if (order.column === RUN) shown.sort((i, j) => i - j);
  else shown.sort((i, j) => FAILING.has(outcome(j)) - FAILING.has(outcome(i)) || i - j);
  draw(all);
  keepAddress();
}

function sortBy(column) {
  order = order.column === column.name ? { column: column.name, up: !order.up } : { column: column.name, up: !column.down };
  page = 0;
  sort();
}

function headline(column) {
  const sorted = order.column === column.name;
  const title = column.metric ? about(column.metric) : null;
  const button = element("button", { type: "button", title, "data-column": column.name }, column.title,
    element("span", { class: "order", "aria-hidden": "true" }, sorted ? (order.up ? "▲" : "▼") : ""));
  button.addEventListener("click", () => {
    sortBy(column);
    table.querySelector(`[data-column="${CSS.escape(column.name)}"]`)?.focus();
  });
  return element("th", {
    scope: "col", class: column.value && column.name !== "outcome" ? "num" : null,
    "aria-sort": sorted ? (order.up ? "ascending" : "descending") : null,
  }, button);
}

// What a case is about: its first question and the objects of all edits, so that rows can be told apart.
function gist(i) {
  return edits(i).slice(0, 2).flatMap((edit, place) => {
    const before = place ? "; " : "";
    if (typeof edit === "string") return [before, bdi(edit)];
    return [before, bdi(edit.question), " ", element("del", null, bdi(edit.old)), " → ", element("ins", null, bdi(edit.new))];
  });
}

function cell(column, i) {
  if (column.name === "id") {
    const marks = [];
    if (reasonUnreliable(i)) marks.push(element("abbr", { class: "mark", title: reasonUnreliable(i) }, "!"));
    if (cases.cached[i]) marks.push(element("span", { class: "tag", title: "from a store" }, "cached"));
    return element("th", { scope: "row" }, element("a", { href: link(i) }, bdi(id(i))), " ", ...marks,
      element("span", { class: "about" }, ...gist(i)));
  }
  if (column.name === "outcome") return element("td", { class: "outcome" }, badge(outcome(i)));
  if (column.text) return element("td", { class: "text", title: column.about ? column.about(i) : null }, bdi(column.text(i)));
  const value = column.value(i);
  const failed = column.metric && thresholds(i).some((t) => t.name === column.metric && t.passed === false);
  const attributes = { class: `num${failed ? " missed" : ""}`, "data-title": column.title };
  if (value === undefined || (column.name === "missed" && value === null)) return element("td", { class: "num none" });
  return element("td", attributes, show(value));
}

function draw(known) {
  const all = known.filter(isShown);
  table.tHead.rows[0].replaceChildren(...all.map(headline));
  const first = page * PER_PAGE;
  const rows = shown.slice(first, first + PER_PAGE).map((i) => {
    const row = element("tr", { "data-place": i });
    row.append(...all.map((column) => cell(column, i)));
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
  if (!rows.length) {
    const why = total ? "No case is like this: clear a filter or a word of the search." : "This run has no cases.";
    table.tBodies[0].append(element("tr", { class: "empty" }, element("td", { colspan: all.length }, why)));
  }
  const pages = Math.max(Math.ceil(shown.length / PER_PAGE), 1);
  const count = (number) => number.toLocaleString("en");
  document.getElementById("count").textContent = shown.length === total ? `${count(total)} cases`
    : `${count(shown.length)} of ${count(total)} cases`;
  document.getElementById("page").textContent = `page ${page + 1} of ${pages}`;
  document.getElementById("previous-page").disabled = page === 0;
  document.getElementById("next-page").disabled = page >= pages - 1;
  document.getElementById("pages").hidden = pages === 1;
  const sorting = filters.elements.sort;
  const wanted = known.map(({ name }) => name);
  if (wanted.join("\n") !== sorting.dataset.names) { // the narrow page has no column heads to sort by
    sorting.dataset.names = wanted.join("\n");
    sorting.replaceChildren(element("option", { value: "" }, "failed first"), element("option", { value: RUN }, RUN),
      ...known.map((column) => element("option", { value: column.name }, column.title)));
  }
  sorting.value = order.column;
}

function turn(by) {
  page += by;
  draw(columns());
  table.parentElement.scrollTop = 0;
  document.getElementById("cases").scrollIntoView();
}

function fill(name, values) {
  const select = filters.elements[name];
  select.append(...values.map(([value, text]) => element("option", { value }, text)));
  select.closest("label").hidden = select.options.length <= 2 && name !== "outcome";
}

function startTable() {
  startColumns();
  for (const name of ["suite", "editor", "model"]) fill(name, data[`${name}s`].map((value) => [value, value]));
  const inWords = data.rules.map((value, place) => [value, data.ruleWords[place]]).filter(([value]) => value);
  fill("rule", inWords.sort(([, a], [, b]) => collator.compare(a, b)));
  for (const [name, of] of Object.entries(CHOICES)) {
    const values = Object.keys(of).filter((value) => Array.from({ length: total }, (_, i) => i).some(of[value]));
    if (values.length > 1) fill(name, values.map((value) => [value, value]));
  }
  const present = new Set(cases.outcome || []);
  fill("outcome", data.outcomes.filter((_, place) => present.has(place)).map((value) => [value, value]));
  if (data.others.length) {
    fill("changed", data.others.flatMap(([label], run) =>
      ["got worse", "got better"].map((kind) => [`${kind}/${run}`, `${kind} since ${label}`])));
    filters.elements.changed.closest("label").hidden = false;
  }
  filters.addEventListener("input", (event) => {
    if (event.target.name !== "sort") return filter();
    const column = columns().find(({ name }) => name === event.target.value);
    order = { column: column ? column.name : event.target.value, up: column ? !column.down : false };
    page = 0;
    return sort();
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => { order = { column: "", up: false }; setTimeout(filter, 0); });
  document.getElementById("previous-page").addEventListener("click", () => turn(-1));
  document.getElementById("next-page").addEventListener("click", () => turn(1));
  table.tBodies[0].addEventListener("click", (event) => { // the whole row opens; its link is what the keyboard uses
    const row = event.target.closest("tr");
    if (row && row.dataset.place && !event.target.closest("a") && !String(getSelection())) location.hash = link(Number(row.dataset.place));
  });
  addEventListener("keydown", (event) => { // as on many pages
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || story.open) return;
    if (event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    filters.elements.search.focus();
  });
}
