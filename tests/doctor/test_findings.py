"""Doctor: what is tried where, and what becomes of a bundle that is broken."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx.doctor import findings, trial
from qa_onnx.doctor.trial import UNFIT, Job, Trial
from qa_onnx.engines.names import BACKENDS
from qa_onnx.machine import cpu
from tests.conftest import TINY, edit_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.cpu

ALL = [str(backend) for backend in BACKENDS]


class Runner:
    """Runs no job, but says of each what it is told to, and remembers them."""

    def __init__(self, error: Callable[[Job], str | None] = lambda _: None, kind: str = "EngineError") -> None:
        self.jobs: list[tuple[str, str | None]] = []
        self._error = error
        self._kind = kind

    def __call__(self, job: Job) -> Trial:
        self.jobs.append((job.backend, job.precision))
        error = self._error(job)
        return Trial(backend=job.backend, precision=job.precision, error=error, kind=error and self._kind)


def examine(bundle: Path, *, run: Runner | None = None, **request: Any) -> findings.Findings:
    """Findings of trials that a `Runner` makes up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "run", run or Runner())
        return findings.examine(bundle, **request)


def in_openvino(content: dict[str, Any]) -> None:
    """Let a bundle hold fp32 for OpenVINO, and bf16."""
    fp32 = content["graphs"]["fp32"]
    content["graphs"]["bf16"] = {**fp32, "engines": ["openvino/cpu"]}
    fp32["engines"].append("openvino/cpu")


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def test_every_precision_is_tried_at_every_place_that_runs_it() -> None:
    runner = Runner()
    progress: list[str] = []
    found = examine(TINY, run=runner, progress=progress.append)
    assert "trying int8 in onnxruntime/cpu" in progress
    assert runner.jobs[:3] == [
        ("onnxruntime/cpu", "int8"),
        ("onnxruntime/cpu", "fp32"),
        ("onnxruntime/cuda", "fp32"),
    ]
    assert list(dict.fromkeys(backend for backend, _ in runner.jobs)) == ALL
    assert [trial.backend for trial in found.trials] == [backend for backend, _ in runner.jobs]
    assert [trial.precision for trial in found.at("onnxruntime/cpu")] == ["int8", "fp32"]


@pytest.fixture
def int8_alone(tiny_copy: Path) -> Path:
    """A bundle that holds nothing for OpenVINO or a GPU."""
    edit_manifest(tiny_copy, lambda content: content["graphs"].pop("fp32"))
    return tiny_copy


def test_all_places_share_the_time(int8_alone: Path) -> None:
    few = findings.plan(findings.look_at(int8_alone))
    many = findings.plan(findings.look_at(TINY))
    assert sum(job.precision is not None for job in few) < sum(job.precision is not None for job in many)
    for jobs in (few, many):
        assert 0 < sum(job.seconds for job in jobs if job.precision) <= 10


def test_an_engine_that_does_not_start_is_tried_no_further() -> None:
    runner = Runner(lambda job: "broken" if job.backend == "onnxruntime/cpu" else None)
    found = examine(TINY, run=runner)
    assert [job for job in runner.jobs if job[0] == "onnxruntime/cpu"] == [
        ("onnxruntime/cpu", "int8"),
        ("onnxruntime/cpu", None),
    ]
    (trial,) = found.at("onnxruntime/cpu")
    assert (trial.precision, trial.error) == (None, "broken")


def test_an_engine_that_is_not_installed_is_tried_once() -> None:
    runner = Runner(lambda _: "not installed", kind="MissingExtraError")
    found = examine(TINY, run=runner)
    assert [backend for backend, _ in runner.jobs] == ALL
    assert {trial.precision for trial in found.trials} == {None}


def test_a_graph_that_fails_in_a_sound_engine_is_told_from_the_engine() -> None:
    runner = Runner(lambda job: "no such operator" if job.precision == "int8" else None)
    found = examine(TINY, run=runner)
    assert [(trial.precision, trial.error) for trial in found.at("onnxruntime/cpu")] == [
        ("int8", "no such operator"),
        ("fp32", None),
    ]


@pytest.mark.parametrize(
    ("engine", "device", "asked"),
    [
        ("onnxruntime", "cpu", ("onnxruntime/cpu",)),
        ("openvino", "cpu", ("onnxruntime/cpu", "openvino/cpu")),
        ("onnxruntime", "cuda", ("onnxruntime/cpu", "onnxruntime/cuda")),
    ],
)
def test_the_default_place_is_always_asked_for(engine: str, device: str, asked: tuple[str, ...]) -> None:
    assert examine(TINY, engine=engine, device=device).requested == asked


