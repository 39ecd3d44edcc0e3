// The story of one case: edits, probabilities in every state, thresholds, metrics, notes, where it comes from.
const story = document.getElementById("story");
let current = -1;
let logarithmic = true;
let opener = null;

function editList(i) {
  const list = element("ol", { class: "edits" });
  for (const edit of edits(i)) {
    if (typeof edit === "string") list.append(element("li", null, bdi(edit)));
    else list.append(element("li", null, element("span", { class: "step" }, `edit ${edit.number}`), " ", bdi(edit.question), " … ",
      element("del", null, bdi(edit.old)), element("span", { class: "to", "aria-label": "becomes" }, " → "), element("ins", null, bdi(edit.new))));
  }
  return list;
}

function scaleOf(facts) {
  const known = [...facts.values()].flatMap((states) => [...states.values()])
    .flatMap(({ mean, least, greatest }) => [mean, least, greatest]).filter((p) => p !== null && p > 0);
  if (!logarithmic) return { place: (p) => 2 + 96 * Math.min(p, 1), text: "linear scale, 0 to 1" };
  const decade = Math.max(Math.floor(Math.log10(Math.min(...known, 0.01))), -12);
  const place = (p) => 2 + 96 * Math.min(Math.max(1 - Math.log10(Math.max(p, 1e-300)) / decade, 0), 1);
  return { place, text: `logarithmic scale, 10${String(decade).replace("-", MINUS).replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).replace(MINUS, "⁻")} to 1` };
}

function probabilityDrawing({ mean, least, greatest }, scale) {
  const svg = drawn("svg", { class: "probability", width: "100%", height: "14", "aria-hidden": "true", focusable: "false" },
    drawn("line", { class: "track", x1: "2%", x2: "98%", y1: "7", y2: "7" }));
  const at = (p) => `${scale.place(p).toFixed(2)}%`;
  if (least !== null && greatest !== null) svg.append(drawn("line", { class: "span", x1: at(least), x2: at(greatest), y1: "7", y2: "7" }));
  if (mean !== null) svg.append(drawn("circle", { class: "mean", cx: at(mean), cy: "7", r: "4" }));
  return svg;
}

// What the kind of a case's suite calls its facts, or asks by its metrics; nothing where it was not installed.
const wordsOf = (i, what) => new Map(Object.entries((data.words[data.kinds[suite(i)]] || {})[what] || {}));

function factName(i, fact) {
  const words = wordsOf(i, "facts");
  return words.get(fact) || words.get(fact.split(":")[0]) || "";
}

// A fact as it was asked, with what it is to the case; its name alone where the result has no words.
function factHead(i, fact, said) {
  const role = factName(i, fact), name = element("code", null, bdi(fact));
  if (!said) return element("th", { scope: "row" }, name, element("span", { class: "what" }, role));
  return element("th", { scope: "row" }, bdi(said.prompt), said.joiner, element("strong", null, bdi(said.object)),
    element("span", { class: "what" }, role, role ? " " : "", name));
}

// A table of facts and states; each cell has its number as text and a drawing of it. Of many facts, those that lost
// most are shown until somebody asks for all.
function probabilityChart(i) {
  const facts = probes(i), said = words(i);
  let few = cases.first[i] !== 0;
  const box = element("div", { class: "chart" });
  if (!facts.size) return element("p", { class: "muted" }, "No probabilities: the case was not scored.");
  const states = data.states.filter(([state]) => [...facts.values()].some((of) => of.has(state)));
  const drawAll = () => {
    const scale = scaleOf(facts);
    const head = element("tr", null, element("th", { scope: "col" }, "fact"),
      ...states.map(([state, title]) => element("th", { scope: "col" }, title, element("span", { class: "muted" }, ` p${state}`))));
    const all = [...facts].map(([fact, of], place) => ({ fact, of, said: said[place] }));
    const body = (few ? cases.first[i].map((place) => all[place]) : all).map(({ fact, of, said: words }) => element("tr", null,
      factHead(i, fact, words),
      ...states.map(([state, title]) => {
        const p = of.get(state);
        if (!p) return element("td", { class: "none" }, element("span", { class: "hidden" }, "not asked"));
        const range = `least ${show(p.least, 2)}, greatest ${show(p.greatest, 2)} over the prompts`;
        return element("td", { title: range, "data-state": title }, element("span", { class: "p" }, show(p.mean)),
          element("span", { class: "hidden" }, ` (${range})`), probabilityDrawing(p, scale));
      })));
    const toggle = element("button", { type: "button", class: "quiet", "aria-pressed": String(logarithmic) }, "log scale");
    toggle.addEventListener("click", () => { logarithmic = !logarithmic; drawAll(); box.querySelector(".legend button").focus(); });
    const more = few ? element("button", { type: "button", class: "quiet more" }, `and ${all.length - body.length} more: show all`) : null;
    more?.addEventListener("click", () => { few = false; drawAll(); box.querySelector(".legend button").focus(); });
    box.replaceChildren(element("table", { class: "probabilities" }, element("thead", null, head), element("tbody", null, ...body)),
      ...(more ? [element("p", { class: "rest muted" }, "Those that lost most are shown. ", more)] : []),
      element("p", { class: "legend" }, "dot: mean over the prompts; line: least to greatest; ", scale.text, " ", toggle));
  };
  drawAll();
  return box;
}

function thresholdList(i) {
  const list = thresholds(i);
  if (!list.length) return element("p", { class: "muted" }, "No threshold was held against this case.");
  return element("ul", { class: "thresholds" }, ...list.map((t) => {
    const [css, word] = t.passed === null ? ["skipped", "not evaluated"] : t.passed ? ["passed", "passed"] : ["failed", "failed"];
    const by = t.passed === false ? `, missed by ${show(t.missed)}` : "";
    return element("li", null, element("span", { class: `badge ${css}` }, word), " ", element("code", null, t.text),
      " ", `${data.metrics[t.name] ? data.metrics[t.name].title : t.name} = ${show(t.value)}`, element("strong", null, by));
  }));
}

