// ---- the server: one call, which may send lines of progress before its result, and what its refusals mean

const TRIES = 5; // of a request that a busy server sends back

class Problem extends Error {
  constructor(status, detail = "", retryAfter = 1) {
    super(detail || `status ${status}`);
    Object.assign(this, { status, detail, retryAfter });
  }
}

let key = ""; // memory only

function takeKey() { // as it is entered; false: it cannot be one
  const entered = $("key").value.trim();
  if (/[^!-~]/.test(entered)) return false;
  key = entered;
  return true;
}

const parse = (content) => { try { return JSON.parse(content); } catch { return null; } };

function problemOf(found, status, wait) {
  const detail = [found?.detail, status >= 500 && found?.request_id && `request ${found.request_id}`];
  return new Problem(status, detail.filter(Boolean).join("; "), Math.min(Number(wait) || 1, 60));
}

async function* linesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    const parts = (rest + (value ?? "")).split("\n");
    rest = done ? "" : parts.pop();
    yield* parts.filter((part) => part.trim());
    if (done) return;
  }
}

// `content`: an object for JSON, or the bytes of a file whose name is in `headers`. `onProgress`: for lines.
async function call(path, { content = null, headers = {}, signal, onProgress = null } = {}) {
  const json = content !== null && !(content instanceof Blob);
  const sent = { Accept: onProgress ? "application/jsonl" : "application/json", ...headers };
  if (json) sent["Content-Type"] = "application/json";
  if (key) sent.Authorization = `Bearer ${key}`;
  const request = { method: content === null ? "GET" : "POST", headers: sent, signal, cache: "no-store", redirect: "error" };
  if (content !== null) request.body = json ? JSON.stringify(content) : content;
  const large = (request.body?.size ?? request.body?.length ?? 0) > 500_000;
  let last = null;
  try {
    const response = await fetch(path, request);
    if (!response.ok) throw problemOf(parse(await response.text()), response.status, response.headers.get("Retry-After"));
    for await (const line of linesOf(response)) {
      last = parse(line);
      if (last?.progress) onProgress?.(last.progress);
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Problem) throw error;
    throw new Problem(0, large ? "or the text is too large for it" : "");
  }
  if (last?.error) throw problemOf(last.error, last.error.status);
  if (last === null || last.progress) throw new Problem(500, "what it sent is not JSON, or ends too early");
  return last;
}

const sleep = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, seconds * 1000);
  signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});

async function patiently(path, options, say) { // a busy server says when to come back
  for (let turn = 1; ; turn += 1) {
    try {
      return await call(path, options);
    } catch (error) {
      if (error.status !== 429 || turn === TRIES) throw error;
      for (let left = Math.ceil(error.retryAfter); left > 0; left -= 1) {
        say(`The server is busy. Asking again in ${left} s, try ${turn + 1} of ${TRIES}.`);
        await sleep(1, options.signal);
      }
      say("Reading…");
    }
  }
}

const WORDS = {
  0: ["The server does not answer", "Is it still running? “qa-onnx serve” starts it."],
  401: ["This server wants an API key", "Enter it above and ask again."],
  408: ["The text took too long to arrive", "Try again, or shorten it."],
  413: ["This is too large for the server", "Ask fewer or shorter documents, or start the server with a higher --max-request-bytes."],
  429: ["The server is busy", "Too many others are asking. Try again in a moment."],
  501: ["This server cannot read such files yet", "A part of it is not installed."],
  503: ["The server is starting or stopping", "Try again in a moment."],
  504: ["The server ran out of time", "Ask fewer or shorter documents, or start the server with a higher --timeout-s."],
};
const PASSING = (status) => status === 0 || status === 401 || status === 408 || status === 429 || (status >= 500 && status !== 501);

function words(status, wanted) {
  if (status === 401 && key) return ["This server does not accept this API key", "Enter another one above and ask again."];
  if (WORDS[status]) return WORDS[status];
  return [status >= 500 ? "The server failed" : `The server cannot ${wanted}`, ""];
}

function wantKey() {
  $("access").hidden = false;
  $("key").focus();
  $("key").select();
}

function showError(error, wanted = "answer this question", retry = ask) {
  if (error.name === "AbortError") return;
  const status = error.status ?? -1; // -1: said by this page
  const [title, remedy] = status < 0 ? [error.message, ""] : words(status, wanted);
  const node = $("error");
  node.replaceChildren(make("strong", "", title), make("div", "", remedy));
  if (error.detail) node.append(make("small", "", status ? `It says: ${error.detail}` : error.detail));
  if (status !== 401 && status >= 0 && PASSING(status)) {
    const again = make("button", "", "Try again");
    again.type = "button";
    again.addEventListener("click", () => { node.hidden = true; retry(); });
    node.append(again);
  }
  node.hidden = false;
  if (status === 401) wantKey();
}

function complain(title, where) {
  showError(new Error(title));
  where?.focus();
}
