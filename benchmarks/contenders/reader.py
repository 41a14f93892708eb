"""A contender of benchmarks/race.py: this project's Reader.

Arguments: bundle, precision, engine, threads, and if wanted the token budget of a batch.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, cast

from qa_onnx import Example, Reader

sys.path.insert(0, __file__.rpartition("/")[0])
from protocol import serve


def main() -> None:
    bundle, precision, engine, threads, *budget = sys.argv[1:]
    reader = Reader.load(bundle, precision=precision, engine=cast("Any", engine), threads=int(threads))
    options = dataclasses.replace(reader.options, n_best=1, null_threshold=None)
    if budget:
        options = dataclasses.replace(options, batch_tokens=int(budget[0]))

    def answer(pairs: list[tuple[str, str]]) -> list[str]:
        predictions = reader.predict([Example(*pair) for pair in pairs], options=options)
        return [reader.choose(prediction, options=options).text for prediction in predictions]

    serve(answer)


if __name__ == "__main__":
    main()
