"""Graph: PyTorch -> ONNX -> fused ONNX, and what that leaves behind in the process."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import ExportError
from qa_onnx.export import graph
from tests.exports import checkpoint, difference, edit_onnx, exported, graph_path, open_and_load, ragged_batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qa_onnx.export.model import SourceModel

onnx = pytest.importorskip("onnx", reason="needs qa-onnx[export]")
pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, SourceModel]:
    """The tiny BERT in PyTorch and as plain ONNX."""
    model, facts = open_and_load(checkpoint("bert"), tmp_path_factory.mktemp("graph") / "plain.onnx")
    return model, graph.to_onnx(model, facts)


@pytest.fixture
def plain(loaded: tuple[Any, SourceModel], tmp_path: Path) -> SourceModel:
    """A copy of the plain graph, to change."""
    facts = loaded[1]
    path = tmp_path / "plain.onnx"
    path.write_bytes(facts.path.read_bytes())
    return dataclasses.replace(facts, path=path)


@pytest.fixture(autouse=True)
def process_stays_as_it_was() -> Iterator[None]:
    import torch

    def state() -> tuple[object, ...]:
        root = logging.root
        return (
            *(torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.initial_seed()),
            *(root.manager.disable, root.level, root.handlers[:], warnings.filters[:]),
        )

    before = state()
    yield
    assert state() == before


# To ONNX


@pytest.mark.parametrize("opset", [14, 17, 18])
def test_standard_onnx_of_the_opset_with_free_axes(
    loaded: tuple[Any, SourceModel], tmp_path: Path, opset: int
) -> None:
    model, facts = loaded
    facts = graph.to_onnx(model, dataclasses.replace(facts, path=tmp_path / "model.onnx"), opset=opset)
    exported = onnx.load(facts.path)
    onnx.checker.check_model(exported)
    assert [(entry.domain, entry.version) for entry in exported.opset_import] == [("", opset)]
    assert exported.ir_version <= graph.IR_VERSION == 10
    assert [value.name for value in exported.graph.output] == ["start_logits", "end_logits"]
    for value in (*exported.graph.input, *exported.graph.output):
        assert [size.dim_param for size in value.type.tensor_type.shape.dim] == ["batch", "sequence"]
    assert difference(facts.path, model, ragged_batch(checkpoint("bert"))) < 1e-5
    assert not model.training


def test_an_input_that_the_model_does_not_use_is_dropped(tmp_path: Path) -> None:
    """DeBERTa takes token types and, with type_vocab_size 0, looks at none."""
    model, facts = open_and_load(checkpoint("deberta-v2"), tmp_path / "model.onnx")
    facts = dataclasses.replace(facts, inputs=("input_ids", "attention_mask", "token_type_ids"))
    assert graph.to_onnx(model, facts).inputs == ("input_ids", "attention_mask")


def test_weights_too_large_for_one_file_are_beside_it(
    plain: SourceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph.save(onnx.load(plain.path), tmp_path / "whole.onnx")
    assert graph.data_file(tmp_path / "whole.onnx") is None
    monkeypatch.setattr(graph, "LARGEST", 10_000)
    for _ in range(2):  # the second time over the first
        graph.save(onnx.load(plain.path), tmp_path / "large.onnx")
        assert graph.data_file(tmp_path / "large.onnx") == tmp_path / "large.onnx.data"
        assert (tmp_path / "large.onnx").stat().st_size < 0.5 * (tmp_path / "whole.onnx").stat().st_size
        sizes = [(tmp_path / f"large.onnx{end}").stat().st_size for end in ("", ".data")]
        assert sum(sizes) < 1.5 * (tmp_path / "whole.onnx").stat().st_size
    (tmp_path / "large.onnx.data").rename(tmp_path / "moved.data")
    graph.name_data_file(tmp_path / "large.onnx", "moved.data")
    assert difference(tmp_path / "large.onnx", plain.path, ragged_batch(checkpoint("bert"))) == 0
    monkeypatch.undo()
    graph.save(onnx.load(plain.path), tmp_path / "large.onnx")
    assert sorted(path.name for path in tmp_path.glob("large*")) == ["large.onnx"]


def test_what_torch_cannot_export_says_so(loaded: tuple[Any, SourceModel], tmp_path: Path) -> None:
    model, facts = loaded
    facts = dataclasses.replace(facts, path=tmp_path / "model.onnx", inputs=("attention_mask",))
    with pytest.raises(ExportError, match=r"torch cannot export tiny-bert: .*input_ids"):
        graph.to_onnx(model, facts)


# Fusion


def test_fusion_counts_its_nodes(plain: SourceModel, tmp_path: Path) -> None:
    nodes = graph.fuse(plain, tmp_path / "fused.onnx")
    assert nodes == {"Attention": 2, "BiasGelu": 2, "EmbedLayerNormalization": 1}
    fused = onnx.load(tmp_path / "fused.onnx")
    assert graph.fused_nodes(fused) == nodes
    assert {(entry.domain, entry.version) for entry in fused.opset_import} == {("", 17), ("com.microsoft", 1)}
    assert fused.ir_version <= 10
    assert graph.fused_nodes(onnx.load(plain.path)) == {}


def test_norms_stay_apart_from_sums_until_they_are_asked_to_fuse(plain: SourceModel, tmp_path: Path) -> None:
    graph.fuse(plain, tmp_path / "fused.onnx")
    graph.fuse_norms(tmp_path / "fused.onnx", tmp_path / "norms.onnx")
    for name, apart, fused in (("fused", 4, 0), ("norms", 0, 4)):
        found = Counter(node.op_type for node in onnx.load(tmp_path / f"{name}.onnx").graph.node)
        assert (found["LayerNormalization"], found["SkipLayerNormalization"]) == (apart, fused)
        assert found["Attention"] == 2
    assert difference(tmp_path / "norms.onnx", plain.path, ragged_batch(checkpoint("bert"))) < 1e-5


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra"])
def test_onnx_runtime_can_fuse_the_norms_of_float32_itself(kind: str, tmp_path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # that what it writes is for this machine alone
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    path = graph_path(exported(kind).bundle, "fp32")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert found["SkipLayerNormalization"] == 4


def test_an_opset_without_the_norm_has_it_fused(loaded: tuple[Any, SourceModel], tmp_path: Path) -> None:
    model, facts = loaded
    facts = graph.to_onnx(model, dataclasses.replace(facts, path=tmp_path / "model.onnx"), opset=14)
    assert graph.fuse(facts, tmp_path / "fused.onnx")["SkipLayerNormalization"] == 4
    assert not [n for n in onnx.load(tmp_path / "fused.onnx").graph.node if n.op_type == "LayerNormalization"]


def test_with_heads_and_width_unknown_attention_may_stay_as_it_is(plain: SourceModel, tmp_path: Path) -> None:
    shape: Any = {**plain.architecture, "heads": 0, "hidden_size": 0}
    unknown = dataclasses.replace(plain, architecture=shape)
    assert graph.fuse(unknown, tmp_path / "fused.onnx")["BiasGelu"] == 2
    assert difference(tmp_path / "fused.onnx", plain.path, ragged_batch(checkpoint("bert"))) < 1e-5


def test_an_input_that_nothing_reads_is_still_declared(plain: SourceModel, tmp_path: Path) -> None:
    """The optimizer drops it; graphs of one bundle declare the same inputs."""

    def read_no_types(model: Any) -> None:
        for node in model.graph.node:
            for place, name in enumerate(node.input):
                node.input[place] = "input_ids" if name == "token_type_ids" else name

    edit_onnx(plain.path, read_no_types)
    graph.fuse(plain, tmp_path / "fused.onnx")
    graph.fuse_norms(tmp_path / "fused.onnx", tmp_path / "norms.onnx")
    for name in ("fused.onnx", "norms.onnx"):
        assert {value.name for value in onnx.load(tmp_path / name).graph.input} == set(plain.inputs)


def test_an_optimizer_that_fails_is_an_export_error(plain: SourceModel, tmp_path: Path) -> None:
    plain.path.write_bytes(b"no graph")
    with pytest.raises(ExportError, match="optimizer failed on tiny-bert"):
        graph.fuse(plain, tmp_path / "fused.onnx")


# Quiet


def test_quiet_holds_back_log_lines_and_warnings_and_then_no_more(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("some.tool")
    handlers = logging.root.handlers[:]
    with graph.quiet():
        logger.warning("held back")
        logger.error("let through")
        warnings.warn("held back", stacklevel=1)
        logging.root.addHandler(logging.NullHandler())
    logger.warning("back again")
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)
    assert caplog.messages == ["let through", "back again"]
    assert logging.root.handlers == handlers


@pytest.mark.parametrize(("given", "written"), [(8, 8), (10, 10), (13, 10)])
def test_the_ir_version_is_lowered_and_never_raised(
    plain: SourceModel, tmp_path: Path, given: int, written: int
) -> None:
    model = onnx.load(plain.path)
    model.ir_version = given
    graph.save(model, tmp_path / "saved.onnx")
    assert onnx.load(tmp_path / "saved.onnx").ir_version == written


def test_nodes_with_weights_get_names_of_their_own(plain: SourceModel, tmp_path: Path) -> None:
    """Nodes are excluded by name: one name for two would exclude both."""
    model = onnx.load(plain.path)
    for node in model.graph.node:
        node.name = "" if node.op_type == "MatMul" else "same"
    graph.save(model, tmp_path / "named.onnx")
    weights = {tensor.name for tensor in model.graph.initializer}
    saved = onnx.load(tmp_path / "named.onnx")
    names = [node.name for node in saved.graph.node if weights.intersection(node.input)]
    assert all(names)
    assert len(set(names)) == len(names)
