"""Checkpoint -> bundle, whole: every kind gives PyTorch's logits, and an old bundle is never hurt."""

from __future__ import annotations

import importlib
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from qa_onnx import Bundle, BundleError, BundleFormatError, Example, ExportError, InputError, Options, Reader
from qa_onnx.cli import main
from qa_onnx.export import EvaluationSettings, export, graph
from qa_onnx.tokens.boundaries import whole
from tests import tiny
from tests.exports import (
    PAIRS,
    check_files,
    checkpoint,
    copy,
    difference,
    edit_json,
    exported,
    graph_path,
    load_torch,
    logits,
    ragged_batch,
    run_onnx,
    snapshot,
    without_tokenizer_json,
)

onnx = pytest.importorskip("onnx", reason="needs qa-onnx[export]")
pytestmark = pytest.mark.export

FUSED = ("bert", "distilbert", "electra", "roberta", "xlm-roberta")
UNFUSED = tuple(kind for kind in tiny.KINDS if kind not in FUSED)
EMBEDDING_FUSED = ("bert", "distilbert", "electra")

every_kind = pytest.mark.parametrize("kind", tiny.KINDS)


# Every kind: the same function as PyTorch's


@every_kind
@pytest.mark.parametrize("attention", [None, "eager"])
def test_fp32_gives_pytorchs_logits_on_ragged_batches(kind: str, attention: str | None) -> None:
    """Nothing of the exporter in the reference: transformers' own loading, tokenizer, windows and padding."""
    made = exported(kind)
    batch = ragged_batch(made.checkpoint)
    model = load_torch(made.checkpoint, **({"attn_implementation": attention} if attention else {}))
    assert not batch["attention_mask"].all()
    assert (logits(model, batch).std(axis=1) > 0.1).all(), "logits that are all alike would agree with anything"
    assert difference(graph_path(made.bundle, "fp32"), model, batch) < 1e-4


@every_kind
def test_int8_stays_close_to_pytorch(kind: str) -> None:
    made = exported(kind)
    batch = ragged_batch(made.checkpoint)
    expected, found = logits(made.checkpoint, batch), logits(graph_path(made.bundle, "int8"), batch)
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.95
    assert np.abs(expected - found).max() > 1e-4, "this is not int8"


@every_kind
def test_products_of_int8_saturate_on_no_cpu(kind: str) -> None:
    import onnxruntime

    path = graph_path(exported(kind).bundle, "int8")
    levels = [onnx.numpy_helper.to_array(value) for value in onnx.load(path).graph.initializer]
    matrices = [value for value in levels if value.dtype == np.int8 and value.ndim > 1]
    assert max(int(np.abs(value.astype(int)).max()) for value in matrices) == 64  # 2 x 255 x 64 fits in 16 bits
    batch = ragged_batch(exported(kind).checkpoint)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # exact kernels for CPUs without VNNI
    fast, exact = (
        session.run(None, {value.name: batch[value.name] for value in session.get_inputs()})
        for session in (onnxruntime.InferenceSession(path, each) for each in (None, options))
    )
    np.testing.assert_array_equal(fast, exact)


@every_kind
def test_the_manifest_tells_what_the_graphs_are(kind: str) -> None:
    bundle = exported(kind).bundle
    manifest = bundle.manifest
    for precision in ("fp32", "int8"):
        model = onnx.load(graph_path(bundle, precision))
        assert {value.name for value in model.graph.input} == set(manifest.inputs)
        assert model.ir_version <= 10
        assert {entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}} == {17}
        fused = [node.op_type for node in model.graph.node if node.domain == "com.microsoft"]
        assert manifest.graphs[precision].fused_nodes == {name: fused.count(name) for name in fused}
        assert manifest.graphs[precision].kind == "fused"
    assert manifest.architecture == {
        "model_type": kind,
        "layers": 2,
        "heads": 2,
        "hidden_size": 32,
        "parameters": sum(weight.numel() for weight in load_torch(checkpoint(kind)).parameters()),
    }
    assert manifest.graphs["fp32"].backends == ("onnxruntime/cpu", "onnxruntime/cuda", "openvino/cpu")
    assert manifest.graphs["int8"].backends == ("onnxruntime/cpu",)


