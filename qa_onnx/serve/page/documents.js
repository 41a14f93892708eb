// ---- the documents: files, pasted and typed texts; one of them is shown

const FILE_LIMIT = 50 << 20; // bytes; what a browser still shows, far above what a server takes
const MOST_FILES = 1000; // of a question
const READ_BY_SERVER = /\.(pdf|docx|html?|xhtml|md|markdown|csv|tsv)$/i; // these are more than their text
const OF_A_FOLDER = /\.(pdf|docx|html?|xhtml|md|markdown|csv|tsv|txt|text)$/i; // others in it are left out
const TYPED = "Your text";

let documents = []; // {name, file, size, state: "reading" | "ready" | "failed", text, pages, kind, problem, control}
let leftOut = ""; // of the files that were added last
let shown = null; // the one in sight; null: an empty draft

const sizes = (bytes) => bytes < 1000 ? `${bytes} bytes` : bytes < 999_500 ? `${(bytes / 1000).toPrecision(3)} kB` : `${(bytes / 1e6).toPrecision(3)} MB`;

function addText(name, whole, questions = []) {
  const doc = { name: unused(name), file: null, size: 0, state: "ready", text: whole, pages: breaksOf(whole).length + 1, kind: "text" };
  documents.push(doc);
  showDocument(doc);
  suggest(questions);
  return doc;
}

function unused(name) { // the server wants different names
  const taken = new Set(documents.map((doc) => doc.name));
  for (let i = 2, free = name; ; i += 1) {
    if (!taken.has(free)) return free;
    free = `${name} (${i})`;
  }
}

// Files come one after the other, in their order; what is asked meanwhile waits for them.
let loading = Promise.resolve();
let lead = null; // the first one of those that were added last, which is shown when it is read

function addFiles(files, { folder = false } = {}) {
  keepDraft();
  reset();
  suggest([]);
  const wanted = folder ? files.filter((file) => OF_A_FOLDER.test(file.name) && !file.name.startsWith(".")) : files;
  const room = Math.max(0, MOST_FILES - documents.length);
  const left = files.length - Math.min(wanted.length, room);
  const why = wanted.length > room ? `${number.format(MOST_FILES)} are read at most` : "no documents that are read here";
  leftOut = left ? `${plural(left, "file")} left out: ${why}. ` : "";
  const added = wanted.slice(0, room).map((file) => {
    const name = unused(file.webkitRelativePath || file.path || file.name);
    documents.push({ name, file, size: file.size, state: "reading", text: "", pages: 1, kind: "" });
    return documents.at(-1);
  });
  lead = added[0];
  for (const doc of added) load(doc);
}

function load(doc) {
  doc.state = "reading";
  doc.control = new AbortController();
  listDocuments();
  loading = loading.then(() => read(doc)).then(() => {
    if (!documents.includes(doc)) return;
    if (doc.state === "ready" && (shown === null || doc === lead)) showDocument(doc);
    else listDocuments();
  });
}

async function read(doc) {
  if (!documents.includes(doc)) return; // removed meanwhile
  try {
    Object.assign(doc, await contentOf(doc), { state: "ready", problem: null });
  } catch (error) {
    Object.assign(doc, { state: "failed", problem: error });
    if (error.status === 401) wantKey();
  }
}

async function contentOf({ name, file, control }) {
  if (file.size > FILE_LIMIT) throw new Error(`Too large: this page reads at most ${sizes(FILE_LIMIT)}`);
  let content;
  try {
    content = await file.arrayBuffer();
  } catch {
    throw new Error("The browser cannot read it: was it moved or changed?");
  }
  const whole = READ_BY_SERVER.test(name) ? null : plainText(new Uint8Array(content));
  if (whole !== null) return { text: whole, pages: breaksOf(whole).length + 1, kind: "text" };
  const headers = {
    "Content-Type": "application/octet-stream",
    "Content-Disposition": `attachment; filename*=UTF-8''${encodeURIComponent(name.toWellFormed?.() ?? name)}`,
  };
  takeKey();
  const found = await patiently("v1/documents", { content: new Blob([content]), headers, signal: control.signal }, () => {});
  return { text: found.text, pages: found.pages, kind: found.kind };
}

function plainText(bytes) { // null: it is something else, which the server may know
  const utf16 = { "255,254": "utf-16le", "254,255": "utf-16be" }[`${bytes[0]},${bytes[1]}`];
  try {
    const whole = new TextDecoder(utf16 ?? "utf-8", { fatal: true }).decode(bytes);
    return whole.includes("\0") || /^\s*(%PDF-|<!doctype html|<html)/i.test(whole) ? null : whole;
  } catch {
    return null;
  }
}

function remove(doc) {
  const at = documents.indexOf(doc);
  doc.control?.abort();
  documents.splice(at, 1);
  reset();
  const next = documents[Math.min(at, documents.length - 1)] ?? null;
  if (shown === doc) showDocument(documents.find((other) => other.state === "ready") ?? null);
  else listDocuments();
  if (next) $("documents").children[documents.indexOf(next)].querySelector(".remove").focus();
  else $("open").focus();
}

