"""What a reader runs if its caller names nothing: by the CPU, what the bundle measured, and what is installed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from qa_onnx import Bundle, Reader
from qa_onnx.bundle import choice
from qa_onnx.bundle.choice import advise, choose, explain
from qa_onnx.bundle.runtime import resolve_runtime
from qa_onnx.engines.names import PRECISIONS, backends_of
from qa_onnx.errors import MissingExtraError
from qa_onnx.machine import cpu
from tests.receipts import receipt

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.engines.names import Backend

OLD = ("avx2",)
VNNI = ("avx2", "avx512f", "avx512_vnni")
BF16 = (*VNNI, "avx512_bf16")
AMX = (*BF16, "amx_int8", "amx_bf16")


@pytest.fixture(autouse=True)
def untuned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def holding(tiny: Bundle, **percents: float | None) -> Bundle:
    """Return a bundle with these precisions, and the share of fp32's F1 in their receipts; None: no receipt."""
    graphs = {
        name.replace("_", "-"): structs.replace(
            tiny.graph("fp32"),
            backends=tuple(map(str, backends_of(name.replace("_", "-")))),
            receipt=None if percent is None else receipt(percent, gate=99.0),
        )
        for name, percent in percents.items()
    }
    return replace(tiny, manifest=replace(tiny.manifest, graphs=graphs))


def installed(monkeypatch: pytest.MonkeyPatch, *, openvino: bool) -> None:
    def check(backend: Backend) -> None:
        if backend.engine == "openvino" and not openvino:
            raise MissingExtraError("OpenVINO is not installed")

    monkeypatch.setattr(choice, "check_usable", check)


ALL = {"fp32": 100.0, "int8": 99.5, "int8_static": 99.8, "bf16": 100.0, "int8_static_bf16": 99.8}


@pytest.mark.parametrize(
    ("sets", "openvino", "changes", "expected"),
    [
        (AMX, True, {}, "int8-static-bf16 in openvino/cpu"),
        (BF16, True, {}, "int8 in onnxruntime/cpu"),  # int8-static-bf16 in OpenVINO is too close
        (VNNI, True, {}, "int8 in onnxruntime/cpu"),
        (OLD, True, {}, "int8 in onnxruntime/cpu"),
        ((), True, {}, "int8 in onnxruntime/cpu"),
        (AMX, False, {}, "int8 in onnxruntime/cpu"),
        # A receipt below its gate, or none at all, keeps a precision from being chosen.
        (AMX, True, {"int8_static_bf16": 98.9}, "int8-static in openvino/cpu"),
        (AMX, True, {"int8_static_bf16": None, "int8_static": None}, "bf16 in openvino/cpu"),
        (AMX, True, dict.fromkeys(ALL, None), "int8 in onnxruntime/cpu"),
    ],
)
def test_the_choice_follows_the_cpu_the_receipts_and_the_engines(
    sets: tuple[str, ...],
    openvino: bool,
    changes: dict[str, float | None],
    expected: str,
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu, "instruction_sets", lambda: sets)
    installed(monkeypatch, openvino=openvino)
    bundle = holding(tiny_bundle, **{**ALL, **changes})
    assert str(choose(bundle)) == expected
    assert explain(bundle, None).startswith(f"{expected}, the fastest that is known for a CPU with ")
    named: dict[str, Any] = {"precision": None, "device": None, "engine": None, "threads": None}
    found = resolve_runtime(bundle, **named)
    assert f"{found.precision} in {found.backend}" == expected
    for name, value in (("precision", "fp32"), ("engine", "onnxruntime")):  # what is named is used
        found = resolve_runtime(bundle, **{**named, name: value})
        assert found.backend.engine == "onnxruntime"
    assert resolve_runtime(bundle, **{**named, "threads": 1}).threads == 1


@pytest.mark.parametrize(
    ("sets", "openvino", "held", "what", "steps"),
    [
        (AMX, False, ALL, "int8-static-bf16 in openvino/cpu would answer about 1.4 times", ["qa-onnx[openvino]"]),
        (AMX, True, ALL, None, []),
        (OLD, False, ALL, None, []),
        (
            AMX, False, {"fp32": 100.0, "int8": 99.5},
            "int8-static-bf16 in openvino/cpu would answer about 1.4 times",
            ["qa-onnx[openvino]", "--precision int8-static-bf16 --calibration-data FILE --eval-data FILE"],
        ),
        # What the bundle measured and found wanting is not advised.
        (
            AMX, True,
            {"fp32": 100.0, "int8": 99.5, "int8_static_bf16": 97.0, "int8_static": 97.0, "bf16": 98.0}, None, [],
        ),
    ],
)  # fmt: skip
def test_what_would_be_faster_is_said_with_what_to_do(
    sets: tuple[str, ...],
    openvino: bool,
    held: dict[str, float | None],
    what: str | None,
    steps: list[str],
    tiny_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu, "instruction_sets", lambda: sets)
    installed(monkeypatch, openvino=openvino)
    advice = advise(holding(tiny_bundle, **held), None)
    assert (advice is None) == (what is None)
    if advice and what:
        assert advice[0].startswith(what)
        assert all(step in advice[1] for step in steps)


def test_every_speed_is_of_a_precision_that_its_engine_runs() -> None:
    for speeds in choice._SPEEDS.values():
        for precision, backend in speeds:
            assert backend in PRECISIONS[precision].ranks


def test_a_reader_says_what_it_runs(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "instruction_sets", lambda: AMX)
    reader = Reader.load(tiny_bundle)
    assert (reader.precision, str(reader.backend)) == ("int8", "onnxruntime/cpu")  # nothing else has a receipt