@every_kind
def test_measured_parity_stands_in_the_manifest(kind: str) -> None:
    graphs = exported(kind).bundle.manifest.graphs
    fp32, int8 = graphs["fp32"].parity, graphs["int8"].parity
    assert fp32 is not None
    assert int8 is not None
    assert fp32.reference.startswith("PyTorch ")
    assert fp32.windows == int8.windows > 50
    assert fp32.mean_abs <= fp32.max_abs < 1e-4 < int8.max_abs
    assert fp32.same_best_span == 1.0
    assert 0.8 < int8.same_best_span <= 1.0


def test_without_fusion_graphs_are_of_standard_operators_and_run_in_tensorrt(tmp_path: Path) -> None:
    names = [part for name in ("fp32", "fp16", "int8") for part in ("--precision", name)]
    command = ["export", str(checkpoint("bert")), "--to", str(tmp_path / "plain"), "--no-fusion", *names]
    result = CliRunner().invoke(main, [*command, "-v", "-q"])
    assert result.exit_code == 0, result.stderr
    assert "no fused nodes" in result.stdout
    assert result.stderr == ""
    bundle = Bundle.load(tmp_path / "plain")
    graphs = bundle.manifest.graphs
    for precision in ("fp32", "fp16"):
        nodes = onnx.load(graph_path(bundle, precision)).graph.node
        assert {node.domain for node in nodes} <= {"", "ai.onnx"}
        assert (graphs[precision].kind, graphs[precision].fused_nodes) == ("plain", {})
        assert graphs[precision].backends[-1] == "tensorrt/cuda"
    assert "tensorrt/cuda" not in graphs["int8"].backends
    batch = ragged_batch(checkpoint("bert"))
    assert difference(graph_path(bundle, "fp32"), checkpoint("bert"), batch) < 1e-4


