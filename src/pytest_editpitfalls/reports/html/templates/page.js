// The start, and links to cases: #case=suite/editor/model/id, each part percent-encoded.
function followHash() {
  if (!location.hash.startsWith("#case=")) {
    if (story.open) shut();
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
  document.getElementById("count").textContent += ` – the link names a case that is not in this run: ${wanted.slice(0, 200)}`;
}

startTable();
startStory();
followHash();
addEventListener("hashchange", followHash);
