// ---- ask and answer

const N_BEST = 6;

let running = null; // AbortController
let asked = null; // {question, docs}: what the answers that are shown belong to
let candidates = []; // {doc, start, end, text, probability, score, evidence} and one without a place: "no answer"
let selected = -1;

function reset() { // back to documents that nothing was asked of
  running?.abort();
  running = null;
  asked = null;
  candidates = [];
  selected = -1;
  setMark(null);
  setScores(null);
  $("error").hidden = $("choices").hidden = $("stop").hidden = $("progress").hidden = true;
  $("result").replaceChildren();
  $("candidates").replaceChildren();
  $("copied").textContent = "";
  legend();
}

function showNote(words) {
  $("result").replaceChildren(make("p", "small", words));
}

function showProgress({ done, total }) {
  $("progress").hidden = false;
  Object.assign($("meter"), { value: done, max: total });
  $("count").textContent = `${number.format(done)} of ${plural(total, "part")} read`;
}

async function ask() {
  const question = $("question").value.trim();
  if (document.activeElement.closest("#draft, #error, #access")) $("question").focus(); // these may go away
  keepDraft();
  reset();
  if (!question && documents.length) { complain("There is no question yet.", $("question")); return; }
  if (!takeKey()) { complain("An API key has only the characters from ! to ~.", $("key")); return; }
  const control = running = new AbortController();
  $("stop").hidden = false;
  const note = setTimeout(() => showNote("Reading…"), 300);
  try {
    const docs = await readyDocuments();
    if (running !== control) return;
    if (docs.length === 0) { noDocuments(); return; }
    const found = await patiently("v1/answer", { content: bodyOf(question, docs), signal: control.signal, onProgress: showProgress }, showNote);
    clearTimeout(note);
    asked = { question, docs };
    showAnswers(found);
    $("access").hidden = true;
    if (!$("model").textContent) showModel();
    if ($("scores").checked) await loadScores(control.signal);
  } catch (error) {
    if (running !== control) return;
    if (!asked) $("result").replaceChildren();
    failed(error);
  } finally {
    clearTimeout(note);
    if (running === control) {
      running = null;
      $("stop").hidden = $("progress").hidden = true;
      if (!asked) $("result").replaceChildren();
    }
  }
}

async function readyDocuments() { // those with a text, once all files are read
  if (key) documents.filter((doc) => doc.problem?.status === 401).forEach(load);
  for (let waited; waited !== loading;) await (waited = loading);
  return documents.filter((doc) => doc.state === "ready" && doc.text.trim());
}

function noDocuments() {
  const there = documents.length > 0;
  if (!there) showDocument(null);
  complain(there ? "There is no text in these documents." : "There is no text yet: paste one, or add files.", there ? $("open") : $("draft"));
}

function bodyOf(question, docs) {
  const common = {
    question, n_best: N_BEST, null_threshold: $("guess").checked ? null : "bundle", offset_unit: "utf16", evidence: true, progress: true,
  };
  return docs.length === 1 && !$("every").checked
    ? { ...common, context: docs[0].text }
    : { ...common, all: $("every").checked, documents: docs.map(({ name, text: whole }) => ({ name, text: whole })) };
}

function failed(error) { // of an ask, or of the scores after it
  if (asked) legend();
  showError(error, asked ? "score the tokens of this text" : "answer this question");
}

function showAnswers(found) {
  for (const answer of found.answers) {
    answer.doc = asked.docs.find((doc) => doc.name === answer.document) ?? asked.docs[0];
    if (answer.doc.text.slice(answer.start, answer.end) !== answer.text) {
      const { docs } = asked;
      asked = null;
      throw new Problem(500, `its answer is not at ${answer.start} to ${answer.end} of ${docs.length > 1 ? answer.doc.name : "the text"}`);
    }
  }
  const none = { text: "No answer", probability: found.null_probability, score: found.null_score, none: true };
  candidates = found.answer ? [...found.answers, none] : [none, ...found.answers];
  const best = candidates[0];
  const said = make("p", best.none ? "none" : "", best.text);
  said.id = "said";
  const facts = best.none ? whyNone(found) : [`probability ${percent(best.probability)}`, sourceOf(best)].filter(Boolean).join(" · ");
  const title = !best.none ? "Answer" : found.state === "unsure" ? "Not sure" : "Nothing found in the text";
  $("result").replaceChildren(make("h2", "", title), said, make("p", "small", facts));
  const notes = [...limitsOf(found), ...found.warnings.map((warning) => `Note: ${warning}`)];
  if (notes.length) {
    const list = make("ul", "", ...notes.map((words) => make("li", "", words)));
    list.id = "warnings";
    $("result").append(list);
  }
  $("candidates").replaceChildren(...candidates.map(option));
  $("choices").hidden = false;
  select(0);
}

