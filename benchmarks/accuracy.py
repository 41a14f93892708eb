"""Compare EM and F1 of a bundle with graphs that other tools made from the same checkpoint, in the same windows.

    python benchmarks/accuracy.py dev.json --graph optimum-int8=build/rivals/optimum-onnx/.../model_quantized.onnx

Differences are those of the same questions; their 95 % interval is of the normal distribution.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from qa_onnx import Bundle, OnnxSession, Reader, Windower
from qa_onnx.data import squad
from qa_onnx.evaluation.evaluate import evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="SQuAD JSON or JSON lines")
    parser.add_argument("-b", "--bundle", type=Path, help="[default: the one that comes with qa-onnx]")
    parser.add_argument("--precision", help="of the bundle")
    parser.add_argument("--graph", action="append", default=[], metavar="NAME=FILE", help="beside it; repeats")
    parser.add_argument("--limit", type=int, help="size of a random sample of the questions  [default: all]")
    parser.add_argument("--threads", type=int)
    chosen = parser.parse_args()
    bundle = Bundle.load(chosen.bundle)
    manifest = bundle.manifest
    ours = Reader.load(bundle, precision=chosen.precision, threads=chosen.threads)
    readers = {f"qa-onnx {ours.precision}": ours}
    for entry in chosen.graph:
        name, _, path = entry.partition("=")
        if not path or name in readers:
            parser.error(f"--graph is {entry!r}; it must be NAME=FILE, each name once")
        readers[name] = Reader(
            session=OnnxSession(Path(path), threads=chosen.threads),
            windower=Windower(bundle.text(manifest.tokenizer), cls_id=manifest.cls_id),
            pad_id=manifest.pad_id,
            options=ours.options,
            max_positions=manifest.max_positions,
        )
    data = squad.load(chosen.data, limit=chosen.limit)
    data = dataclasses.replace(data, golds=tuple(gold for gold in data.golds if gold.answers))
    always = dataclasses.replace(ours.options, null_threshold=None)
    base: np.ndarray | None = None
    for name, reader in readers.items():
        report = evaluate(reader, data, options=always)
        f1 = 100 * np.array([outcome.f1 for outcome in report.outcomes])
        base = f1 if base is None else base
        less, around = (f1 - base).mean(), 1.96 * (f1 - base).std() / np.sqrt(len(f1))
        print(
            f"{name:24} EM {report.em:.2f}  F1 {report.f1:.2f}  F1 of the same questions "
            f"{less:+.2f} ({less - around:+.2f} to {less + around:+.2f})  n {report.n:,}",
            flush=True,
        )


if __name__ == "__main__":
    main()
