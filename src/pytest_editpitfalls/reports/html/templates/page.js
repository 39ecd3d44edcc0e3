// The start, and what the address may name: a case, #case=suite/editor/model/id, each part percent-encoded; or a view of
// the case table, #search=...&suite=...&sort=...
function followHash() {
  if (!location.hash.startsWith("#case=")) {
    if (story.open) shut();
    const wanted = location.hash.includes("=") ? location.hash.slice(1) : "";
    if (wanted !== view() && (wanted || !location.hash)) takeView(wanted);
    if (wanted) document.getElementById("cases").scrollIntoView();
    return;
  }
  const wanted = location.hash.slice("#case=".length);
  let parts = [];
  try {
    parts = wanted.split("/").map(decodeURIComponent);
  } catch { /* no case has such a name */ }
  for (let i = 0; i < total; i++) {
    if (id(i) === parts[3] && suite(i) === parts[0] && editor(i) === parts[1] && model(i) === parts[2]) {
      open(i);
      return;
    }
  }
  if (story.open) shut();
  setAddress(view()); // so that it follows the filters from here
  document.getElementById("count").textContent += ` – the link names a case that is not in this run: ${wanted.slice(0, 200)}`;
}

document.querySelectorAll("main .command").forEach(copies);
startTable();
startStory();
takeView(location.hash.startsWith("#case=") ? "" : location.hash.slice(1));
followHash();
addEventListener("hashchange", followHash);
for (const link of document.querySelectorAll(".matrix td a")) {
  link.addEventListener("click", () => { if (link.hash === location.hash) followHash(); }); // it says so already
}
