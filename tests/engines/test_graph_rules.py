"""Graphs that may not reach an engine: each is refused with its own words, and no engine is asked."""

from __future__ import annotations

import contextlib
import hashlib
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from qa_onnx import Bundle, BundleError, EngineError, OnnxSession, Reader
from qa_onnx.bundle.packed import pack
from qa_onnx.engines import onnx_cpu, openvino_cpu
from qa_onnx.engines.graph_rules import check_graph
from tests.conftest import TINY, edit_manifest
from tests.exports import graph_path

onnx = pytest.importorskip("onnx", reason="needs qa-onnx[quantize]")

from tests.engines import hostile  # noqa: E402  # it makes the graphs with onnx


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engines that were given a graph."""
    import onnxruntime

    calls: list[str] = []

    def spy(name: str) -> Any:
        def call(*_: Any, **__: Any) -> None:
            calls.append(name)
            raise AssertionError(f"{name} was reached")

        return call

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy("onnxruntime"))
    try:
        import openvino
        from openvino import frontend
    except ImportError:
        return calls
    monkeypatch.setattr(openvino, "Core", spy("openvino"))
    monkeypatch.setattr(frontend, "FrontEndManager", spy("openvino"))
    return calls


def put(folder: Path, graph: bytes, data: bytes | None = None) -> Path:
    """Make a graph the fp32 of a bundle, for every engine, with the right size and hash."""

    def entry(kind: str, content: bytes, ending: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        name = hostile.DATA if ending == "data" else f"{kind}-{digest[:16]}.{ending}"
        (folder / name).write_bytes(content)
        return {"name": name, "size": len(content), "sha256": digest}

    def change(content: dict[str, Any]) -> None:
        fp32 = content["graphs"]["fp32"]
        fp32 |= {"file": entry("model", graph, "onnx"), "kind": "plain", "fused_nodes": {}}
        fp32["engines"] = ["onnxruntime/cpu", "openvino/cpu"]
        if data is not None:
            fp32["data"] = entry("weights", data, "data")
        content["inputs"] = ["input_ids"]

    edit_manifest(folder, change)
    return folder


@pytest.mark.parametrize("name", hostile.SAMPLES)
def test_a_hostile_graph_reaches_no_engine(name: str, tiny_copy: Path, reached: list[str]) -> None:
    graph, words = hostile.SAMPLES[name]
    put(tiny_copy, graph, bytes(hostile.DATA_SIZE))
    for engine in ("onnxruntime", "openvino"):
        if engine == "openvino":
            pytest.importorskip("openvino")
        with pytest.raises(EngineError) as refused:
            Reader.load(tiny_copy, precision="fp32", engine=engine)
        assert "is refused, and no engine has opened it: " in str(refused.value)
        assert words in str(refused.value)
    with pytest.raises(EngineError, match="is refused"):  # also outside of a bundle
        OnnxSession(next(path for path in tiny_copy.glob("model-*.onnx") if path.read_bytes() == graph))
    assert reached == []


def allowed() -> bytes:
    """The graph of the samples, with weights beside it where they may be, and a branch as torch writes it."""
    weights = hostile.outside(hostile.DATA, dims=[2], offset=8, length=8)
    inner = hostile.branch(onnx.helper.make_node("Squeeze", ["size"], ["b"]))
    added = [*hostile.CONDITION, hostile.choice(inner), onnx.helper.make_node("Neg", ["w"], ["minus w"])]
    return hostile.model(*added, tensors=[weights, hostile.ints("one", 1), hostile.floats("f", 3)])


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "file"])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_weights_beside_a_graph_are_copied_to_a_private_folder(
    tiny_copy: Path, engine: Any, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So what was hashed is what the engine reads by its path, and nothing stays behind."""
    pytest.importorskip(engine)
    module, name = (onnx_cpu, "_load") if engine == "onnxruntime" else (openvino_cpu, "_read")
    load, opened = getattr(module, name), []

    def note(*arguments: Any) -> Any:
        path = next(one for one in arguments if isinstance(one, Path))
        files = {one.name: one.read_bytes() for one in path.parent.iterdir()}
        opened.append((path, stat.S_IMODE(path.parent.stat().st_mode), files))
        return load(*arguments)

    monkeypatch.setattr(module, name, note)
    bundle = Bundle.load(put(tiny_copy, allowed(), bytes(hostile.DATA_SIZE)))
    place = pack(bundle, tiny_copy / "all.qab") if packed else tiny_copy
    reader = Reader.load(place, precision="fp32", engine=engine)
    assert reader.ask("Who?", "The keeper.")
    [(path, mode, files)] = opened
    assert mode == 0o700
    assert files == {bundle.graph("fp32").file.name: allowed(), hostile.DATA: bytes(hostile.DATA_SIZE)}
    assert tiny_copy not in path.parents
    assert not path.parent.exists()


