// The embedded cases: columns and string tables, read on demand. Text reaches the page through textContent alone.
const data = JSON.parse(document.getElementById("data").textContent);
const cases = data.cases;
const total = cases.id ? cases.id.length : 0;
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const UNKNOWN = 64 ** 3 - 1;
const FAILING = new Set(["failed", "xfailed", "error"]);

const string = (place) => data.strings[place];
const id = (i) => string(cases.id[i]);
const suite = (i) => data.suites[cases.suite[i]];
const editor = (i) => data.editors[cases.editor[i]];
const model = (i) => data.models[cases.model[i]];
const rule = (i) => data.rules[cases.rule[i]];
const outcome = (i) => data.outcomes[cases.outcome[i]];

// An edit is [number, question, old, new], or a line that has another form.
const edits = (i) => data.edits[cases.edits[i]].map((edit) =>
  typeof edit === "number" ? string(edit)
    : { number: edit[0], question: string(edit[1]), old: string(edit[2]), new: string(edit[3]) });

function metric(i, name) {
  const place = data.metricSets[cases.metricSet[i]].indexOf(name);
  return place < 0 ? undefined : cases.metrics[i][place];
}

const metrics = (i) => data.metricSets[cases.metricSet[i]].map((name, place) => [name, cases.metrics[i][place]]);

// Verdicts are one character a threshold where value and miss follow from the metric and the bound.
const thresholds = (i) => data.thresholdSets[cases.thresholdSet[i]].map(([text, name, bound], place) => {
  const verdict = cases.thresholds[i][place];
  if (Array.isArray(verdict)) {
    const [passed, value, missed] = verdict;
    return { text, name, value, missed, passed: passed < 0 ? null : passed === 1 };
  }
  const value = metric(i, name) ?? null;
  const passed = verdict === "-" ? null : verdict === "1";
  return { text, name, value, missed: passed === false ? Math.abs(value - bound) : null, passed };
});

const missed = (i) => thresholds(i).reduce((sum, t) => sum + (t.missed || 0), 0);

// Three characters: a decimal mantissa of three digits and an exponent.
function probability(text, at) {
  const number = DIGITS.indexOf(text[at]) * 4096 + DIGITS.indexOf(text[at + 1]) * 64 + DIGITS.indexOf(text[at + 2]);
  if (number === UNKNOWN) return null;
  if (number === 0) return 0;
  return Number(`${(number - 1) % 900 + 100}e${-2 - Math.floor((number - 1) / 900)}`);
}

// fact -> state -> {mean, least, greatest}, facts in the order of the record.
function probes(i) {
  const facts = new Map();
  data.factSets[cases.factSet[i]].forEach(([fact, state], place) => {
    if (!facts.has(fact)) facts.set(fact, new Map());
    const [mean, least, greatest] = [0, 3, 6].map((at) => probability(cases.probes[i], 9 * place + at));
    facts.get(fact).set(state, { mean, least, greatest });
  });
  return facts;
}

const nodeId = (i) => `${data.folder}/${suite(i)}.py::test_${suite(i)}[${editor(i)}-${model(i)}-${id(i)}]`;
const link = (i) => "#case=" + [suite(i), editor(i), model(i), id(i)].map(encodeURIComponent).join("/");
const unreliable = new Map(data.unreliable.map(([s, e, m, reason]) => [[s, e, m].join("\n"), reason]));
const reasonUnreliable = (i) => unreliable.get([suite(i), editor(i), model(i)].join("\n"));

// How the outcome differs from another run's: "got worse", "got better" or "".
function changed(i, other) {
  const before = data.outcomes[data.others[other][1][i]];
  if (before === "passed" && FAILING.has(outcome(i))) return "got worse";
  return FAILING.has(before) && outcome(i) === "passed" ? "got better" : "";
}

const MINUS = "\u2212";
function show(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0 || value === 1) return String(value);
  const size = Math.abs(value);
  const text = size >= 1e-3 && size < 1e4 ? String(Number(value.toPrecision(3))) : value.toExponential(2);
  return text.replace(/-/g, MINUS);
}

// element("td", {class: "num"}, "text", node, ...): attributes and text, never markup.
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

function drawn(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const about = (name) => {
  const { plain, text, better } = data.metrics[name];
  return `${plain} ${text}${better ? `; ${better}` : ""}`.trim();
};
const bdi = (text) => element("bdi", null, text);
const badge = (name) => element("span", { class: `badge ${name}` }, name);
