"""Parity: a graph that is another function than its source is found out, by how much, and never ships."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

from qa_onnx import ExportError, Reader
from qa_onnx.bundle.manifest import Parity
from qa_onnx.engines.onnx_cpu import OnnxSession
from qa_onnx.errors import EngineError, ParityError
from qa_onnx.export import export, graph, parity
from qa_onnx.export.source import float32_graph
from tests import tiny
from tests.exports import (
    check_files,
    checkpoint,
    copy,
    edit_json,
    edit_onnx,
    exported,
    graph_path,
    open_and_load,
    set_weight,
    snapshot,
    weight,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.export.model import SourceModel
    from qa_onnx.export.parity import Reference

    Logits: TypeAlias = "NDArray[np.float32]"
    Inputs: TypeAlias = "Mapping[str, NDArray[np.int64]]"

onnx = pytest.importorskip("onnx", reason="needs qa-onnx[export]")
pytestmark = pytest.mark.export

LENGTH = 96


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[SourceModel, Reference]:
    """The tiny BERT as plain ONNX, and PyTorch's logits."""
    path = tmp_path_factory.mktemp("plain") / "plain.onnx"
    model, facts = open_and_load(checkpoint("bert"), path)
    facts = graph.to_onnx(model, facts)
    return facts, _reference(facts, model)


def _reference(facts: SourceModel, model: Any) -> Reference:
    session = parity.RunnerSession(facts.inputs, parity.torch_runner(model))
    return parity.reference("PyTorch", session, facts, LENGTH)


class Session:
    """Logits of the reference itself, after `change`."""

    input_names = ("input_ids", "attention_mask", "token_type_ids")
    run_overhead = 0
    leaves_cpu_idle = False

    def __init__(self, reference: Reference, change: Callable[[Logits, Inputs], None] = lambda *_: None) -> None:
        self._logits = iter(reference.logits)
        self._change = change

    def run(self, inputs: Inputs) -> tuple[Logits, Logits]:
        batch, start, end = next(self._logits)
        assert batch.inputs.keys() == inputs.keys()
        changed = np.stack((start, end))
        self._change(changed, inputs)
        return changed[0], changed[1]


# The reference


def test_windows_are_short_and_long_in_one_batch(plain: tuple[SourceModel, Reference]) -> None:
    _, reference = plain
    lengths = [[len(window.input_ids) for window in batch.windows] for batch, _, _ in reference.logits]
    assert lengths[0] == [128], "not the longest window that the model reads"
    assert max(map(max, lengths[1:])) == LENGTH
    assert sum(min(rows) < max(rows) for rows in lengths) >= 10
    assert any(min(rows) < max(rows) / 4 for rows in lengths)
    windows = [window for batch, _, _ in reference.logits for window in batch.windows]
    assert any(window.last < window.first for window in windows), "no window without context"
    assert any(window.token_offset > 0 for window in windows), "no text of several windows"


def test_the_reference_does_not_drop_out(plain: tuple[SourceModel, Reference]) -> None:
    """Exporting must not leave the model in training mode."""
    facts, reference = plain
    model, _ = open_and_load(checkpoint("bert"), facts.path)
    for (_, start, end), (_, again_start, again_end) in zip(
        reference.logits, _reference(facts, model).logits, strict=True
    ):
        np.testing.assert_array_equal(start, again_start)
        np.testing.assert_array_equal(end, again_end)
    assert not model.training


def test_the_reference_is_a_model_that_was_never_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing changes some kinds for good: BigBird's attention, for one."""

    def trace(model: Any, facts: SourceModel, *, opset: int) -> SourceModel:
        facts = _TO_ONNX(model, facts, opset=opset)
        model.qa_outputs.bias.data += 1.0
        return facts

    monkeypatch.setattr(graph, "to_onnx", trace)
    found = export(checkpoint("bert"), tmp_path / "bundle", precisions=("fp32",)).graph("fp32").parity
    assert found
    assert found.max_abs < 1e-5


def test_bigbird_reads_windows_in_which_all_tokens_attend_to_all(tmp_path: Path) -> None:
    folder = tiny.make_checkpoint("big_bird", tmp_path / "big_bird")
    edit_json(folder / "tokenizer_config.json", lambda content: content.update(model_max_length=512))
    bundle = export(folder, tmp_path / "bundle", precisions=("fp32",))
    assert bundle.manifest.max_positions == 112  # (5 + 2 x 1) x 16; block-sparse beyond
    found = bundle.graph("fp32").parity
    assert found
    assert found.max_abs < 1e-4


