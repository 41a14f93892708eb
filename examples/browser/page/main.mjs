// The page itself: loads a precision when it is needed first, asks, and marks the answer in the text.

import { Reader } from "./reader.mjs";

const BUNDLE = "bundle";
const field = (id) => document.getElementById(id);
const readers = new Map(); // precision -> promise of its reader

function reader() {
    const precision = field("precision").value;
    if (!readers.has(precision)) readers.set(precision, Reader.load(BUNDLE, precision));
    return readers.get(precision);
}

function enable(enabled) {
    document.querySelectorAll("button").forEach((button) => (button.disabled = !enabled));
}

// Do something that takes a while, and show what comes of it, or what went wrong.
async function shown(work) {
    enable(false);
    field("status").textContent = "…";
    field("shown").replaceChildren();
    try {
        field("status").textContent = await work(await reader());
    } catch (error) {
        readers.delete(field("precision").value); // the next try loads it again
        field("status").textContent = `error: ${error.message}`;
    }
    enable(true);
}

async function ask(reader) {
    const text = field("text").value, begin = performance.now();
    const answer = await reader.ask(field("question").value, text);
    const took = `${Math.round(performance.now() - begin)} ms, windows: ${answer.windows}`;
    if (!answer.text) return `No answer in this text (${took})`;
    const mark = document.createElement("mark");
    mark.textContent = answer.text;
    field("shown").append(text.slice(0, answer.start), mark, text.slice(answer.end));
    const place = `characters ${answer.characters.join(" to ")}`;
    return `${answer.text} (${(100 * answer.probability).toFixed(1)} %, ${place}; ${took})`;
}

async function check(reader) {
    const { windows, largest, tolerance, passed } = await reader.checkGolden();
    const verdict = passed ? "The golden examples are reproduced" : "The golden examples are NOT reproduced";
    const figures = `largest difference of a logit ${largest.toPrecision(2)}, limit ${tolerance}`;
    return `${verdict}: windows ${windows}, ${figures}`;
}

field("form").addEventListener("submit", (event) => {
    event.preventDefault();
    shown(ask);
});
field("check").addEventListener("click", () => shown(check));

// The buttons wait for the precisions that can be chosen.
try {
    const manifest = await (await fetch(`${BUNDLE}/bundle.json`)).json();
    for (const precision of Object.keys(manifest.graphs)) field("precision").add(new Option(precision));
    enable(true);
} catch (error) {
    field("status").textContent = `error: ${BUNDLE}/bundle.json: ${error.message}`;
}
