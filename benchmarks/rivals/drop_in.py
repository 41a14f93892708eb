"""This project's pipeline, called as that of transformers 4: see rival.py for what others do.

Takes JSON in its only argument: `model`, a bundle or checkpoint; `precision`; `compat`, "hf4" or null; `threads`.
"""

from __future__ import annotations

import json
import sys

from qa_onnx import QaOnnxError, pipeline
from qa_onnx.bench.protocol import own_stdout, say, serve


def main() -> None:
    """Answer requests until stdin ends."""
    out = own_stdout()
    try:
        asker = pipeline("question-answering", **json.loads(sys.argv[1]))
    except QaOnnxError as error:
        say(out, error=str(error))
        return

    def answer(pairs: list[tuple[str, str]]) -> list[str]:
        found = asker(
            question=[question for question, _ in pairs],
            context=[context for _, context in pairs],
            max_answer_len=30,
        )
        return [one["answer"] for one in (found if isinstance(found, list) else [found])]

    # As in answerer.py: a text that is remembered would cost no tokenizing.
    serve(out, answer, before=asker.reader.steps.windower.forget)


if __name__ == "__main__":
    main()