def test_padding_that_moves_logits_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny.make_checkpoint("convbert", tmp_path / "convbert")
    export(folder, tmp_path / "bundle", precisions=("fp32",))
    assert "padding moves the logits of convbert by up to 0." in caplog.text
    assert "padding" not in " ".join(exported("bert").warnings)


def test_a_model_that_reads_more_than_is_compared_is_told(caplog: pytest.LogCaptureFixture, plain: Any) -> None:
    class Zeros:
        input_names = ("input_ids", "attention_mask", "token_type_ids")
        run_overhead = 0
        leaves_cpu_idle = False

        def run(self, inputs: Inputs) -> tuple[Logits, Logits]:
            zeros = np.zeros(inputs["input_ids"].shape, np.float32)
            return zeros, zeros

    long = dataclasses.replace(plain[0], max_positions=8192)
    batches = parity.reference("zeros", Zeros(), long, LENGTH).logits
    assert batches[0][1].shape == (1, 4096)
    assert caplog.messages == [f"{long.source.name} reads 8192 tokens; 4096 are compared"]


def test_what_pytorch_cannot_run_says_so() -> None:
    model, _ = open_and_load(checkpoint("bert"))
    run = parity.torch_runner(model)
    with pytest.raises(EngineError, match=r"PyTorch failed on input_ids \(1, 3\) up to 900"):
        run({"input_ids": np.array([[1, 2, 900]])})


# Comparing


def test_the_same_logits_differ_by_nothing(plain: tuple[SourceModel, Reference]) -> None:
    _, reference = plain
    found = parity.compare(reference, Session(reference))
    windows = sum(len(batch.windows) for batch, _, _ in reference.logits)
    assert found == Parity("PyTorch", windows, 0.0, 0.0, 1.0)


def test_padding_is_not_compared(plain: tuple[SourceModel, Reference]) -> None:
    def spoil_padding(logits: Logits, inputs: Inputs) -> None:
        logits[:, inputs["attention_mask"] == 0] = np.nan

    _, reference = plain
    assert parity.compare(reference, Session(reference, spoil_padding)).max_abs == 0.0


def test_differences_are_measured(plain: tuple[SourceModel, Reference]) -> None:
    def move(logits: Logits, inputs: Inputs) -> None:
        logits[0, 0, 0] += 0.5

    _, reference = plain
    found = parity.compare(reference, Session(reference, move))
    values = sum(int(2 * batch.inputs["attention_mask"].sum()) for batch, _, _ in reference.logits)
    assert found.max_abs == pytest.approx(0.5, abs=1e-6)
    assert found.mean_abs == pytest.approx(0.5 * len(reference.logits) / values, rel=1e-5)
    assert found.same_best_span == 1.0, "the first token is not of the context"


def test_other_best_spans_are_counted(plain: tuple[SourceModel, Reference]) -> None:
    def mirror(logits: Logits, inputs: Inputs) -> None:
        logits *= -1

    _, reference = plain
    assert parity.compare(reference, Session(reference, mirror)).same_best_span < 0.3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_no_logit(plain: tuple[SourceModel, Reference], value: float) -> None:
    def spoil(logits: Logits, inputs: Inputs) -> None:
        logits[1, -1, 0] = value

    _, reference = plain
    with pytest.raises(ParityError, match="infinite or not a number"):
        parity.compare(reference, Session(reference, spoil))


@pytest.mark.parametrize("name", ["attention_mask", "token_type_ids"])
def test_a_graph_that_ignores_an_input_is_found_out(plain: tuple[SourceModel, Reference], name: str) -> None:
    class Ignoring(OnnxSession):
        def run(self, inputs: Inputs, **others: Any) -> tuple[Logits, Logits]:
            value = 1 if name == "attention_mask" else 0
            return super().run({**inputs, name: np.full_like(inputs[name], value)}, **others)

    facts, reference = plain
    with pytest.raises(ParityError, match="differ"):
        parity.require_fp32(parity.compare(reference, Ignoring(facts.path)))


def _perturb(source: Path, name: str, target: Path | None = None, *, factor: float = 1.01) -> Path:
    """Multiply a weight by a factor."""
    return edit_onnx(
        source, lambda model: set_weight(model, name, weight(model, name) * np.float32(factor)), target
    )


def _matrices(path: Path) -> list[str]:
    weights = onnx.load(path).graph.initializer
    return [tensor.name for tensor in weights if len(tensor.dims) == 2 and tensor.data_type == 1]