function whyNone(found) {
  if (found.state === "unsure") return "The best answer is less probable than this server asks for. It comes first below.";
  return found.answers.length ? "Nothing there answers this well enough. What comes closest is below." : "There is no text to find it in.";
}

function limitsOf({ read, passages, stopped }) { // of many documents the likeliest parts are read
  if (stopped !== "read" && stopped !== "seconds") return [];
  const count = `The likeliest ${number.format(read)} of ${plural(passages, "part")} of your documents were read`;
  return [stopped === "read" ? `${count}.` : `${count}; then the time was over.`];
}

const ordinal = (n) => {
  const ending = n % 100 > 10 && n % 100 < 14 ? 0 : n % 10;
  return number.format(n) + "thstndrd".slice(...(ending > 3 ? [0, 2] : [2 * ending, 2 * ending + 2]));
};

function placeOf({ doc, start, evidence }) { // page and line, which counts on its page
  if (!evidence) return "";
  const page = doc.pages > 1 ? `page ${number.format(evidence.page)}` : "";
  const from = doc.text.lastIndexOf("\f", start - 1) + 1;
  const line = page ? 1 + (doc.text.slice(from, start).match(/\r\n|\n|\r/g)?.length ?? 0) : evidence.line;
  return [page, `line ${number.format(line)}`].filter(Boolean).join(", ");
}

function sourceOf(answer) { // the document, unless there is only one, and the place in it
  return [asked.docs.length > 1 && answer.doc.name, placeOf(answer)].filter(Boolean).join(", ");
}

function option(candidate, index) {
  const bar = make("span");
  bar.style.setProperty("--p", candidate.probability);
  const line = make("span", "line", make("span", "", candidate.text), make("span", "", percent(candidate.probability)));
  const node = make("li", candidate.none ? "none" : "", line, make("span", "meter", bar));
  if (candidate.evidence) node.append(where(candidate));
  node.setAttribute("role", "option");
  node.addEventListener("click", () => { select(index); node.focus(); });
  node.addEventListener("focus", () => select(index));
  node.addEventListener("pointerenter", () => preview(index));
  node.addEventListener("pointerleave", () => preview(selected));
  return node;
}

function where(answer) { // it stands: its sentence, and its place
  const { sentence, occurrence, occurrences } = answer.evidence;
  const from = answer.start - sentence.start, to = answer.end - sentence.start;
  const parts = [sourceOf(answer)];
  if (occurrences > 1) parts.push(`${ordinal(occurrence)} of ${number.format(occurrences)} places with these words`);
  const cutAt = (start, end) => spaced(sentence.text.slice(start, end));
  return make("small", "where",
    make("span", "sentence", cutAt(0, from), make("b", "", cutAt(from, to)), cutAt(to)), make("span", "source", parts.join(" · ")));
}

const placed = (index) => candidates[index] && !candidates[index].none;

function select(index) {
  selected = index;
  [...$("candidates").children].forEach((node, i) => {
    node.setAttribute("aria-selected", String(i === index));
    node.tabIndex = i === index ? 0 : -1;
  });
  $("copy").disabled = !placed(index);
  $("copied").textContent = "";
  if (placed(index) && candidates[index].doc !== shown) {
    if (!$("draft").hidden) keepDraft();
    showDocument(candidates[index].doc);
    $("documents").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  preview(index);
}

function preview(index) { // where the answer stands, if that is in the document that is shown
  const at = placed(index) && candidates[index].doc === shown ? candidates[index] : null;
  if (!at && index !== selected && placed(index)) return;
  const next = at && { start: at.start, end: at.end, preview: index !== selected };
  if (next?.start === mark?.start && next?.end === mark?.end && next?.preview === mark?.preview) return;
  setMark(next);
}

async function copyAnswer() {
  const answer = candidates[selected];
  const quote = `“${spaced(answer.text)}” — ${[answer.doc.name, placeOf(answer)].filter(Boolean).join(", ")}`;
  try {
    await navigator.clipboard.writeText(quote);
  } catch { // an address without TLS has no such clipboard
    const area = make("textarea", "unseen", quote);
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    $("copy").focus();
    if (!done) { $("copied").textContent = "The browser does not allow it"; return; }
  }
  $("copied").textContent = "Copied";
}