def test_weights_that_cannot_be_copied_are_named(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tiny_copy, allowed(), bytes(hostile.DATA_SIZE))
    monkeypatch.setattr(tempfile, "tempdir", str(tiny_copy / "full"))
    with pytest.raises(BundleError, match=r"the weights of .*, 64 bytes, cannot be copied: .*set TMPDIR"):
        Reader.load(tiny_copy, precision="fp32")


def test_names_are_escaped_and_short() -> None:
    evil = "\x1b[31m\n" + "x" * 1_000_000
    graph = hostile.model(onnx.helper.make_node("Loop", [], [], name=evil, domain=evil))
    with pytest.raises(EngineError) as refused:
        check_graph(graph, "model.onnx")
    assert "\\x1b[31m\\nxxx" in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_cut_is_refused_and_no_byte_crashes_the_check(tiny_bundle: Bundle, precision: str) -> None:
    graph = graph_path(tiny_bundle, precision).read_bytes()
    check_graph(graph, "model.onnx")
    step = len(graph) // 97
    for at in range(0, len(graph), step):
        with pytest.raises(EngineError):
            check_graph(graph[:at], "model.onnx")
        for byte in (0, 0x7F, 0xFF):
            with contextlib.suppress(EngineError):  # a changed weight breaks no rule
                check_graph(graph[:at] + bytes([byte]) + graph[at + 1 :], "model.onnx")


def test_the_shipped_bundles_pass() -> None:
    from qa_onnx.bundle.folder import default_bundle

    for folder in (TINY, default_bundle()):
        for path in folder.glob("*.onnx"):
            check_graph(path.read_bytes(), path.name)


def test_the_messages_are_those_of_onnx() -> None:
    """The fields that the reader knows are the format's, with their wire types. It refuses newer ones."""
    from qa_onnx.engines import onnx_messages as ours
    from qa_onnx.engines.wire import BYTES, FIXED32, FIXED64, INTEGER

    types = {
        1: FIXED64,
        2: FIXED32,
        3: INTEGER,
        4: INTEGER,
        5: INTEGER,
        9: BYTES,
        11: BYTES,
        12: BYTES,
        14: INTEGER,
    }
    pairs = {
        onnx.ModelProto: ours.MODEL,
        onnx.OperatorSetIdProto: ours.OPSET,
        onnx.GraphProto: ours.GRAPH,
        onnx.NodeProto: ours.NODE,
        onnx.AttributeProto: ours.ATTRIBUTE,
        onnx.TensorProto: ours.TENSOR,
        onnx.StringStringEntryProto: ours.ENTRY,
        onnx.ValueInfoProto: ours.VALUE,
        onnx.TypeProto.Tensor: ours.TENSOR_TYPE,
        onnx.TensorShapeProto: ours.SHAPE,
        onnx.TensorShapeProto.Dimension: ours.DIMENSION,
    }
    for message, known in pairs.items():
        for field in message.DESCRIPTOR.fields:
            place = known.repeated if field.is_repeated else known.single
            assert place.get(field.number, types[field.type]) == types[field.type], (message, field.name)
            assert field.number not in (known.single if field.is_repeated else known.repeated), (
                message,
                field.name,
            )
