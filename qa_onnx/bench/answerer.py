"""One setting of a reader in a process of its own: what `tune` and `bench` compare. See protocol.py.

Takes the arguments of `Reader.load` as JSON in its only argument. Its one option is `batch_tokens`.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from qa_onnx import Example, QaOnnxError, Reader
from qa_onnx.bench.protocol import own_stdout, say, serve


def main() -> None:
    """Answer requests until stdin ends."""
    out = own_stdout()
    try:
        reader = Reader.load(**json.loads(sys.argv[1]))
    except QaOnnxError as error:
        say(out, error=str(error))
        return
    always = dataclasses.replace(reader.options, n_best=1, null_threshold=None)

    def answer(pairs: list[tuple[str, str]], *, batch_tokens: int = always.batch_tokens) -> list[str]:
        options = dataclasses.replace(always, batch_tokens=batch_tokens)
        predictions = reader.predict([Example(*pair) for pair in pairs], options=options)
        return [prediction.choose(None).text for prediction in predictions]

    serve(out, answer)


if __name__ == "__main__":
    main()