def test_fusion_cannot_be_off_and_required(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contradicts fusion=False"):
        export(checkpoint("bert"), tmp_path / "bundle", fusion=False, require_fusion=True)
    arguments = ["export", str(checkpoint("bert")), "--to", str(tmp_path / "bundle"), "--no-fusion"]
    result = CliRunner().invoke(main, [*arguments, "--require-fusion"])
    assert (result.exit_code, "exclude each other" in result.stderr) == (2, True)


@every_kind
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_batch_and_length_are_free(kind: str, precision: str) -> None:
    bundle = exported(kind).bundle
    most = bundle.manifest.max_positions
    for shape in ((1, 1), (1, 7), (3, 1), (5, 33), (2, most)):
        ids = np.random.default_rng(3).integers(5, 60, shape)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        logits = run_onnx(graph_path(bundle, precision), inputs)
        assert logits.shape == (2, *shape)
        assert np.isfinite(logits).all()


# Fusion


@pytest.mark.parametrize("kind", FUSED)
def test_known_kinds_fuse_whole(kind: str) -> None:
    made = exported(kind)
    nodes = made.bundle.manifest.graphs["fp32"].fused_nodes
    assert nodes["Attention"] == 2
    assert nodes["BiasGelu"] == 2
    assert nodes.get("EmbedLayerNormalization", 0) == (1 if kind in EMBEDDING_FUSED else 0)
    assert made.warnings == ()


def test_norms_are_fused_in_fp16_alone(tmp_path: Path) -> None:
    """See graph.py."""
    bundle = export(checkpoint("bert"), tmp_path / "bundle", precisions=("fp32", "fp16", "int8"))
    nodes = {precision: entry.fused_nodes for precision, entry in bundle.manifest.graphs.items()}
    assert [nodes[name].get("SkipLayerNormalization") for name in ("fp32", "fp16", "int8")] == [None, 4, None]


@pytest.mark.parametrize("kind", UNFUSED)
def test_other_kinds_export_with_a_warning(kind: str) -> None:
    found = 1 if kind == "albert" else 0
    assert exported(kind).warnings == (f"fused only {found} of 2 Attention: slower than possible, but correct",)


@pytest.mark.parametrize(("kind", "counts"), [("albert", "1 of 2 Attention"), ("mpnet", "0 of 2 Attention")])
def test_required_fusion_names_the_counts(tmp_path: Path, kind: str, counts: str) -> None:
    with pytest.raises(ExportError, match=counts):
        export(checkpoint(kind), tmp_path / "bundle", require_fusion=True)
    assert list(tmp_path.iterdir()) == []


def test_required_fusion_that_is_there(tmp_path: Path) -> None:
    bundle = export(checkpoint("bert"), tmp_path / "bundle", precisions=("fp32",), require_fusion=True)
    assert bundle.manifest.graphs["fp32"].kind == "fused"


# Answers


def _every_answer(made_of: Path, onnx_file: Path, question: str, context: str) -> dict[tuple[int, int], float]:
    """Whole characters without blanks at the edges, and best score of every span of up to 30 tokens.

    By the offsets of the tokenizer's own encoding of the pair, as transformers gives them.
    """
    from transformers import AutoTokenizer

    encoded = AutoTokenizer.from_pretrained(made_of)(
        question, context, return_offsets_mapping=True, return_token_type_ids=True, return_tensors="np"
    )
    offsets = encoded.pop("offset_mapping")[0]
    inside = [place for place, part in enumerate(encoded.sequence_ids(0)) if part == 1]
    start, end = run_onnx(onnx_file, dict(encoded))[:, 0].astype(np.float64)
    found: dict[tuple[int, int], float] = {}
    for i in inside:
        for j in range(i, min(i + 30, inside[-1] + 1)):
            place = whole(context, int(offsets[i][0]), int(offsets[j][1]), align_to_words=False)
            found[place] = max(float(start[i] + end[j]), found.get(place, -math.inf))
    return {place: score for place, score in found.items() if place[0] < place[1]}


@every_kind
@pytest.mark.parametrize(("question", "context"), [PAIRS[1], PAIRS[4], ("Wo?", "tower bridge, zu Zürich 🌉!")])
def test_answers_have_the_tokenizers_own_offsets(kind: str, question: str, context: str) -> None:
    made = exported(kind)
    expected = _every_answer(made.checkpoint, graph_path(made.bundle, "fp32"), question, context)
    reader = Reader.load(made.bundle, precision="fp32", threads=1)
    longest = made.bundle.manifest.max_positions
    options = Options(
        max_length=longest,
        doc_stride=16,
        max_question_length=32,
        n_best=20,
        overlapping=True,
        align_to_words=False,
    )
    (prediction,) = reader.predict([Example(question, context)], options=options)
    answers = prediction.answers
    assert len(answers) == options.n_best
    assert [answer.score for answer in answers] == pytest.approx(sorted(expected.values())[:-21:-1], abs=1e-4)
    for answer in answers:
        assert context[answer.start : answer.end] == answer.text
        assert answer.score == pytest.approx(expected[answer.start, answer.end], abs=1e-4)


@pytest.mark.parametrize("kind", tiny.BYTE_LEVEL)
def test_byte_level_answers_keep_their_first_letter(kind: str) -> None:
    """Every answer of one word begins where the word does, whatever logits it got."""
    context = "tower bridge über Ærø, naïve Ωmega"
    words = [(word.start(), word.end()) for word in re.finditer(r"\S+", context)]
    reader = Reader.load(exported(kind).bundle, precision="fp32", threads=1)
    options = Options(max_length=96, doc_stride=0, max_question_length=32, n_best=10_000, overlapping=True)
    (prediction,) = reader.predict([Example("Which?", context)], options=options)
    assert {(answer.start, answer.end) for answer in prediction.answers}.issuperset(words)


# What an export can be asked for


def test_a_half_precision_checkpoint_is_stored_in_half_the_bytes_and_runs_in_float32(tmp_path: Path) -> None:
    from qa_onnx.export.half_storage import restore

    folder = copy(checkpoint("bert"), tmp_path / "half")
    load_torch(folder).half().save_pretrained(folder)
    assert json.loads((folder / "config.json").read_bytes())["dtype"] == "float16"
    bundle = export(folder, tmp_path / "bundle", precisions=("fp32",))
    model = onnx.load(graph_path(bundle, "fp32"))
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in model.graph.initializer}
    restore(model)
    assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in model.graph.initializer}
    onnx.save(model, tmp_path / "restored.onnx")
    assert graph_path(bundle, "fp32").stat().st_size < 0.7 * (tmp_path / "restored.onnx").stat().st_size
    batch = ragged_batch(folder)
    stored, restored = (run_onnx(path, batch) for path in (graph_path(bundle, "fp32"), tmp_path / "restored.onnx"))
    np.testing.assert_array_equal(stored, restored)  # to the last bit
    assert difference(graph_path(bundle, "fp32"), folder, batch) < 1e-4


