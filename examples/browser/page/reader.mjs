// A bundle and ONNX Runtime -> answers: the counterpart of qa_onnx/reader.py.

import * as ort from "./vendor/ort.wasm.bundle.min.mjs";
import { findAnswer } from "./answers.mjs";
import { Windower } from "./windows.mjs";

// How golden examples were cut, and how far a logit may be from the one that was measured at export.
export const GOLDEN = { maxLength: 96, docStride: 24, maxQuestionLength: 32 };
export const TOLERANCES = { fp32: 1e-3, fp16: 0.1, int8: 1, "int8-static": 1 };

export class Reader {
    // folder: the address of the bundle, relative to the page. precision: one of `graphs` in its bundle.json.
    static async load(folder, precision) {
        const manifest = await (await fetchFile(folder, "bundle.json")).json();
        if (manifest.format_version.split(".")[0] !== "1") {
            throw new Error(`the bundle has the format ${manifest.format_version}; this example reads 1`);
        }
        const graph = manifest.graphs[precision];
        if (!graph) {
            throw new Error(`the bundle has no ${precision}, but ${Object.keys(manifest.graphs).join(", ")}`);
        }
        if (graph.data) throw new Error("the weights lie beside the graph; this example does not read those");
        const names = [manifest.tokenizer, graph.golden, graph.file];
        const [tokenizer, golden, model] = await Promise.all(names.map((file) => checkedBytes(folder, file)));
        const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
        return new Reader(manifest, precision, session, fromJson(tokenizer), fromJson(golden));
    }

    constructor(manifest, precision, session, tokenizer, golden) {
        Object.assign(this, { manifest, precision, session, golden });
        this.windower = new Windower(tokenizer, manifest.cls_id);
        const third = Math.floor(manifest.max_length / 3);
        this.options = {
            maxLength: manifest.max_length, // tokens in a window
            docStride: Math.min(128, third), // tokens that two neighbouring windows share
            maxQuestionLength: Math.min(64, third),
            maxAnswerLength: 30,
        };
    }

    async ask(question, text) {
        const context = this.windower.encode(text);
        const rows = await this.logits(question, context, this.options);
        return { ...findAnswer(context, rows, this.options, this.manifest), windows: rows.length };
    }

    // Run the windows one by one, so that none is padded. The graph takes int64, rows and tokens.
    async logits(question, context, options) {
        const rows = [];
        for (const window of this.windower.cut(question, context, options)) {
            const values = {
                input_ids: window.ids,
                attention_mask: window.ids.map(() => 1),
                token_type_ids: window.types,
            };
            const tensor = (ids) => new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
            const feeds = this.manifest.inputs.map((name) => [name, tensor(values[name])]);
            const { start_logits: start, end_logits: end } = await this.session.run(Object.fromEntries(feeds));
            rows.push({ window, start: start.data, end: end.data });
        }
        return rows;
    }

    // Run the bundle's golden examples: the ids must be the same, and each logit near the one that is stored.
    async checkGolden() {
        const tolerance = TOLERANCES[this.precision];
        const rows = [];
        for (const { question, context } of this.golden.examples) {
            rows.push(...(await this.logits(question, this.windower.encode(context), GOLDEN)));
        }
        let largest = rows.length === this.golden.windows.length ? 0 : Infinity;
        for (const [index, { window, start, end }] of rows.entries()) {
            const { input_ids: ids = [], start_logits, end_logits } = this.golden.windows[index] ?? {};
            if (ids.length !== window.ids.length || ids.some((id, at) => id !== window.ids[at])) {
                return { windows: rows.length, largest: Infinity, tolerance, passed: false };
            }
            const found = [...start, ...end], expected = [...start_logits, ...end_logits];
            largest = Math.max(largest, ...found.map((value, at) => Math.abs(value - expected[at])));
        }
        return { windows: rows.length, largest, tolerance, passed: largest <= tolerance };
    }
}

async function fetchFile(folder, name) {
    const response = await fetch(`${folder}/${name}`);
    if (!response.ok) throw new Error(`${folder}/${name}: ${response.status} ${response.statusText}`);
    return response;
}

// The bytes of a file that bundle.json names. It has their SHA-256, so a damaged or stale file is noticed.
async function checkedBytes(folder, { name, sha256 }) {
    const bytes = new Uint8Array(await (await fetchFile(folder, name)).arrayBuffer());
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    if ([...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") !== sha256) {
        throw new Error(`${name} was changed or damaged: its SHA-256 is not the one in bundle.json`);
    }
    return bytes;
}

function fromJson(bytes) {
    return JSON.parse(new TextDecoder().decode(bytes));
}
