"""Runs that would go on for minutes or for ever end when they are told to, and the next ones are right."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qa_onnx import EngineError
from qa_onnx.session import Stop, is_endable
from tests import graphs
from tests.engines.test_outputs import onnxruntime
from tests.waiting import PATIENCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qa_onnx.session import Session

TOKEN = 7


def openvino(path: Path) -> Session:
    """With one thread it does not react at all; see test_ending.py of dynamic_batching."""
    pytest.importorskip("openvino", reason="needs the openvino extra")
    from qa_onnx.engines.openvino_cpu import OpenVinoSession

    return OpenVinoSession(graphs.Unchecked(path), threads=2, longest=64)


def batch(token: int) -> dict[str, np.ndarray]:
    return {name: np.full((2, 16), token, np.int64) for name in ("input_ids", "attention_mask")}


@pytest.mark.parametrize(
    ("make", "engine"),
    [
        pytest.param(graphs.endless_loop, onnxruntime, id="a loop in onnxruntime"),
        pytest.param(graphs.long_chain, onnxruntime, id="many products in onnxruntime"),
        pytest.param(graphs.long_chain, openvino, id="many products in openvino"),
    ],
)
def test_a_run_ends_when_it_is_told_to(
    make: Callable[[Path, int], Path], engine: Callable[[Path], Session], tmp_path: Path
) -> None:
    session = engine(make(tmp_path / "model.onnx", TOKEN))
    assert is_endable(session)
    expected = np.stack(session.run(batch(3)))
    stop = Stop()
    with ThreadPoolExecutor(1) as pool:
        hangs = pool.submit(session.run, batch(TOKEN), stop=stop)
        eventually(lambda: stop._ends, "it runs")
        stop.request()
        error = hangs.exception(PATIENCE_S)
    assert isinstance(error, EngineError)
    assert str(error) == "the run was ended, since nobody waits for its result"
    with pytest.raises(EngineError, match="the run was ended"):
        session.run(batch(3), stop=stop)
    for _ in range(2):
        assert np.array_equal(np.stack(session.run(batch(3), stop=Stop())), expected)
    session.renew()
    assert np.array_equal(np.stack(session.run(batch(3))), expected)


def test_what_was_to_be_ended_is_not_once_it_is_over() -> None:
    stop, called = Stop(), []
    with stop.ends(lambda: called.append(1)):
        pass
    with pytest.raises(ZeroDivisionError), stop.ends(lambda: called.append(2)):
        raise ZeroDivisionError
    stop.request()
    assert called == []