def test_weights_that_float16_does_not_hold_exactly_stay_float32(tmp_path: Path) -> None:
    model = onnx.load(graph_path(exported("bert").bundle, "fp32"))
    kinds = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 2}
    assert kinds == {onnx.TensorProto.FLOAT}


def test_a_graph_stored_in_half_the_bytes_can_be_quantized_again(tmp_path: Path) -> None:
    folder = copy(checkpoint("bert"), tmp_path / "half")
    load_torch(folder).half().save_pretrained(folder)
    bundle = export(folder, tmp_path / "bundle", precisions=("fp32", "int8"))
    finished = tmp_path / "finished"
    finished.mkdir()
    shutil.copyfile(graph_path(bundle, "fp32"), finished / "model.onnx")
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copyfile(folder / name, finished / name)
    again = export(finished, tmp_path / "again", precisions=("int8",))
    first, second = (made.manifest.graphs["int8"] for made in (bundle, again))
    assert second.fused_nodes == first.fused_nodes
    assert second.file.size == pytest.approx(first.file.size, rel=0.02)


@pytest.mark.parametrize("opset", [14, 18])
def test_the_opset_is_the_one_asked_for(tmp_path: Path, opset: int) -> None:
    bundle = export(checkpoint("bert"), tmp_path / "bundle", precisions=("fp32", "int8"), opset=opset)
    for precision in bundle.manifest.graphs:
        model = onnx.load(graph_path(bundle, precision))
        assert {entry.version for entry in model.opset_import if not entry.domain} == {opset}
        assert model.ir_version <= 10
    assert bundle.manifest.graphs["fp32"].fused_nodes["Attention"] == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"opset": 13}, "opset is 13"),
        ({"opset": 19}, "opset is 19"),
        ({"precisions": ()}, "precisions are none"),
        ({"precisions": ("int4",)}, "precisions are int4"),
        ({"precisions": "int8"}, "precisions is 'int8'; it must be a list of names"),
        ({"precisions": 5}, "precisions is 5; it must be a list of names"),
        ({"precisions": [5]}, "precisions are 5; choose from"),
        ({"max_length": 31}, "max_length is 31; it must be an integer from 32 to"),
        ({"max_length": "64"}, "max_length is '64'; it must be an integer"),
        ({"opset": "17"}, "opset is '17'; it must be an integer from 14 to 18"),
        ({"to": 5}, "to is 5; it must be a str or a Path"),
        ({"replace": "yes"}, "replace is 'yes'; it must be True or False"),
        ({"evaluation": {"gate": 99}}, "evaluation is .*; it must be of type EvaluationSettings"),
        ({"max_length": 129}, "max_length is 129; tiny-roberta reads at most 128"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        export(checkpoint("roberta"), **{"to": tmp_path / "bundle", **wrong})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [None, 5, "a\0b"])
