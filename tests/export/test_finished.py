"""Finished ONNX models: imported as optimum lays them out, without torch, and refused where they are not whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import Example, ExportError, Options, Reader
from qa_onnx.export import export, graph
from qa_onnx.export.finished import FinishedModel, find_finished, load_finished
from tests.exports import (
    PAIRS,
    check_files,
    checkpoint,
    copy,
    difference,
    edit_json,
    edit_onnx,
    exported,
    graph_path,
    open_and_load,
    ragged_batch,
    run_onnx,
    scratch,
    snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable

onnx = pytest.importorskip("onnx", reason="needs qa-onnx[export]")
pytestmark = pytest.mark.export

EXAMPLES = [Example(*pair) for pair in PAIRS]


def make_finished(kind: str) -> Path:
    """A tiny model's folder as optimum writes it, with the plain graph; not to be changed."""
    folder = scratch() / f"finished-{kind}"
    if not folder.exists():
        folder.mkdir()
        model, facts = open_and_load(checkpoint(kind), folder / "model.onnx")
        graph.to_onnx(model, facts)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(checkpoint(kind) / name, folder)
    return folder


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A copy of the tiny BERT's finished folder, to change."""
    return copy(make_finished("bert"), tmp_path / "finished")


# What is imported

_WITHOUT_TORCH = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "optimum", "safetensors", "huggingface_hub"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
import json
from qa_onnx import Example, Reader
from qa_onnx.export import export

bundle = export(sys.argv[1], sys.argv[2], precisions=("fp32", "int8"))
examples = [Example(*pair) for pair in json.loads(sys.argv[3])]
answers = {
    precision: [
        [answer.text, answer.start, answer.end, answer.score]
        for prediction in Reader.load(bundle, precision=precision, threads=1).predict(examples)
        for answer in prediction.answers[:3]
    ]
    for precision in bundle.manifest.graphs
}
print(json.dumps(answers))
"""


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_without_torch_the_answers_are_those_of_the_checkpoint(kind: str, tmp_path: Path) -> None:
    arguments = [str(make_finished(kind)), str(tmp_path / "bundle"), json.dumps(PAIRS)]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for precision, found in json.loads(done.stdout).items():
        reader = Reader.load(exported(kind).bundle, precision=precision, threads=1)
        expected = [
            [answer.text, answer.start, answer.end, pytest.approx(answer.score, abs=1e-4)]
            for prediction in reader.predict(EXAMPLES)
            for answer in prediction.answers[:3]
        ]
        assert found == expected
    ours, theirs = check_files(tmp_path / "bundle").manifest, exported(kind).bundle.manifest
    assert ours.source.kind == "onnx"
    for name in ("inputs", "pad_id", "cls_id", "max_positions", "max_length"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.graphs["fp32"].fused_nodes == theirs.graphs["fp32"].fused_nodes
    assert ours.architecture | {"parameters": 0} == theirs.architecture | {"parameters": 0}


def test_the_model_may_lie_in_onnx(finished: Path, tmp_path: Path) -> None:
    (finished / "onnx").mkdir()
    (finished / "model.onnx").rename(finished / "onnx" / "model.onnx")
    bundle = export(finished, tmp_path / "bundle", precisions=("fp32",))
    found = bundle.manifest.graphs["fp32"].parity
    assert found is not None
    assert found.reference == "the source ONNX model"
    assert found.max_abs < 1e-5


def make_snapshot(finished: Path, repository: Path, inner: str) -> Path:
    """The files of a finished folder as the hub's cache has them: links to `blobs`; ONNX files in `inner`."""
    snapshot = repository / "snapshots" / ("0" * 40)
    for place in (repository / "blobs", snapshot / inner):
        place.mkdir(parents=True, exist_ok=True)
    for path in finished.iterdir():
        link = snapshot / (inner if "onnx" in path.name else "") / path.name
        blob = path.rename(repository / "blobs" / path.name.replace(".", "-"))
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


