"""One setting of a reader in a process of its own, asked over pipes: what `tune` compares.

Takes the setting as JSON in its only argument and says `{"ready": true}`, or `{"error": ...}` and ends. Then it
takes lines `{"pairs": [[question, context], ...], "batch_tokens": ..., "alone": false}` and says for each
`{"seconds": [...], "answers": [...]}`: text to answer, in one call or, where `alone` is true, one call a question.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import IO, Any

from qa_onnx import Example, Prediction, QaOnnxError, Reader


def main() -> None:
    """Answer requests until stdin ends."""
    out, sys.stdout = sys.stdout, sys.stderr  # a library's own prints must not mix with the replies
    try:
        reader = Reader.load(**json.loads(sys.argv[1]))
    except QaOnnxError as error:
        _say(out, error=str(error))
        return
    _say(out, ready=True)
    for line in sys.stdin:
        _say(out, **_answer(reader, json.loads(line)))


def _answer(reader: Reader, request: dict[str, Any]) -> dict[str, Any]:
    options = dataclasses.replace(
        reader.options, n_best=1, null_threshold=None, batch_tokens=request["batch_tokens"]
    )
    examples = [Example(question, context) for question, context in request["pairs"]]
    calls = [[example] for example in examples] if request["alone"] else [examples]
    seconds: list[float] = []
    predictions: list[Prediction] = []
    for call in calls:
        started = time.perf_counter()
        predictions += reader.predict(call, options=options)
        seconds.append(time.perf_counter() - started)
    return {"seconds": seconds, "answers": [prediction.choose(None).text for prediction in predictions]}


def _say(out: IO[str], **reply: object) -> None:
    print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    main()