def test_a_checkpoint_that_is_no_path_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="checkpoint is "):
        export(wrong)


def test_a_checkpoint_is_checked_once_and_its_tokenizer_parsed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def count(place: str) -> None:
        module, name = place.rsplit(".", 1)
        original = getattr(importlib.import_module(module), name)

        def counted(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            return original(*arguments, **named)

        monkeypatch.setattr(place, counted)

    count("qa_onnx.export.opened.read_headers")
    count("qa_onnx.export.tokenizer_check.checked_tokenizer")
    count("qa_onnx.tokens.tokenizer_file.checked_tokenizer")  # the encoder has a tokenizer of its own
    export(checkpoint("bert"), tmp_path / "bundle", precisions=("fp32", "int8"))
    assert sorted(calls) == ["checked_tokenizer", "checked_tokenizer", "read_headers"]


def test_the_default_folder_is_named_after_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert export(checkpoint("bert")).path == Path("exported", "tiny-bert")
    assert [path.name for path in Path("exported").iterdir()] == ["tiny-bert"]


@pytest.mark.parametrize(("wanted", "length"), [(None, 128), (48, 48)])
def test_max_length_of_a_new_bundle(tmp_path: Path, wanted: int | None, length: int) -> None:
    bundle = export(checkpoint("bert"), tmp_path / "bundle", max_length=wanted)
    assert bundle.manifest.max_length == length
    assert Reader.load(bundle).options.max_length == length


def test_a_model_too_large_for_one_file_is_exported_with_its_weights_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "LARGEST", 50_000)  # of some 90,000 bytes in float32, 24,000 in int8
    text = "Marta built the tower. It stands by the river."
    (tmp_path / "held-out.jsonl").write_text(
        json.dumps({"question": "Who built it?", "context": text, "answers": ["Marta"]}) + "\n"
    )
    settings = EvaluationSettings(calibration_data=tmp_path / "held-out.jsonl")
    names = ("fp32", "fp16", "int8", "int8-static")
    bundle = export(checkpoint("bert"), tmp_path / "large", precisions=names, evaluation=settings)
    graphs = check_files(bundle.path).manifest.graphs
    data = graphs["fp32"].data
    assert data
    assert re.fullmatch(r"weights-[0-9a-f]{16}\.data", data.name)
    assert graphs["int8"].data is None
    assert bundle.manifest.format_version == (1, 2)
    monkeypatch.undo()
    whole = export(checkpoint("bert"), tmp_path / "whole", precisions=names, evaluation=settings)
    assert whole.manifest.format_version == (1, 0)
    batch = ragged_batch(checkpoint("bert"))
    for name in names:
        assert difference(graph_path(bundle, name), graph_path(whole, name), batch) == 0, name
    example = ("Who built it?", text)
    assert Reader.load(bundle, precision="fp32").ask(*example) == Reader.load(whole, precision="fp32").ask(
        *example
    )
    added = export(checkpoint("bert"), bundle.path, precisions=("int8",))  # and what it is beside stays
    assert check_files(added.path).graph("fp32").data == data
    path = bundle.path / data.name
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(BundleError, match=r"weights-.* was changed or damaged"):
        Reader.load(bundle, precision="fp32")


# Into a bundle that is there


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A bundle of the tiny BERT in fp32 and int8, and a file of the user's."""
    folder = copy(exported("bert").bundle.path, tmp_path / "bundle")
    (folder / "README.md").write_text("Made for the harbour office.\n")
    return folder


def other_source(to: Path) -> Path:
    """The tiny BERT with a changed weight."""
    folder = copy(checkpoint("bert"), to)
    model = load_torch(folder)
    model.qa_outputs.bias.data += 1.0
    model.save_pretrained(folder)
    return folder