@pytest.mark.parametrize("inner", ["", "onnx"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_snapshot_of_the_hub_is_imported_through_its_links(
    finished: Path, tmp_path: Path, inner: str, beside: bool
) -> None:
    if beside:
        plain = onnx.load(finished / "model.onnx")
        options = {"save_as_external_data": True, "location": "model.onnx_data", "size_threshold": 0}
        onnx.save(plain, finished / "model.onnx", **options)
    snapshot = make_snapshot(finished, tmp_path / "models--org--model", inner)
    bundle = export(snapshot, tmp_path / "bundle", precisions=("fp32",), max_length=64)
    expected = run_onnx(make_finished("bert") / "model.onnx", ragged_batch(checkpoint("bert")))
    found = run_onnx(graph_path(bundle, "fp32"), ragged_batch(checkpoint("bert")))
    assert np.abs(found - expected).max() < 1e-4


def test_a_link_out_of_a_snapshot_is_refused(finished: Path, tmp_path: Path) -> None:
    snapshot = make_snapshot(finished, tmp_path / "models--org--model", "onnx")
    model = snapshot / "onnx" / "model.onnx"
    shutil.copy(model, tmp_path / "elsewhere.onnx")
    model.unlink()
    model.symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(ExportError, match="is a link out of the folder"):
        export(snapshot, tmp_path / "bundle", precisions=("fp32",))


def test_a_checkpoint_with_a_finished_model_beside_it_is_a_checkpoint(finished: Path) -> None:
    assert find_finished(finished) == FinishedModel(finished, finished / "model.onnx")
    shutil.copy(checkpoint("bert") / "model.safetensors", finished)
    assert find_finished(finished) is None


def test_weights_beside_the_model_are_taken_in(finished: Path, tmp_path: Path) -> None:
    model = onnx.load(finished / "model.onnx")
    onnx.save(
        model, finished / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0
    )
    bundle = export(finished, tmp_path / "bundle", precisions=("fp32",))
    assert len(list(bundle.path.iterdir())) == 4
    batch = ragged_batch(checkpoint("bert"))
    assert difference(graph_path(bundle, "fp32"), checkpoint("bert"), batch) < 1e-4
    # Other weights with the same graph are another source.
    data = finished / "model.onnx_data"
    data.write_bytes(data.read_bytes()[::-1])
    with pytest.raises(ExportError, match="not of this source"):
        export(finished, tmp_path / "bundle", precisions=("int8",))


def test_an_input_that_nothing_reads_is_fed_all_the_same(tmp_path: Path) -> None:
    """RoBERTa's graphs often declare token types."""
    folder = copy(make_finished("roberta"), tmp_path / "finished")
    value = onnx.helper.make_tensor_value_info("token_type_ids", onnx.TensorProto.INT64, ["batch", "sequence"])
    edit_onnx(folder / "model.onnx", lambda model: model.graph.input.append(value))
    bundle = export(folder, tmp_path / "bundle", precisions=("fp32", "int8"))
    for precision in ("fp32", "int8"):
        ours = Reader.load(bundle, precision=precision).predict(EXAMPLES)
        theirs = Reader.load(exported("roberta").bundle, precision=precision).predict(EXAMPLES)
        assert [found.answers[0].text for found in ours] == [found.answers[0].text for found in theirs]


@pytest.mark.parametrize(
    ("kind", "expected"), [("bert", 130), ("distilbert", 130), ("roberta", 128), ("mpnet", 128)]
)
def test_max_positions_without_a_limit_of_the_tokenizer(kind: str, expected: int, tmp_path: Path) -> None:
    folder = copy(make_finished(kind), tmp_path / "finished")
    edit_json(folder / "tokenizer_config.json", lambda content: content.pop("model_max_length"))
    facts = load_finished(FinishedModel(folder, folder / "model.onnx"), tmp_path / "target.onnx")
    assert facts.max_positions == expected
    ids = np.random.default_rng(2).integers(5, 60, (1, expected))
    logits = run_onnx(
        facts.path, {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": ids * 0}
    )
    assert logits.shape == (2, 1, expected)


def test_special_tokens_are_found_in_every_form(finished: Path, tmp_path: Path) -> None:
    def facts() -> tuple[int, int]:
        found = load_finished(FinishedModel(finished, finished / "model.onnx"), tmp_path / "target.onnx")
        return found.pad_id, found.cls_id

    assert facts() == (0, 2)
    (finished / "tokenizer_config.json").write_text('{"cls_token": {"content": "[SEP]"}, "pad_token": "[MASK]"}')
    assert facts() == (4, 3)
    (finished / "tokenizer_config.json").unlink()
    edit_json(finished / "config.json", lambda content: content.update(pad_token_id=7))
    assert facts() == (7, 0)
    (finished / "special_tokens_map.json").write_text('{"cls_token": "[CLS]", "pad_token": {"content": "[UNK]"}}')
    assert facts() == (1, 2)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_the_configuration_may_be_missing(finished: Path, tmp_path: Path, name: str) -> None:
    if name == "tokenizer_config.json":
        edit_json(finished / "config.json", lambda content: content.update(max_position_embeddings=128))
    (finished / name).unlink()
    bundle = export(finished, tmp_path / "bundle", precisions=("fp32",))
    options = Options(max_length=96, doc_stride=16, max_question_length=32)
    ours = Reader.load(bundle).predict(EXAMPLES, options=options)
    theirs = Reader.load(exported("bert").bundle, precision="fp32").predict(EXAMPLES, options=options)
    assert [found.answers[0].text for found in ours] == [found.answers[0].text for found in theirs]


@pytest.mark.parametrize(
    "change", [{"max_position_embeddings": None}, {"num_hidden_layers": "two"}, {"hidden_size": -1}]
)
def test_a_field_that_is_no_number_counts_as_unknown(
    finished: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    edit_json(finished / "config.json", lambda content: content.update(change))
    facts = load_finished(FinishedModel(finished, finished / "model.onnx"), tmp_path / "target.onnx")
    assert facts.max_positions == 128
    assert facts.architecture["layers"] == (0 if "num_hidden_layers" in change else 2)
    assert facts.architecture["hidden_size"] == (0 if "hidden_size" in change else 32)


def test_a_model_that_cannot_be_fused_is_imported_plain(finished: Path, tmp_path: Path) -> None:
    """Three heads do not divide a width of 32: the optimizer stops at that."""
    edit_json(finished / "config.json", lambda content: content.update(num_attention_heads=3))
    bundle = export(finished, tmp_path / "bundle", precisions=("fp32", "int8"))
    assert {entry.kind for entry in bundle.manifest.graphs.values()} == {"plain"}


# What is refused


def drop_output(model: Any) -> None:
    del model.graph.output[1]


def int32_inputs(model: Any) -> None:
    for value in model.graph.input:
        value.type.tensor_type.elem_type = 6


def fixed_batch(model: Any) -> None:
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1


def position_input(model: Any) -> None:
    model.graph.input.add().CopyFrom(model.graph.input[0])
    model.graph.input[-1].name = "position_ids"


def foreign_operator(model: Any) -> None:
    model.graph.node[0].domain = "my.operators"
    model.opset_import.add(domain="my.operators", version=1)


def half_precision(model: Any) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == 1:
            half = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_output, "it gives 'start_logits'; a question answering graph gives start_logits and end_logits"),
        (int32_inputs, "'input_ids' is of the type 6, not int64"),
        (half_precision, "is in half precision: give the float32 model"),
        (position_input, "position_ids"),
        (fixed_batch, r"finished does not read text: ONNX Runtime failed on input_ids \(4, 128\)"),
        (foreign_operator, "my.operators"),
    ],
)
def test_a_graph_of_another_form_is_refused(
    finished: Path, tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    edit_onnx(finished / "model.onnx", change)
    with pytest.raises(ExportError, match=message):
        export(finished, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("source", ["int8", "plain int8", "named int8"])
def test_a_quantized_graph_is_refused(finished: Path, tmp_path: Path, source: str) -> None:
    from qa_onnx.export.quantize import to_int8

    if source == "int8":
        shutil.copy(graph_path(exported("bert").bundle, "int8"), finished / "model.onnx")
    elif source == "named int8":
        (finished / "model.onnx").unlink()
        shutil.copy(graph_path(exported("bert").bundle, "int8"), finished / "model_quantized.onnx")
    else:
        to_int8(make_finished("bert") / "model.onnx", finished / "model.onnx")
    with pytest.raises(ExportError, match=r"is quantized already \(.*\): give the float32 model"):
        export(finished, tmp_path / "bundle")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json, which must be beside"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer.json cannot be read"),
        (lambda folder: (folder / "tokenizer.json").write_bytes(b"\xff\xfe"), "tokenizer.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not usable JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json is not a JSON object"),
        (
            lambda folder: (folder / "tokenizer_config.json").write_text("no"),
            "tokenizer_config.json is not usable JSON",
        ),
        (lambda folder: truncate(folder / "model.onnx"), "is refused, and no engine has opened it: .* is cut off"),
        (lambda folder: (folder / "model.onnx").write_bytes(b""), "model.onnx"),
        (lambda folder: (folder / "model.onnx").write_text("<html>Not found</html>"), "is none of a model"),
        (
            lambda folder: edit_json(
                folder / "tokenizer.json", lambda content: content.update(post_processor=None)
            ),
            "finished does not read text",
        ),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    finished: Path, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(finished)
    with pytest.raises(ExportError, match=message):
        export(finished, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("place", ["../secret", "{folder}/secret", "sub/../../secret", "link"])
def test_weights_outside_of_the_folder_are_never_read(finished: Path, tmp_path: Path, place: str) -> None:
    path = finished / "model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights", size_threshold=0)
    (finished / "weights").rename(tmp_path / "secret")
    (finished / "sub").mkdir()
    if place == "link":
        (finished / "link").symlink_to(tmp_path / "secret")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place.format(folder=tmp_path)
    path.write_bytes(model.SerializeToString())
    before = snapshot(tmp_path)
    with pytest.raises(
        ExportError, match=r"lies outside of the file, in .*, which may not be read|a link out of the folder"
    ):
        export(finished, tmp_path / "bundle")
    assert snapshot(tmp_path) == before


def test_an_optimized_model_is_found_and_stays_fused(finished: Path, tmp_path: Path) -> None:
    shutil.copy(graph_path(exported("bert").bundle, "fp32"), finished / "model_optimized.onnx")
    (finished / "model.onnx").unlink()
    bundle = export(finished, tmp_path / "bundle", precisions=("fp32",))
    assert bundle.graph("fp32").fused_nodes == exported("bert").bundle.graph("fp32").fused_nodes
    plain = export(finished, tmp_path / "plain", precisions=("fp32",), fusion=False).graph("fp32")
    assert (plain.kind, "tensorrt/cuda" in plain.backends) == ("fused", False)