function clearAll() {
  documents.forEach((doc) => doc.control?.abort());
  documents = [];
  reset();
  suggest([]);
  leftOut = "";
  showDocument(null);
  $("draft").focus();
}

// ---- reading and editing

function showDocument(doc) { // to read; null: a draft to type in
  shown = doc;
  drawText(doc?.text ?? "");
  if (!doc) $("draft").value = "";
  swap(doc !== null);
}

function editText() {
  reset();
  $("draft").value = text;
  swap(false);
  $("draft").focus();
  $("draft").setSelectionRange(0, 0);
  $("draft").scrollTop = 0;
}

function keepDraft() { // what is typed becomes a doc, or the new text of the one that is edited
  if ($("draft").hidden) return;
  const whole = $("draft").value;
  if (shown) {
    Object.assign(shown, { text: whole, pages: breaksOf(whole).length + 1 });
    showDocument(shown);
  } else if (whole.trim()) addText(TYPED, whole);
}

function swap(reading) {
  $("draft").hidden = reading;
  $("view").hidden = !reading;
  listDocuments();
}

function listDocuments() {
  const any = documents.length > 0, drafting = !$("draft").hidden;
  $("edit").hidden = drafting || shown?.kind !== "text";
  $("clear").hidden = !any && !$("draft").value;
  $("examples").hidden = any || Boolean($("draft").value);
  $("size").textContent = drafting
    ? ($("draft").value && `${number.format($("draft").value.length)} characters`)
    : `${number.format(text.length)} characters`;
  const bad = documents.filter((doc) => doc.state === "failed").length;
  const said = leftOut + (bad ? `${number.format(bad)} of ${plural(documents.length, "document")} cannot be read.` : "");
  $("skipped").hidden = !said; // a live region: it changes only where its words do
  if ($("skipped").textContent !== said) $("skipped").textContent = said;
  $("documents").hidden = !any;
  $("documents").replaceChildren(...documents.map(entry));
}

function entry(doc) {
  const open = make("button", "open", make("span", "name", doc.name), make("span", "small facts", facts(doc)));
  open.type = "button";
  open.disabled = doc.state === "reading";
  if (doc === shown) open.setAttribute("aria-current", "true");
  open.addEventListener("click", () => { if (doc.state === "ready") choose(doc); else showError(doc.problem, `read ${doc.name}`, () => load(doc)); });
  const node = make("li", doc.state, open);
  if (doc.state === "failed" && PASSING(doc.problem.status)) {
    const again = make("button", "plain", "Try again");
    again.type = "button";
    again.setAttribute("aria-label", `Read ${doc.name} again`);
    again.addEventListener("click", () => load(doc));
    node.append(again);
  }
  const gone = make("button", "plain remove", "×");
  gone.type = "button";
  gone.setAttribute("aria-label", `Remove ${doc.name}`);
  gone.title = "Remove";
  gone.addEventListener("click", () => remove(doc));
  node.append(gone);
  return node;
}

function whyFailed(name, { status, message, detail }) { // without what the list says already
  if (status === undefined) return message;
  const own = detail.replace(`${name}: `, "").replace(`${name} is `, "This is ");
  return status === 422 && own ? own : `${words(status, "read this file")[0]}${own ? `: ${own}` : ""}`;
}

function facts({ name, state, problem, size, pages, text: whole }) {
  if (state === "reading") return "Reading…";
  if (state === "failed") return whyFailed(name, problem);
  return [size ? sizes(size) : `${number.format(whole.length)} characters`, pages > 1 && plural(pages, "page"), !whole.trim() && "no text in it"]
    .filter(Boolean).join(" · ");
}

function choose(doc) { // keeps the answers: the mark is shown where the chosen one stands in this doc
  keepDraft();
  showDocument(doc);
  preview(selected);
  $("documents").children[documents.indexOf(doc)].querySelector(".open").focus();
}

function suggest(questions) {
  $("suggestions").replaceChildren(...questions.map((question) => {
    const button = make("button", "chip", question);
    button.type = "button";
    button.addEventListener("click", () => { $("question").value = question; ask(); });
    return button;
  }));
  $("suggestions").hidden = questions.length === 0;
}

// ---- dropped files and folders

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  const files = [...transfer.files]; // empty once this function has waited
  if (!entries.some((found) => found?.isDirectory)) { addFiles(files); return; }
  const found = [];
  for (const root of entries) await walkFolder(root, found);
  addFiles(found, { folder: true });
}

async function walkFolder(root, found) {
  if (!root || found.length > MOST_FILES * 10) return;
  if (root.isFile) {
    const file = await new Promise((resolve, reject) => root.file(resolve, reject));
    found.push(Object.assign(file, { path: root.fullPath.slice(1) }));
    return;
  }
  const reader = root.createReader();
  for (let part; (part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length;) {
    for (const child of part) await walkFolder(child, found);
  }
}