def test_precisions_are_added_one_by_one(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    first = export(checkpoint("bert"), folder, precisions=("fp32",), max_length=64)
    second = export(checkpoint("bert"), folder, precisions=("int8",))
    assert second.manifest.graphs["fp32"] == first.manifest.graphs["fp32"]
    assert set(check_files(folder).manifest.graphs) == {"fp32", "int8"}
    assert second.manifest.max_length == 64
    assert len(list(folder.iterdir())) == 6


def test_the_same_export_again_gives_the_same_files(old: Path) -> None:
    before = snapshot(old)
    export(checkpoint("bert"), old, precisions=("int8", "fp32"))
    after = snapshot(old)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {"bundle.json"}


def test_calibration_stays(old: Path) -> None:
    edit_json(old / "bundle.json", lambda content: content.update(temperature=1.5, null_threshold=-2.0))
    manifest = export(checkpoint("bert"), old).manifest
    assert (manifest.temperature, manifest.null_threshold) == (1.5, -2.0)


def test_another_source_is_refused(old: Path, tmp_path: Path) -> None:
    before = snapshot(old)
    with pytest.raises(ExportError, match=r"a bundle of tiny-bert .* not of this source"):
        export(other_source(tmp_path / "other"), old)
    assert snapshot(old) == before


def test_another_tokenizer_is_another_source(old: Path, tmp_path: Path) -> None:
    folder = copy(checkpoint("bert"), tmp_path / "other")
    edit_json(folder / "tokenizer.json", lambda content: content["normalizer"].update(lowercase=False))
    with pytest.raises(ExportError, match="not of this source"):
        export(folder, old)


def test_replace_writes_over_another_source_and_keeps_foreign_files(old: Path, tmp_path: Path) -> None:
    edit_json(old / "bundle.json", lambda content: content.update(max_length=48, temperature=2.0))
    other = other_source(tmp_path / "other")
    manifest = export(other, old, replace=True).manifest
    assert list(manifest.graphs) == ["int8"]
    assert manifest.source.name == "other"
    assert manifest.temperature == 1.0
    assert manifest.max_length == 128, "that of the bundle that was thrown away"
    named = {entry.name for entry in check_files(old).manifest.files()}
    assert {path.name for path in old.iterdir()} == {*named, "bundle.json", "README.md"}


def test_replace_keeps_what_is_of_the_same_source(old: Path) -> None:
    assert set(export(checkpoint("bert"), old, replace=True).manifest.graphs) == {"fp32", "int8"}


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": "qa-onnx bundle", "format_version": "1.0"}'])
def test_a_damaged_manifest_is_replaced_only_when_asked(old: Path, damage: str) -> None:
    (old / "bundle.json").write_text(damage)
    before = snapshot(old)
    with pytest.raises(ExportError, match="--replace"):
        export(checkpoint("bert"), old)
    assert snapshot(old) == before
    export(checkpoint("bert"), old, replace=True)
    assert set(check_files(old).manifest.graphs) == {"int8"}
    assert len(list(old.iterdir())) == 5


@pytest.mark.parametrize("which", ["tokenizer", "model", "golden"])
@pytest.mark.parametrize("missing", [False, True])
def test_damaged_files_are_not_kept(old: Path, which: str, missing: bool) -> None:
    manifest = exported("bert").bundle.manifest
    fp32 = manifest.graphs["fp32"]
    path = old / {"tokenizer": manifest.tokenizer, "model": fp32.file, "golden": fp32.golden}[which].name
    if missing:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[::-1])
    before = snapshot(old)
    with pytest.raises(ExportError, match="--replace"):
        export(checkpoint("bert"), old, precisions=("int8",))
    assert snapshot(old) == before
    export(checkpoint("bert"), old, precisions=("int8",), replace=True)
    assert set(check_files(old).manifest.graphs) == {"int8"}


