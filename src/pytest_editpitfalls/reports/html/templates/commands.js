// Commands that are there to be copied, also from a file and without a network: the one that runs a case again, and those
// that the page brings.
const reruns = new Map();
for (const [s, e, m, ...rest] of data.reruns) {
  const key = [s, e, m].join("\n");
  reruns.set(key, [...(reruns.get(key) || []), rest]);
}

// An id that a suite may have needs no quotes; of any other, nobody is told to run a command.
const PLAIN = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

function rerun(i) {
  const known = reruns.get([suite(i), editor(i), model(i)].join("\n")) || [];
  const found = known.find(([, , , ids]) => ids.includes(id(i))) || known.find(([, , , ids]) => !ids.length);
  if (!found || !PLAIN.test(id(i))) return null;
  const [before, after, test] = found, at = test.lastIndexOf("{id}");
  return { line: before + id(i) + after, node: at < 0 ? "" : test.slice(0, at) + id(i) + test.slice(at + 4) };
}

const nodeId = (i) => rerun(i)?.node || `${data.folder}/${suite(i)}.py::test_${suite(i)}[${editor(i)}-${model(i)}-${id(i)}]`;

function command(line) {
  const made = element("p", { class: "command" }, element("code", null, line), element("button", { type: "button", class: "quiet" }, "copy"));
  return copies(made);
}

// Give a command's button its work. Where no clipboard may be written to, the command is left selected.
function copies(made) {
  const [code, button] = [made.querySelector("code"), made.querySelector("button")];
  button.hidden = false;
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    const done = await navigator.clipboard?.writeText(code.textContent).then(() => true, () => false) || selected(code);
    button.textContent = done ? "copied" : "selected: press Ctrl+C";
    setTimeout(() => { button.textContent = "copy"; }, 2500);
  });
  return made;
}

function selected(code) {
  const range = document.createRange();
  range.selectNodeContents(code);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  }
}
