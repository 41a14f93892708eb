// ---- the text that is shown: chunks, with one mark, page breaks and, if wanted, tinted tokens

// A chunk is what is painted anew when a mark moves, so it bounds the work on a long text. It ends at a line's end,
// where a block's end adds nothing to what is seen; only a line beyond CHUNK_LIMIT is broken elsewhere.
const CHUNK = 4000;
const CHUNK_LIMIT = 12000;
const TINT_RANGE = 12; // logits below the best one at which a token's tint has faded away

let text = ""; // of the document that is shown
let breaks = []; // where a page of it ends
let chunks = []; // {node, start, end, seen}: text.slice(start, end) is node's text
let mark = null; // {start, end, preview}
let scores = null; // {doc, tokens, best: {start, end}, windows}
let current = -1; // index of the token whose scores are told

function cut(whole) {
  const found = [];
  for (let start = 0, end; start < whole.length; start = end) {
    end = start + CHUNK >= whole.length ? whole.length : whole.indexOf("\n", start + CHUNK) + 1 || whole.length;
    if (end - start > CHUNK_LIMIT) {
      const blank = whole.lastIndexOf(" ", start + CHUNK_LIMIT - 1) + 1;
      end = blank > start + CHUNK ? blank : start + CHUNK_LIMIT;
      if (whole.codePointAt(end - 1) > 0xffff) end -= 1; // never between the halves of a character
    }
    found.push({ node: make("div", "chunk"), start, end, seen: false });
  }
  return found;
}

const nearby = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const chunk = chunks.find((c) => c.node === entry.target);
      if (!chunk || chunk.seen === entry.isIntersecting) continue;
      chunk.seen = entry.isIntersecting;
      if (scores) paint(chunk);
    }
  },
  { root: $("view"), rootMargin: "50% 0px" },
);

function firstAfter(sorted, position, end = (item) => item) { // index of the first item that ends after position
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (end(sorted[middle]) > position) high = middle;
    else low = middle + 1;
  }
  return low;
}

const firstToken = (position) => firstAfter(scores.tokens, position, (token) => token.end);
const tint = (logit, best) => Math.max(0, 1 - (best - logit) / TINT_RANGE).toFixed(3);
const scored = () => scores !== null && scores.doc === shown;

function put(node, start, end) { // the text, and where a page begins its number
  for (let i = firstAfter(breaks, start - 1); breaks[i] < end; i += 1) {
    const page = make("span", "page", text[breaks[i]]);
    page.dataset.page = `Page ${i + 2}`;
    node.append(text.slice(start, breaks[i]), page);
    start = breaks[i] + 1;
  }
  if (start < end) node.append(text.slice(start, end));
}

function fill(node, start, end, tinted) {
  let done = start;
  for (let i = tinted ? firstToken(start) : Infinity; i < scores?.tokens.length; i += 1) {
    const token = scores.tokens[i];
    if (token.start >= end) break;
    const from = Math.max(token.start, done), to = Math.min(token.end, end);
    if (from >= to) continue; // tokens that share a character: the first one has it
    put(node, done, from);
    const span = make("span", "tint", text.slice(from, to));
    span.dataset.token = i;
    span.style.setProperty("--s", tint(token.start_logit, scores.best.start));
    span.style.setProperty("--e", tint(token.end_logit, scores.best.end));
    node.append(span);
    done = to;
  }
  put(node, done, end);
}

function paint(chunk) {
  const { node, start, end } = chunk;
  const tinted = scored() && chunk.seen;
  node.replaceChildren();
  const from = mark ? Math.min(Math.max(mark.start, start), end) : end;
  const to = mark ? Math.min(Math.max(mark.end, from), end) : end;
  fill(node, start, from, tinted);
  if (from < to) {
    const piece = make("mark", mark.preview ? "preview" : "");
    fill(piece, from, to, tinted);
    node.append(piece);
  }
  fill(node, to, end, tinted);
}

function setMark(place) {
  const touched = [mark, place].filter(Boolean);
  mark = place;
  for (const chunk of chunks) {
    if (touched.some((m) => m.start < chunk.end && m.end > chunk.start)) paint(chunk);
  }
  if (place) reveal($("view").querySelector("mark"));
}

function setScores(found) {
  const before = scores !== null || found !== null;
  scores = found;
  $("view").classList.toggle("scored", scored());
  $("token").textContent = "";
  current = -1;
  if (before) chunks.filter((chunk) => chunk.seen).forEach(paint);
}

// Chunks out of sight have guessed heights, which come right in the frames after a jump: look again in these.
function reveal(node, again = 6) {
  const view = $("view");
  if (!node?.isConnected) return;
  const place = node.getBoundingClientRect(), frame = view.getBoundingClientRect();
  if (place.top < frame.top + 24 || place.bottom > frame.bottom - 24) {
    const by = place.top - frame.top - frame.height * 0.35;
    const smooth = Math.abs(by) < frame.height * 2 && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    view.scrollBy({ top: by, behavior: smooth ? "smooth" : "instant" });
    if (smooth) return;
  }
  if (again) requestAnimationFrame(() => requestAnimationFrame(() => reveal(node, again - 1)));
}

function breaksOf(whole) {
  const found = [];
  for (let at = whole.indexOf("\f"); at >= 0; at = whole.indexOf("\f", at + 1)) found.push(at);
  return found;
}

function drawText(whole) { // to read, without a mark
  text = whole;
  breaks = breaksOf(text);
  mark = null;
  nearby.disconnect();
  chunks = cut(text);
  chunks.forEach(paint);
  if (breaks.length) chunks[0].node.dataset.page = "Page 1";
  $("view").replaceChildren(...chunks.map((chunk) => chunk.node));
  $("view").classList.toggle("scored", scored());
  $("view").scrollTop = 0;
  chunks.forEach((chunk) => nearby.observe(chunk.node));
}
