"""OpenVINO: the same logits as PyTorch and ONNX Runtime, from any thread, and every way in which it cannot run."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from qa_onnx import Bundle, EngineError, MissingExtraError, OnnxSession, Options, Reader
from qa_onnx.cli import main
from qa_onnx.engines.openvino_cpu import OpenVinoSession
from tests import exports, tiny
from tests.conftest import edit_manifest
from tests.engines.conftest import assert_same, batch

if TYPE_CHECKING:
    from pathlib import Path


pytest.importorskip("openvino", reason="needs the openvino extra")

TEXT = "The keeper lit the lamp at dusk. Ships saw it from afar, and the harbour lay still."
EVERYWHERE = ["onnxruntime/cpu", "onnxruntime/cuda", "openvino/cpu"]


@pytest.fixture
def here(tiny_copy: Path) -> Path:
    """A bundle whose fp32 graph runs in OpenVINO."""
    edit_manifest(tiny_copy, lambda content: content["graphs"]["fp32"].update(engines=EVERYWHERE))
    return tiny_copy


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The inputs that reach OpenVINO, one entry for each run."""
    import openvino

    runs = []
    infer = openvino.InferRequest.infer

    def recorded(request: Any, inputs: dict[str, Any], **options: Any) -> Any:
        runs.append(inputs)
        return infer(request, inputs, **options)

    monkeypatch.setattr(openvino.InferRequest, "infer", recorded)
    return runs


@pytest.mark.export
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_fused_fp32_graphs_give_the_logits_of_pytorch(kind: str) -> None:
    export = exports.exported(kind)
    inputs = exports.ragged_batch(export.checkpoint)
    session = OpenVinoSession(exports.graph_path(export.bundle, "fp32"), threads=1)
    assert not session.leaves_cpu_idle
    logits = np.stack(session.run({name: inputs[name] for name in session.input_names}))
    expected = exports.run_torch(exports.load_torch(export.checkpoint), inputs)
    real = inputs["attention_mask"] == 1
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[:, real], expected[:, real], atol=1e-4, rtol=0)


def test_it_gives_the_logits_of_onnx_runtime_at_every_shape(graph: Path) -> None:
    theirs, ours = OnnxSession(graph, threads=1), OpenVinoSession(graph, threads=1)
    assert ours.input_names == theirs.input_names
    for rows, tokens in ((1, 5), (4, 40), (3, 17), (1, 64), (4, 40)):
        inputs = batch(rows, tokens)
        assert_same(ours.run(inputs), theirs.run(inputs), inputs, atol=1e-4)


def test_batches_are_padded_to_few_lengths_and_the_logits_cut_back(
    graph: Path, computed: list[dict[str, Any]]
) -> None:
    theirs = OnnxSession(graph, threads=1)
    ours = OpenVinoSession(graph, threads=1, longest=60)
    for rows, tokens, reaches in ((2, 5, 16), (1, 16, 16), (3, 17, 32), (2, 49, 60), (1, 60, 60), (1, 62, 62)):
        inputs = batch(rows, tokens)
        assert_same(ours.run(inputs), theirs.run(inputs), inputs, atol=1e-4)
        assert computed[-1]["input_ids"].shape == (rows, reaches)


def test_padding_has_the_models_own_id(graph: Path, computed: list[dict[str, Any]]) -> None:
    session = OpenVinoSession(graph, threads=1, longest=64, pad_id=3)
    session.run(batch(1, 9))
    pickle.loads(pickle.dumps(session)).run(batch(1, 9))
    for inputs in computed:
        assert inputs["input_ids"][0, 9:].tolist() == [3] * 7
        assert inputs["attention_mask"][0].tolist() == [1] * 9 + [0] * 7
    assert len(computed) == 2


def test_threads_share_a_session(graph: Path) -> None:
    session = OpenVinoSession(graph, threads=1)
    inputs = [batch(1 + seed % 3, 10 + seed % 7, seed=seed) for seed in range(60)]
    alone = [session.run(one) for one in inputs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(session.run, inputs))
    for one, expected, logits in zip(inputs, alone, together, strict=True):
        assert_same(logits, expected, one)


def test_a_missing_input_is_an_error_and_not_an_old_value(graph: Path) -> None:
    session = OpenVinoSession(graph, threads=1)
    inputs = batch(1, 9)
    session.run(inputs)
    del inputs["token_type_ids"]
    with pytest.raises(EngineError, match="inputs token_type_ids are missing"):
        session.run(inputs)


def test_inputs_of_different_shapes_are_refused(graph: Path) -> None:
    inputs = {**batch(1, 9), "attention_mask": np.ones((2, 4), np.int64)}
    session = OpenVinoSession(graph, threads=1)
    with pytest.raises(EngineError, match=r"one shape, \(B, T\): input_ids \(1, 9\), attention_mask \(2, 4\)"):
        session.run(inputs)
    session.run(batch(1, 9))


@pytest.mark.parametrize("content", [b"", b"this is no graph"])
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"model\.onnx is refused, and no engine has opened it: "):
        OpenVinoSession(path)


def test_a_graph_that_it_cannot_run_is_refused(graph: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="QAttention"):
        OpenVinoSession(exports.graph_path(tiny_bundle, "int8"))
    path = tmp_path / "model.onnx"
    path.write_bytes(graph.read_bytes().replace(b"end_logits", b"end_labels"))
    with pytest.raises(EngineError, match="gives 'end_labels', 'start_logits'; a question answering graph gives"):
        OpenVinoSession(path)


def test_a_reader_answers_the_same_in_both_engines(here: Path, computed: list[dict[str, Any]]) -> None:
    ours = Reader.load(here, engine="openvino", threads=1)
    assert (ours.precision, str(ours.backend)) == ("fp32", "openvino/cpu")
    theirs = Reader.load(here, precision="fp32", threads=1)
    options = Options(max_length=32, doc_stride=8, max_question_length=8)
    for question in ("Who lit the lamp?", "Where?", "What lay still?"):
        mine, other = (reader.ask(question, TEXT, options=options) for reader in (ours, theirs))
        assert (mine.start, mine.end) == (other.start, other.end)
        assert mine.score == pytest.approx(other.score, abs=1e-4)
    assert all(inputs["input_ids"].shape[1] % 16 == 0 for inputs in computed)
    ask = ["ask", "-b", str(here), "--engine", "openvino", "--threads", "1", "-q", "Where?", "--context", TEXT]
    assert CliRunner().invoke(main, ask).exit_code == 0
    refused = CliRunner().invoke(main, [*ask, "--device", "cuda"])
    assert (refused.exit_code, "'openvino' does not run on device 'cuda'" in refused.stderr) == (1, True)


def test_a_bundle_without_a_graph_for_openvino_names_the_export_command(tiny_copy: Path) -> None:
    edit_manifest(tiny_copy, lambda content: content["graphs"].pop("fp32"))
    with pytest.raises(EngineError, match=r"none of which runs on openvino/cpu: .* int8-static adds it"):
        Reader.load(tiny_copy, engine="openvino")
    with pytest.raises(
        EngineError, match="runs on onnxruntime/cpu, not on openvino/cpu: choose another precision"
    ):
        Reader.load(tiny_copy, engine="openvino", precision="int8")


def test_without_openvino_the_extra_is_named(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match="OpenVINO is not installed") as missing:
        OpenVinoSession(graph)
    assert missing.value.remedy == "pip install 'qa-onnx[openvino]'"


def test_onnx_runtime_alone_does_not_load_openvino() -> None:
    code = "import sys, qa_onnx; qa_onnx.Reader.load(threads=1); print('openvino' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