function metricTable(i) {
  const known = metrics(i);
  if (!known.length) return element("p", { class: "muted" }, "No metrics: the case was not scored.");
  return element("table", { class: "plain metrics" }, element("tbody", null, ...known.map(([name, value]) => {
    const { title } = data.metrics[name];
    return element("tr", null, element("th", { scope: "row" }, title), element("td", { class: "num" }, show(value)),
      element("td", { class: "muted", title: about(name) }, wordsOf(i, "metrics").get(name) || about(name)));
  })));
}

function elsewhere(i) {
  const rows = [];
  for (let j = 0; j < total; j++) {
    if (j === i || cases.id[j] !== cases.id[i] || cases.suite[j] !== cases.suite[i]) continue;
    const figures = metrics(j).filter(([name]) => data.metrics[name].inTable).map(([name, value]) => `${data.metrics[name].title} ${show(value)}`).join(", ");
    rows.push(element("li", null, element("a", { href: link(j) }, bdi(`${editor(j)} · ${model(j)}`)), " ", badge(outcome(j)), " ",
      element("span", { class: "muted" }, figures)));
  }
  data.others.forEach(([label, outcomes]) => {
    const name = data.outcomes[outcomes[i]];
    if (name) rows.push(element("li", null, "in ", bdi(label), ": ", badge(name)));
  });
  return rows.length ? element("ul", { class: "elsewhere" }, ...rows) : null;
}

function again(i) {
  const found = rerun(i);
  if (!found) return [element("p", { class: "muted" }, "This result does not hold the command.")];
  return [command(found.line), element("p", { class: "legend" }, "Runs this case alone, from the directory where pytest was started.")];
}

function origin(i) {
  const held = { 1: "yes", 0: "no: the base model does not hold the facts", "-1": "not asked" }[cases.held[i]];
  const rows = [["node id", nodeId(i)], ["row in the suite", cases.index[i]], ["subject", string(cases.subject[i]) || "–"], ["rule", rule(i) || "–"], ["held", held],
    ["seconds", show(cases.seconds[i])], ["from a store", cases.cached[i] ? "yes" : "no"], ["digest", cases.digest[i] || "–"]];
  return element("dl", { class: "origin" }, ...rows.map(([name, value]) =>
    element("div", null, element("dt", null, name), element("dd", null, bdi(String(value))))));
}

function tell(i) {
  const part = (title, ...content) => content[0] ? [element("h3", null, title), ...content] : [];
  const notes = cases.notes[i] ? element("ul", null, ...cases.notes[i].map((note) => element("li", null, bdi(string(note))))) : null;
  const measured = cases.measured[i] ? element("ul", null, ...cases.measured[i].map((text) => element("li", null, bdi(string(text))))) : null;
  const reason = string(cases.reason[i]);
  const body = document.getElementById("story-body");
  body.replaceChildren(
    element("h2", { id: "story-title" }, bdi(id(i)), " ", badge(outcome(i))),
    element("p", { class: "sub" }, bdi(`${suite(i)} · ${ruleWords(i) || "no rule"} · ${editor(i)} on ${model(i)}`)),
    ...(reasonUnreliable(i) ? [element("p", { class: "warning" }, element("strong", null, "! Unreliable: "), bdi(reasonUnreliable(i)))] : []),
    ...(reason ? [element("p", { class: "warning" }, bdi(reason))] : []),
    ...part("Thresholds", thresholdList(i)),
    ...part("Edits", edits(i).length ? editList(i) : element("p", { class: "muted" }, "This result does not hold the edits in words.")),
    ...part("Probabilities", probabilityChart(i)),
    ...part("Said and measured", measured),
    ...part("Metrics", metricTable(i)),
    ...part("Notes", notes),
    ...part("The same case elsewhere", elsewhere(i)),
    ...part("Run it again", ...again(i)),
    ...part("Where it comes from", origin(i)));
  const place = shown.indexOf(i);
  document.getElementById("story-place").textContent = place < 0 ? "" : `${place + 1} of ${shown.length}`;
  document.getElementById("story-previous").disabled = place <= 0;
  document.getElementById("story-next").disabled = place < 0 || place >= shown.length - 1;
}

function open(i) {
  if (!story.open) opener = document.activeElement;
  current = i;
  tell(i);
  if (!story.open) story.showModal();
  document.getElementById("story-body").scrollTop = 0;
  document.getElementById("story-body").focus();
}

// At once, not in the close event: that comes later, when the next story may be on its way.
function shut() {
  story.close();
  if (location.hash.startsWith("#case=")) setAddress(view());
  (table.querySelector(`tr[data-place="${current}"] a`) || opener)?.focus();
  current = -1;
}

function step(by) {
  const i = shown[shown.indexOf(current) + by];
  if (i !== undefined) location.replace(link(i));
}

function startStory() {
  document.getElementById("story-previous").addEventListener("click", () => step(-1));
  document.getElementById("story-next").addEventListener("click", () => step(1));
  document.getElementById("story-close").addEventListener("click", shut);
  story.addEventListener("click", (event) => { if (event.target === story) shut(); });
  story.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      step(event.key === "ArrowLeft" ? -1 : 1);
    }
  });
  story.addEventListener("cancel", (event) => { event.preventDefault(); shut(); }); // Esc
  story.addEventListener("close", () => { if (!story.open && current >= 0) shut(); }); // a browser may close it unasked
}