def test_a_damaged_graph_is_repaired_by_exporting_it_again(old: Path) -> None:
    path = old / exported("bert").bundle.manifest.graphs["int8"].file.name
    path.write_bytes(b"")
    export(checkpoint("bert"), old, precisions=("int8",))
    assert set(check_files(old).manifest.graphs) == {"fp32", "int8"}


def test_a_bundle_of_a_newer_release_is_never_written_over(old: Path) -> None:
    edit_json(old / "bundle.json", lambda content: content.update(format_version="9.0"))
    before = snapshot(old)
    with pytest.raises(BundleFormatError, match=r"9\.0"):
        export(checkpoint("bert"), old, replace=True)
    assert snapshot(old) == before


# Failures


def fail_at(monkeypatch: pytest.MonkeyPatch, place: str, error: BaseException) -> None:
    """Let a function, named with its module, raise instead of what it does."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(place, fail)


def test_a_full_disk_leaves_the_old_bundle(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(old)
    with monkeypatch.context() as patch:
        fail_at(patch, "onnx.save", OSError(28, "No space left on device"))
        with pytest.raises(ExportError, match="No space left on device"):
            export(checkpoint("bert"), old, precisions=("fp32", "int8"), max_length=64)
    assert snapshot(old) == before


@pytest.mark.parametrize(
    "place",
    [
        "export.checkpoint.load_tokenizer",
        "export.parity.compare",
        "export.quantize.to_int8",
        "export.writer.Writer.commit",
    ],
)
def test_an_interrupted_export_leaves_the_old_bundle(
    old: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    before = snapshot(old)
    with monkeypatch.context() as patch:
        fail_at(patch, f"qa_onnx.{place}", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            export(checkpoint("bert"), old, precisions=("fp32", "int8"), max_length=64)
        with pytest.raises(KeyboardInterrupt):
            export(checkpoint("bert"), old.parent / "new")
    assert snapshot(old) == before
    assert not (old.parent / "new").exists()


# The host's process stays as it was

_HOST = """
import logging, os, sys
import torch._dynamo  # it sets a variable when it is imported
from pathlib import Path
from qa_onnx.export import export

torch.set_num_threads(1)

def state():
    import huggingface_hub.utils, transformers
    return (
        dict(os.environ),
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads(), torch.initial_seed(),
        logging.root.level, logging.root.handlers[:], logging.root.manager.disable, logging.lastResort,
        logging.getLogger("transformers").level, logging.getLogger("transformers").handlers[:],
        transformers.utils.logging.is_progress_bar_enabled(),
        huggingface_hub.utils.are_progress_bars_disabled(),
    )

before = state()
for checkpoint in sys.argv[1:]:
    export(checkpoint, Path(checkpoint).name, precisions=("fp32", "int8"))
after = state()
assert after == before, [pair for pair in zip(before, after) if pair[0] != pair[1]]
"""


@pytest.mark.slow
def test_a_library_call_prints_nothing_and_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    """Also of a kind that is exported with a warning, and of a tokenizer that has to be converted."""
    plain = without_tokenizer_json(checkpoint("bert"), tmp_path / "plain")
    done = subprocess.run(
        [sys.executable, "-c", _HOST, checkpoint("albert"), plain],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_windows_of_another_length_cannot_join_what_was_measured(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    export(checkpoint("bert"), folder, precisions=("fp32",), max_length=128)
    with pytest.raises(
        ExportError, match=r"has windows of 128 tokens, which fp32 were measured with: .*--replace"
    ):
        export(checkpoint("bert"), folder, precisions=("int8",), max_length=96)
    assert list(check_files(folder).manifest.graphs) == ["fp32"]
    replaced = export(checkpoint("bert"), folder, precisions=("int8",), max_length=96, replace=True)
    assert (list(replaced.manifest.graphs), replaced.manifest.max_length) == (["int8"], 96)
    again = export(checkpoint("bert"), folder, precisions=("int8",), max_length=128)
    assert again.manifest.max_length == 128
