// ---- the expert view: what the model computed for each token, and which model it is

async function loadScores(signal) {
  const doc = candidates.find((candidate) => candidate.doc)?.doc ?? asked.docs[0];
  const content = { question: asked.question, context: doc.text, offset_unit: "utf16" };
  $("scale").textContent = "Reading the scores…";
  $("scale").hidden = false;
  const { tokens, windows } = await patiently("v1/scores", { content, signal }, (words) => { $("scale").textContent = words; });
  if (signal.aborted) return;
  const best = { start: -Infinity, end: -Infinity };
  for (const token of tokens) {
    best.start = Math.max(best.start, token.start_logit);
    best.end = Math.max(best.end, token.end_logit);
  }
  setScores({ doc, tokens, best, windows });
  legend();
}

function legend() {
  $("legend").hidden = scores === null;
  [...$("candidates").children].forEach((node, index) => {
    node.querySelector(".sum")?.remove();
    const sum = scores && addends(candidates[index]);
    if (sum) node.append(sum);
  });
  $("scale").hidden = scores === null;
  if (!scores) return;
  const { doc, tokens, best, windows } = scores;
  const of = asked.docs.length > 1 ? ` of ${doc.name}` : "";
  $("scale").textContent =
    `${plural(tokens.length, "token")} (words and parts of words)${of} in ${plural(windows, "window")}, which is what ` +
    "the model reads at once. A score is a logit: the higher, the likelier. " +
    (tokens.length ? `The strongest tints are S ${fixed(best.start)} and E ${fixed(best.end)}.` : "");
}

function addends(candidate) { // S + E = score, where the answer's edges are those of tokens
  if (candidate.none) return make("small", "sum", `score of "no answer" ${fixed(candidate.score)}`);
  const own = candidate.doc === scores.doc;
  const first = own && scores.tokens[firstToken(candidate.start)];
  const last = own && scores.tokens[firstToken(candidate.end - 1)];
  const fits = first && last && Math.abs(first.start_logit + last.end_logit - candidate.score) < 0.01;
  const sum = fits ? `S ${fixed(first.start_logit)} + E ${fixed(last.end_logit)} = ` : "score ";
  return make("small", "sum", sum, make("b", "", fixed(candidate.score)));
}

function showToken(index) {
  current = index;
  $("view").querySelector(".current")?.classList.remove("current");
  const token = scores.tokens[index];
  $("token").textContent =
    `“${text.slice(token.start, token.end)}”: S ${fixed(token.start_logit)}, E ${fixed(token.end_logit)}`;
  return $("view").querySelector(`[data-token="${index}"]`);
}

function stepToken(event) { // from the mark, or from the token shown last
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!scored() || !scores.tokens.length || !by || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  event.preventDefault();
  const to = current < 0 ? firstToken(mark?.start ?? 0) : current + by;
  const node = showToken(Math.min(Math.max(to, 0), scores.tokens.length - 1));
  node?.classList.add("current");
  if (node) reveal(node);
}

async function switchExpert() {
  listModel();
  if (!$("scores").checked) { setScores(null); legend(); return; }
  if (!asked || running) return;
  const control = running = new AbortController();
  $("stop").hidden = false;
  try { await loadScores(control.signal); } catch (error) { if (running === control) failed(error); }
  if (running === control) { running = null; $("stop").hidden = true; }
}

// ---- the model and its licence

let model = null; // of /v1/bundle

async function showModel() {
  try {
    model = await call("v1/bundle");
    listModel();
  } catch (error) {
    if (error.status === 401) $("access").hidden = false;
  }
}

function listModel() {
  if (!model) return;
  const { name, precision, engine, device, licence } = model;
  const expert = $("scores").checked ? ` (${[precision, engine, device].filter(Boolean).join(", ")})` : "";
  $("model").replaceChildren(`Model: ${name}${expert}. `);
  if (!licence) { $("model").append("Its licence is that of whoever made it."); return; }
  const link = make("a", "", licence.name);
  Object.assign(link, { href: licence.url, rel: "noreferrer license", target: "_blank" });
  $("model").append("Licence: ", link, `. ${licence.attribution}`);
}
