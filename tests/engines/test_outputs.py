"""What a graph or session returns: two arrays of numbers, (B, T), or an EngineError that says what it was."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import EngineError, OnnxSession, Reader, Windower
from qa_onnx.session import OUTPUTS
from qa_onnx.testing import FakeSession
from tests import graphs
from tests.graphs import constant, node, value
from tests.test_reader import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from qa_onnx.session import Session

TYPES = graphs.onnx.TensorProto


def openvino(path: Path) -> Session:
    pytest.importorskip("openvino", reason="needs the openvino extra")
    from qa_onnx.engines.openvino_cpu import OpenVinoSession

    return OpenVinoSession(graphs.Unchecked(path), threads=1, longest=64)


def onnxruntime(path: Path) -> Session:
    return OnnxSession(graphs.Unchecked(path), threads=1)


ENGINES = [pytest.param(onnxruntime, id="onnxruntime"), pytest.param(openvino, id="openvino")]
INPUTS = {name: np.ones((3, 16), np.int64) for name in ("input_ids", "attention_mask")}


def write(path: Path, nodes: Sequence[Any], kind: int) -> Path:
    """Write a graph whose two outputs are the result of the last node, "last"."""
    constants = [
        *(constant(str(number), [number]) for number in (0, 1, -1, 2)),
        constant("big", 3e38, np.float32),
        constant("axes", [2]),
    ]
    ends = [node("Identity", ["last"], [name]) for name in OUTPUTS]
    return graphs.write(path, [*nodes, *ends], constants, [value(name, kind, None) for name in OUTPUTS])


def cast(kind: int) -> list[Any]:
    return [node("Cast", ["ids"], ["last"], to=kind)]


WRONG = {
    "scalar": ([node("ReduceSum", ["ids"], ["last"], keepdims=0)], TYPES.FLOAT, r"float32 \(\)"),
    "a number for each row": (
        [node("ReduceSum", ["ids", "1"], ["last"], keepdims=0)],
        TYPES.FLOAT,
        r"float32 \(3,\)",
    ),
    "another axis": ([node("Unsqueeze", ["ids", "axes"], ["last"])], TYPES.FLOAT, r"float32 \(3, 16, 1\)"),
    "shorter": ([node("Slice", ["ids", "1", "2", "1"], ["last"])], TYPES.FLOAT, r"float32 \(3, 1\)"),
    "longer": ([node("Concat", ["ids", "ids"], ["last"], axis=1)], TYPES.FLOAT, r"float32 \(3, 32\)"),
    "transposed": ([node("Transpose", ["ids"], ["last"], perm=[1, 0])], TYPES.FLOAT, r"float32 \(16, 3\)"),
    "fewer rows": ([node("Slice", ["ids", "0", "2", "0"], ["last"])], TYPES.FLOAT, r"float32 \(2, 16\)"),
    "no rows": ([node("Slice", ["ids", "0", "0", "0"], ["last"])], TYPES.FLOAT, r"float32 \(0, 16\)"),
    "integers": (cast(TYPES.INT64), TYPES.INT64, r"int64 \(3, 16\)"),
    "short integers": (cast(TYPES.INT32), TYPES.INT32, r"int32 \(3, 16\)"),
    "truth values": (cast(TYPES.BOOL), TYPES.BOOL, r"bool \(3, 16\)"),
    "doubles": (cast(TYPES.DOUBLE), TYPES.DOUBLE, r"float64 \(3, 16\)"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", WRONG)
def test_a_graph_that_returns_something_else_is_refused(
    kind: str, engine: Callable[[Path], Session], tmp_path: Path
) -> None:
    nodes, declared, says = WRONG[kind]
    session = engine(write(tmp_path / "model.onnx", nodes, declared))
    with pytest.raises(EngineError, match=rf"the graph returned {says} and {says} for inputs \(3, 16\)"):
        session.run(INPUTS)


def test_a_graph_that_returns_strings_or_sequences_is_refused(tmp_path: Path) -> None:
    session = onnxruntime(write(tmp_path / "strings.onnx", cast(TYPES.STRING), TYPES.STRING))
    with pytest.raises(EngineError, match=r"returned object \(3, 16\) and object"):
        session.run(INPUTS)
    sequence = [node("SequenceConstruct", ["ids", "ids"], [name]) for name in OUTPUTS]
    declared = [graphs.onnx.helper.make_tensor_sequence_value_info(name, TYPES.FLOAT, None) for name in OUTPUTS]
    session = onnxruntime(graphs.write(tmp_path / "sequences.onnx", sequence, outputs=declared))
    with pytest.raises(EngineError, match="returned a list and a list for inputs"):
        session.run(INPUTS)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_in_float16_gives_float32(engine: Callable[[Path], Session], tmp_path: Path) -> None:
    session = engine(write(tmp_path / "model.onnx", cast(TYPES.FLOAT16), TYPES.FLOAT16))
    for logits in session.run(INPUTS):
        assert logits.dtype == np.float32
        assert logits.tolist() == [[1.0] * 16] * 3


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "nodes",
    [
        [node("Sub", ["ids", "ids"], ["zeros"]), node("Div", ["zeros", "zeros"], ["last"])],
        [node("Mul", ["ids", "big"], ["much"]), node("Mul", ["much", "big"], ["last"])],
        [node("Mul", ["ids", "big"], ["much"]), node("Cast", ["much"], ["last"], to=TYPES.FLOAT16)],
    ],
    ids=["not a number", "overflow", "overflow of float16"],
)
def test_a_graph_whose_logits_are_no_numbers_gives_no_answer(
    nodes: list[Any], engine: Callable[[Path], Session], tmp_path: Path, windower: Windower
) -> None:
    kind = TYPES.FLOAT16 if nodes[-1].op_type == "Cast" else TYPES.FLOAT
    reader = Reader(session=engine(write(tmp_path / "model.onnx", nodes, kind)), windower=windower, options=SMALL)
    for call in (lambda: reader.ask("a", "the a"), lambda: list(reader.logits([("a", "the a")]))):
        with pytest.raises(EngineError, match="infinite or not a number"):
            call()


def changed(change: Callable[[Any, Any], Any]) -> FakeSession:
    """A session of a user, whose runs return something else."""

    class Changed(FakeSession):
        def run(self, inputs: Any) -> Any:
            return change(*super().run(inputs))

    return Changed()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda start, end: None, "a NoneType for"),
        (lambda start, end: start, "float32"),
        (lambda start, end: (start,), "float32"),
        (lambda start, end: (start, end, end), "float32"),
        (lambda start, end: {"start_logits": start, "end_logits": end}, "a dict for"),
        (lambda start, end: (start, None), "and a NoneType for"),
        (lambda start, end: (start.tolist(), end.tolist()), "a list and a list for"),
        (lambda start, end: ("start", "end"), "a str and a str for"),
        (lambda start, end: "se", "a str for"),
        (lambda start, end: (1.0, 2.0), "a float and a float for"),
        (lambda start, end: (start.astype(np.float64), end), "float64"),
        (lambda start, end: (start, end.astype(">f4")), ">f4|float32"),
        (lambda start, end: (start.astype(complex), end), "complex128"),
        (lambda start, end: (start.astype(object), end), "object"),
        (lambda start, end: (start[0], end[0]), "float32"),
        (lambda start, end: (start[:1, :1], end), r"float32 \(1, 1\)"),
        (lambda start, end: (start[..., None], end), "float32"),
        (lambda start, end: (start, end.T), "float32"),
        (lambda start, end: (np.array("x"), end), "<U1"),
    ],
)
def test_a_session_that_returns_something_else_is_refused(
    change: Callable[[Any, Any], Any], says: str, windower: Windower
) -> None:
    reader = Reader(session=changed(change), windower=windower, options=SMALL)
    with pytest.raises(EngineError, match=rf"the graph returned .*({says}).*it must return start_logits and end"):
        reader.ask("a", "the a")


@pytest.mark.parametrize("temperature", [1.0, 0.01, 100.0])
def test_the_largest_logits_add_up(temperature: float, windower: Windower) -> None:
    most = float(np.finfo(np.float32).max)

    def extreme(start: Any, end: Any) -> Any:
        start[:] = most
        end[:] = np.where(np.arange(end.shape[1]) % 2, most, -most)
        return start, end

    reader = Reader(session=changed(extreme), windower=windower, options=SMALL, temperature=temperature)
    for context in ("the a the a", "the a " * 90):
        [prediction] = reader.predict([("a", context)])
        assert prediction.answers[0].score == 2 * most
        assert all(math.isfinite(one.score) and 0 <= one.probability <= 1 for one in prediction.answers)
        assert 0 <= prediction.null_probability <= 1


def test_what_the_padding_holds_is_not_read(windower: Windower) -> None:
    def spoiled(start: Any, end: Any) -> Any:
        start[1:, -1] = end[1:, -1] = math.nan
        return start, end

    reader = Reader(session=changed(spoiled), windower=windower, options=SMALL)
    plain = Reader(session=FakeSession(), windower=windower, options=SMALL)
    examples = [("a", "the a the a"), ("a", "the a")]
    assert reader.predict(examples) == plain.predict(examples)
