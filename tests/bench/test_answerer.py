"""The process of a contender that runs this project's reader measures what `predict` does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from qa_onnx import Example, OnnxSession, Reader
from qa_onnx.bench.answerer import STAGES, stages

if TYPE_CHECKING:
    import pytest

    from qa_onnx import Bundle

EXAMPLES = [Example("Who lit the lamp?", "The keeper lit the lamp at dusk."), Example("Where?", "In the tower.")]


def test_stages_run_the_graph_as_predict_does(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[str, bool]] = []
    plain = OnnxSession.run

    def noted(session: OnnxSession, inputs: Any, *, stop: Any = None) -> Any:
        runs.append((threading.current_thread().name, stop is not None))
        return plain(session, inputs, stop=stop)

    monkeypatch.setattr(OnnxSession, "run", noted)
    reader = Reader.load(tiny_bundle, precision="fp32", threads=1)
    reader.predict(EXAMPLES)
    predicted = runs.copy()
    runs.clear()
    measured = stages(reader, EXAMPLES, reader.options)
    assert runs == predicted
    assert runs[0] == ("qa-onnx main run", True), "Ctrl-C ends it"
    assert list(measured["stages"]) == list(STAGES)
    assert 0 < measured["stages"]["model"] < sum(measured["stages"].values())