@pytest.mark.parametrize(
    ("sets", "tried", "left_out"),
    [(("amx_bf16",), ["bf16", "fp32"], []), (("avx2",), ["fp32"], ["bf16"])],
)
def test_bf16_is_tried_where_the_cpu_has_it(
    sets: tuple[str, ...],
    tried: list[str],
    left_out: list[str],
    tiny_copy: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    edit_manifest(tiny_copy, in_openvino)
    monkeypatch.setattr(cpu, "instruction_sets", lambda: sets)
    runner = Runner()
    trials = examine(tiny_copy, run=runner).at("openvino/cpu")
    assert [name for backend, name in runner.jobs if backend == "openvino/cpu"] == tried
    assert [trial.precision for trial in trials] == [*tried, *left_out]
    assert [trial.precision for trial in trials if trial.kind == UNFIT] == left_out
    assert all((trial.error or "").startswith("this CPU has no bf16") for trial in trials if trial.kind == UNFIT)


def test_an_engine_is_started_where_the_cpu_is_unfit_for_all_that_it_runs(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_manifest(tiny_copy, in_openvino)
    edit_manifest(tiny_copy, lambda content: content["graphs"]["fp32"].update(engines=["onnxruntime/cpu"]))
    monkeypatch.setattr(cpu, "instruction_sets", lambda: ("avx2",))
    runner = Runner()
    trials = examine(tiny_copy, run=runner).at("openvino/cpu")
    assert [(trial.precision, trial.kind) for trial in trials] == [(None, None), ("bf16", UNFIT)]
    broken = Runner(lambda job: "broken" if job.backend == "openvino/cpu" else None)
    (trial,) = examine(tiny_copy, run=broken).at("openvino/cpu")
    assert (trial.precision, trial.error) == (None, "broken")


def test_a_whole_bundle(tmp_path: Path) -> None:
    state = findings.look_at(TINY)
    assert state.whole
    assert not state.is_default
    assert state.sha256 == hashlib.sha256((TINY / "bundle.json").read_bytes()).hexdigest()
    assert findings.look_at(None).is_default
    none = findings.look_at(tmp_path / "none")
    assert (none.sha256, none.bundle, none.whole) == (None, None, False)


def test_a_changed_file_is_named_and_no_graph_of_it_is_run(tiny_copy: Path) -> None:
    graph = next(tiny_copy.glob("model-*.onnx"))
    flip_a_byte(graph)
    runner = Runner()
    found = examine(tiny_copy, run=runner)
    assert not found.bundle.whole
    (said,) = found.bundle.damaged
    assert graph.name in said
    assert runner.jobs == [(backend, None) for backend in ALL]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "bundle.json").unlink(), "has no bundle.json"),
        (lambda folder: (folder / "bundle.json").write_text("{"), "is not JSON"),
        (lambda folder: next(folder.glob("golden-*")).unlink(), "is missing"),
        (
            lambda folder: edit_manifest(folder, lambda content: content.pop("inputs")),
            "missing required field `inputs`",
        ),
    ],
)
def test_a_bundle_that_cannot_be_loaded_is_a_finding(
    tiny_copy: Path, harm: Callable[[Path], object], said: str
) -> None:
    harm(tiny_copy)
    runner = Runner()
    found = examine(tiny_copy, run=runner)
    assert said in (found.bundle.error or "")
    assert not found.bundle.whole
    assert runner.jobs == [(backend, None) for backend in ALL]


@pytest.mark.parametrize(
    ("backend", "kind", "error", "log", "reason"),
    [
        ("onnxruntime/cpu", "EngineError", "two\n lines", "", "two lines"),
        ("onnxruntime/cuda", "EngineError", "most likely this", "that", "that"),
        ("onnxruntime/cuda", "EngineError", "it was that", "that", "it was that"),
        ("onnxruntime/cpu", "crash", "it ended", "its last line", "it ended (its last line)"),
    ],
)
def test_the_reason_is_the_most_exact_word(backend: str, kind: str, error: str, log: str, reason: str) -> None:
    assert Trial(backend=backend, precision=None, error=error, kind=kind, log=log).reason == reason