def test_one_weight_matrix_off_by_one_per_cent_is_found_out(
    plain: tuple[SourceModel, Reference], tmp_path: Path
) -> None:
    """Any of them: embeddings, attention, feed-forward, output."""
    facts, reference = plain
    assert parity.compare(reference, OnnxSession(facts.path)).max_abs < 1e-5
    names = _matrices(facts.path)
    assert len(names) >= 2 * 6 + 3 + 1
    for name in names:
        path = _perturb(facts.path, name, tmp_path / "wrong.onnx")
        found = parity.compare(reference, OnnxSession(path))
        assert found.max_abs > parity.FP32_TOLERANCE, name


def test_the_message_says_how_far_off(plain: tuple[SourceModel, Reference], tmp_path: Path) -> None:
    facts, reference = plain
    path = _perturb(facts.path, _matrices(facts.path)[-1], tmp_path / "wrong.onnx", factor=1.5)
    found = parity.compare(reference, OnnxSession(path))
    with pytest.raises(ParityError) as raised:
        parity.require_fp32(found)
    for part in ("PyTorch's", f"up to {found.max_abs:.2g}", f"over {found.windows} windows", "0.001"):
        assert part in str(raised.value)


def test_the_tolerance_itself_is_allowed() -> None:
    edge = Parity("PyTorch", 1, parity.FP32_TOLERANCE, 0.0, 1.0)
    parity.require_fp32(edge)
    with pytest.raises(ParityError):
        parity.require_fp32(dataclasses.replace(edge, max_abs=np.nextafter(edge.max_abs, 1.0)))


# In an export


def _wrong_export(model: Any, facts: SourceModel, *, opset: int) -> SourceModel:
    facts = _TO_ONNX(model, facts, opset=opset)
    _perturb(facts.path, _matrices(facts.path)[-1])
    return facts


_TO_ONNX, _FUSE = graph.to_onnx, graph.fuse


def test_a_wrong_graph_never_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy(exported("bert").bundle.path, tmp_path / "bundle")
    before = snapshot(folder)
    monkeypatch.setattr(graph, "to_onnx", _wrong_export)
    for to in (folder, tmp_path / "new"):
        with pytest.raises(ParityError, match=r"differ from PyTorch .* by up to [0-9.]+ over"):
            export(checkpoint("bert"), to, precisions=("fp32", "int8"))
    assert snapshot(folder) == before
    check_files(folder)
    assert not (tmp_path / "new").exists()


def _fail(_: Path) -> None:
    raise ExportError("the optimizer failed")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: _perturb(path, _matrices(path)[-1]), "differ from PyTorch"),
        (lambda path: _perturb(path, _matrices(path)[-1], factor=np.nan), "not a number"),
        (lambda path: path.write_bytes(b"no graph"), "no engine has opened it"),
        (_fail, "the optimizer failed"),
    ],
)
def test_fusion_that_goes_wrong_is_left_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], object],
    reason: str,
) -> None:
    def fuse(facts: SourceModel, target: Path) -> dict[str, int]:
        nodes = _FUSE(facts, target)
        spoil(target)
        return nodes

    monkeypatch.setattr(graph, "fuse", fuse)
    with pytest.raises(ExportError, match=reason):
        export(checkpoint("bert"), tmp_path / "bundle", require_fusion=True)
    with caplog.at_level(logging.WARNING, "qa_onnx"):
        bundle = export(checkpoint("bert"), tmp_path / "bundle", precisions=("fp32", "int8"))
    assert "going on without fusion" in caplog.text
    assert reason in caplog.text
    for precision, entry in bundle.manifest.graphs.items():
        assert (entry.kind, entry.fused_nodes) == ("plain", {})
        nodes = onnx.load(graph_path(bundle, precision)).graph.node
        assert {node.domain for node in nodes} <= {"", "ai.onnx"}
    found = bundle.manifest.graphs["fp32"].parity
    assert found is not None
    assert found.max_abs < 1e-5
    example = ("Who came?", "It was Marta, late at night.")
    fused = Reader.load(exported("bert").bundle, precision="fp32").ask(*example)
    assert Reader.load(bundle, precision="fp32").ask(*example).text == fused.text


@pytest.mark.parametrize(
    ("layers", "warnings"), [(3, ["fused only 2 of 3 Attention: slower than possible, but correct"]), (0, [])]
)
def test_layers_that_are_not_fused_are_counted(
    plain: tuple[SourceModel, Reference],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    layers: int,
    warnings: list[str],
) -> None:
    """With an unknown number of layers, 0, one that is fused is enough."""
    facts, reference = plain
    model = dataclasses.replace(facts, architecture={**facts.architecture, "layers": layers})
    with caplog.at_level(logging.WARNING, "qa_onnx"):
        float32_graph(model, reference, tmp_path / "fused.onnx", fusion=True, require_fusion=False)
    assert [record.getMessage() for record in caplog.records] == warnings
