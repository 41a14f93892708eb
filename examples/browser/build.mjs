// Puts everything that the page needs into build/: its own files, two packages, and a bundle.
//
//     node build.mjs [folder of the bundle]

import { cpSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const BUILD = join(HERE, "build");
const BUNDLE = process.argv[2] ?? join(HERE, "../../exported/minilm-squad");
const VENDOR = [
    "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "@huggingface/tokenizers/dist/tokenizers.min.mjs",
    "@huggingface/tokenizers/LICENSE", // onnxruntime-web brings no file of its licence
];

rmSync(BUILD, { recursive: true, force: true });
cpSync(join(HERE, "page"), BUILD, { recursive: true });
mkdirSync(join(BUILD, "vendor"));
for (const file of VENDOR) {
    cpSync(join(HERE, "node_modules", file), join(BUILD, "vendor", basename(file)));
}

const { tokenizer, graphs } = JSON.parse(readFileSync(join(BUNDLE, "bundle.json"), "utf8"));
const files = Object.values(graphs).flatMap(({ file, golden }) => [file, golden]);
for (const { name } of [{ name: "bundle.json" }, tokenizer, ...files]) {
    cpSync(join(BUNDLE, name), join(BUILD, "bundle", name), { dereference: true });
}
console.log(`${BUILD}: serve this folder, for example with`);
console.log(`  python3 -m http.server -b 127.0.0.1 -d ${BUILD} 8000`);
