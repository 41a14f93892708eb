"""A contender of benchmarks/race.py: this project's pipeline, called as that of transformers 4 in hf_pipeline.py.

Arguments: bundle or checkpoint, precision, "hf4" or "none" for compat, threads.
"""

from __future__ import annotations

import sys
from typing import Any, cast

from qa_onnx import pipeline

sys.path.insert(0, __file__.rpartition("/")[0])
from protocol import serve


def main() -> None:
    model, precision, compat, threads = sys.argv[1:]
    mode = cast("Any", None if compat == "none" else compat)
    asker = pipeline("question-answering", model, precision=precision, compat=mode, threads=int(threads))

    def answer(pairs: list[tuple[str, str]]) -> list[str]:
        found = asker(
            question=[question for question, _ in pairs],
            context=[context for _, context in pairs],
            max_answer_len=30,
        )
        return [one["answer"] for one in (found if isinstance(found, list) else [found])]

    serve(answer)


if __name__ == "__main__":
    main()
