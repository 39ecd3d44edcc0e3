// The embedded cases: columns and string tables, read on demand. Text reaches the page through textContent alone.
const data = JSON.parse(document.getElementById("data").textContent);
const cases = data.cases;
const total = cases.id ? cases.id.length : 0;
const DIGITS = new Map([..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"].map((c, n) => [c, n]));
const UNKNOWN = 64 ** 3 - 1;
const FACTOR_UNKNOWN = 64 ** 2 - 1;
const FAILING = new Set(["failed", "xfailed", "error"]);

const string = (place) => data.strings[place];
const id = (i) => string(cases.id[i]);
const suite = (i) => data.suites[cases.suite[i]];
const editor = (i) => data.editors[cases.editor[i]];
const model = (i) => data.models[cases.model[i]];
const rule = (i) => data.rules[cases.rule[i]];
const ruleWords = (i) => data.ruleWords[cases.rule[i]];
const outcome = (i) => data.outcomes[cases.outcome[i]];

// A number of base 64 in so many characters, and a row of places in tables.
function number(text, at, width) {
  let value = 0;
  for (let k = at; k < at + width; k++) value = 64 * value + DIGITS.get(text[k]);
  return value;
}
const places = (text) => Array.from({ length: text.length / data.width }, (_, k) => number(text, k * data.width, data.width));

// A filled prompt is stored as what stands before its subject, the subject, and what stands behind it.
const prompt = (place) => [0, 1, 2].map((part) => string(number(data.prompts, (3 * place + part) * data.width, data.width))).join("");

// Prompts that their object follows without a space, as in Chinese and Japanese.
const joined = new Set(data.joined);

// An edit is stored as number, question, old and new object; a line that has another form as 0 and its text.
function edits(i) {
  const parts = places(data.edits[cases.edits[i]]);
  return Array.from({ length: parts.length / 4 }, (_, k) => {
    const [step, question, old, later] = parts.slice(4 * k, 4 * k + 4);
    return step ? { number: step, question: prompt(question), old: string(old), new: string(later) } : string(question);
  });
}

// The facts in words, in the order of the record; none where the result has no words.
function words(i) {
  const parts = places(data.wordSets[cases.wordSet[i]]);
  return Array.from({ length: parts.length / 2 }, (_, k) =>
    ({ prompt: prompt(parts[2 * k]), joiner: joined.has(parts[2 * k]) ? "" : " ", object: string(parts[2 * k + 1]) }));
}

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
  const value = number(text, at, 3);
  if (value === UNKNOWN) return null;
  if (value === 0) return 0;
  return Number(`${(value - 1) % 900 + 100}e${-2 - Math.floor((value - 1) / 900)}`);
}

// Two characters: by which factor a value lies off its mean, below it (-1) or above it (1).
function spread(text, at, mean, side) {
  const value = number(text, at, 2);
  if (value === FACTOR_UNKNOWN || mean === null) return null;
  return value === FACTOR_UNKNOWN - 1 ? 0 : mean * Math.exp(side * value / 148);
}

// fact -> state -> {mean, least, greatest}, facts in the order of the record.
function probes(i) {
  const facts = new Map();
  data.factSets[cases.factSet[i]].forEach(([fact, state], place) => {
    if (!facts.has(fact)) facts.set(fact, new Map());
    const text = cases.probes[i], mean = probability(text, 7 * place);
    facts.get(fact).set(state, { mean, least: spread(text, 7 * place + 3, mean, -1), greatest: spread(text, 7 * place + 5, mean, 1) });
  });
  return facts;
}

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
// A value of one case in the digits of the other reports: as Python's ".3g".
function show(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const [mantissa, power] = value.toExponential(digits - 1).split("e"), size = Math.abs(power);
  const text = power < -4 || power >= digits ? `${Number(mantissa)}e${power < 0 ? "-" : "+"}${String(size).padStart(2, "0")}`
    : String(Number(value.toPrecision(digits)));
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
