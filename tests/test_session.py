"""Session: the tiny graph in ONNX Runtime, and every way in which it cannot run."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from qa_onnx import Bundle, EngineError, OnnxSession
from qa_onnx.engines.onnx_cpu import cpu_options
from tests.conftest import TINY
from tests.exports import graph_path
from tests.fresh import printed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.cpu

SEP = 3


@pytest.fixture(scope="module")
def graph(tiny_bundle: Bundle) -> Path:
    return graph_path(tiny_bundle, "fp32")


@pytest.fixture(scope="module")
def session(graph: Path) -> OnnxSession:
    return OnnxSession(graph, threads=1)


def inputs_of(rows: list[list[int]]) -> dict[str, NDArray[np.int64]]:
    """Rows of token ids -> padded inputs, with segment 1 after the first [SEP]."""
    shape = (len(rows), max(map(len, rows)))
    inputs = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    for row, ids in enumerate(rows):
        inputs["input_ids"][row, : len(ids)] = ids
        inputs["attention_mask"][row, : len(ids)] = 1
        inputs["token_type_ids"][row, ids.index(SEP) + 1 : len(ids)] = 1
    return inputs


@pytest.fixture(scope="module")
def golden_windows(tiny_bundle: Bundle) -> list[dict[str, Any]]:
    content = json.loads(tiny_bundle.text(tiny_bundle.graph("fp32").golden))
    return cast("list[dict[str, Any]]", content["windows"])


def test_rows_of_a_padded_batch_have_the_logits_that_they_have_alone(
    session: OnnxSession, golden_windows: list[dict[str, Any]]
) -> None:
    start, end = session.run(inputs_of([window["input_ids"] for window in golden_windows]))
    for row, window in enumerate(golden_windows):
        length = len(window["input_ids"])
        assert start[row, :length].tolist() == pytest.approx(window["start_logits"], abs=1e-4)
        assert end[row, :length].tolist() == pytest.approx(window["end_logits"], abs=1e-4)


@pytest.mark.parametrize("version", ["1.31.0rc1", "1.30.0.dev20260101", "2.0", "1.29.9", "1.4", "unknown"])
def test_what_is_not_fused_depends_on_the_release(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "__version__", version)
    options = cpu_options(onnxruntime, 1)
    try:
        found = options.get_session_config_entry("optimization.disable_specified_optimizers")
    except RuntimeError:  # there is none
        found = ""
    assert found == ("SkipLayerNormFusion" if version in {"1.31.0rc1", "1.30.0.dev20260101", "2.0"} else "")


@pytest.mark.export
def test_a_sum_and_its_norm_are_fused_where_that_is_faster(tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    x, y, z = (helper.make_tensor_value_info(name, kind, ["batch", "sequence", 8]) for name in "xyz")
    scale, bias = (helper.make_tensor(name, kind, [8], [1.0] * 8) for name in ("scale", "bias"))
    add = helper.make_node("Add", ["x", "y"], ["sum"])
    norm = helper.make_node("LayerNormalization", ["sum", "scale", "bias"], ["z"], axis=-1)
    graph = helper.make_graph([add, norm], "sum and norm", [x, y], [z], [scale, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = cpu_options(onnxruntime, 1)
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    release = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    assert found == (["Add", "LayerNormalization"] if release >= (1, 30) else ["SkipLayerNormalization"])


def test_the_inputs_are_those_of_the_graph_and_a_run_takes_the_cores(session: OnnxSession) -> None:
    assert session.input_names == ("input_ids", "attention_mask", "token_type_ids")
    assert not session.leaves_cpu_idle


def test_threads_below_1_are_refused(graph: Path) -> None:
    with pytest.raises(EngineError, match="threads is 0; it must be an integer from 1 to 1024"):
        OnnxSession(graph, threads=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: b"", r"model\.onnx is refused, and no engine has opened it: it has no graph"),
        (lambda graph: b"this is no graph", r"model\.onnx is refused, .*: field 14 of type 4 at byte 0 is none"),
        (lambda graph: graph[:50_000], r"model\.onnx is refused, .*: the model at byte 36 is cut off"),
        (
            lambda graph: graph.replace(b"end_logits", b"end_labels"),
            "gives 'end_labels', 'start_logits'; a question answering graph gives",
        ),
        (None, r"model\.onnx cannot be read: No such file"),
    ],
    ids=["empty", "text", "half", "other outputs", "missing"],
)
def test_a_file_that_is_no_graph_is_refused(
    graph: Path, tmp_path: Path, change: Callable[[bytes], bytes] | None, message: str
) -> None:
    path = tmp_path / "model.onnx"
    if change is not None:
        path.write_bytes(change(graph.read_bytes()))
    with pytest.raises(EngineError, match=message):
        OnnxSession(path)


def test_ids_outside_the_vocabulary_are_an_engine_error_with_shapes(session: OnnxSession) -> None:
    with pytest.raises(EngineError, match=r"ONNX Runtime failed on input_ids \(1, 3\)"):
        session.run(inputs_of([[2, 10_000_000, SEP]]))


def test_a_missing_input_is_an_engine_error(session: OnnxSession) -> None:
    inputs = inputs_of([[2, 5, SEP]])
    del inputs["token_type_ids"]
    with pytest.raises(EngineError, match="token_type_ids"):
        session.run(inputs)


LOAD = """
import pathlib, sys
from qa_onnx import OnnxSession, QaOnnxError
if sys.argv[2] == "hide":
    sys.modules["onnxruntime"] = None
try:
    OnnxSession(pathlib.Path(sys.argv[1]))
except QaOnnxError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("wheels", "messages"),
    [
        (
            "hide",
            ["MissingExtraError no ONNX Runtime is installed", "pip install 'qa-onnx[cpu]', or 'qa-onnx[gpu]'"],
        ),
        (
            "both",
            [
                "EngineError both onnxruntime and onnxruntime-gpu are installed",
                "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'qa-onnx[gpu]'",
                "'qa-onnx[cpu]'",
            ],
        ),
        (
            "remains",
            ["EngineError the installed ONNX Runtime lacks files", "pip uninstall onnxruntime onnxruntime-gpu"],
        ),
    ],
)
def test_what_is_wrong_with_the_wheels_is_said_with_what_to_do(
    graph: Path, tmp_path: Path, wheels: str, messages: list[str]
) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu") if wheels == "both" else ():
        folder = tmp_path / f"{name}-1.22.0.dist-info"
        folder.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.22.0\n"
        (folder / "METADATA").write_text(metadata)
    if wheels == "remains":
        (tmp_path / "onnxruntime").mkdir()
        (tmp_path / "onnxruntime" / "__init__.py").touch()
    found = printed(LOAD, graph, wheels, PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert found.startswith(messages[0])
    assert all(message in found for message in messages)


def test_loading_and_running_leave_the_floating_point_mode_of_the_host_alone() -> None:
    # ONNX Runtime can switch the calling thread to "numbers below 1e-308 are zero", and all later ones with it.
    code = f"""
import pathlib
import numpy as np
from qa_onnx import Reader
smallest = np.array([5e-324])
Reader.load(pathlib.Path({str(TINY)!r}), precision="fp32", threads=1).ask("a", "b")
print((smallest * 1.0 > 0).item())
"""
    assert printed(code) == "True\n"
