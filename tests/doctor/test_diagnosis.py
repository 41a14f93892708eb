"""Diagnosis: what keeps from working what was asked for, what else is wrong, and that each has its remedy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from qa_onnx.doctor.diagnosis import diagnose
from qa_onnx.doctor.findings import BundleState, Findings, look_at
from qa_onnx.doctor.trial import UNFIT, Trial
from qa_onnx.evaluation.golden import GoldenCheck
from qa_onnx.machine import cpu
from qa_onnx.machine.nvidia import Gpu, Library, Nvidia
from qa_onnx.machine.packages import Installed
from tests.conftest import TINY, edit_manifest

pytestmark = pytest.mark.cpu

CPU, CUDA, OPENVINO = "onnxruntime/cpu", "onnxruntime/cuda", "openvino/cpu"
PASSED = GoldenCheck(windows=4, max_abs=0.0, tolerance=1.0)
NO_GPU = Nvidia(driver=None, gpus=(), nvidia_smi_error=None, cuda=None, libraries=(), wheels={})
GPU = Nvidia(
    driver="580.1",
    gpus=(Gpu("NVIDIA A10", 24_000),),
    nvidia_smi_error=None,
    cuda="13.0",
    libraries=(Library("libcudnn.so.9", None),),
    wheels={},
)


@pytest.fixture(autouse=True)
def old_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU for which no other precision or engine is advised."""
    monkeypatch.setenv("QA_ONNX_INSTRUCTION_SETS", "avx2")


def ran(backend: str, precision: str, **changes: Any) -> Trial:
    trial = Trial(
        backend=backend, precision=precision, golden=PASSED, questions_per_second=9.0, right=1, questions=2
    )
    return dataclasses.replace(trial, **changes)


def failed(
    backend: str,
    error: str,
    *,
    remedy: str = "",
    precision: str | None = None,
    kind: str = "EngineError",
    log: str = "",
) -> Trial:
    return Trial(backend=backend, precision=precision, error=error, remedy=remedy, kind=kind, log=log)


def packages(**runtimes: str) -> Installed:
    return Installed(
        python="3.11.0",
        system="Linux",
        versions={},
        wheels={name.replace("_", "-"): found for name, found in runtimes.items()},
        extras={},
        unmet=(),
    )


def findings(*others: Trial, **changes: Any) -> Findings:
    """Of a machine where the default backend works, and what else is given."""
    sound = Findings(
        requested=(CPU,),
        precision=None,
        packages=packages(onnxruntime="1.32.0"),
        cpu="some CPU",
        instruction_sets=("avx2", "avx512_vnni"),
        cores=cpu.Cores(logical=4, physical=4, allowed=4, usable=4, quota=None),
        load=None,
        memory=cpu.Memory(total=None, available=None, limit=None),
        environment={},
        gpu=NO_GPU,
        bundle=look_at(TINY),
        trials=(ran(CPU, "int8"), ran(CPU, "fp32"), *others),
    )
    return dataclasses.replace(sound, **changes)


def test_nothing_is_wrong() -> None:
    found = diagnose(findings(failed(CUDA, "no", remedy="pip install it", kind="MissingExtraError")))
    assert found.ok
    assert (found.problems, found.notes) == ((), ())


def test_a_gpu_that_onnx_runtime_was_not_built_for_is_a_note() -> None:
    unused = dataclasses.replace(GPU, cuda=None)
    cannot = failed(CUDA, "no CUDA in it", remedy="pip install 'qa-onnx[gpu]'", kind="MissingExtraError")
    (note,) = diagnose(findings(cannot, gpu=unused)).notes
    assert note.what == f"{GPU.gpus[0].name} is not used: no CUDA in it"
    assert note.remedy == "pip install 'qa-onnx[gpu]', then --device cuda"
    assert diagnose(findings(cannot, gpu=NO_GPU)).notes == ()
    asked = diagnose(findings(cannot, gpu=unused, requested=(CPU, CUDA)))
    assert (len(asked.problems), asked.notes) == (1, ())
    assert diagnose(findings(ran(CUDA, "fp32"), gpu=GPU)).notes == ()


BROKEN = BundleState(path=Path("x"), is_default=False, error="x does not exist")


def test_two_wheels_are_one_problem() -> None:
    both = "both onnxruntime and onnxruntime-gpu are installed; they overwrite each other's files"
    found = diagnose(
        findings(
            packages=packages(onnxruntime="1.32.0", onnxruntime_gpu="1.31.1"),
            trials=(failed(CPU, both), failed(CUDA, both)),
            requested=(CPU, CUDA),
        )
    )
    (problem,) = found.problems
    assert "onnxruntime and onnxruntime-gpu are installed together" in problem.what
    assert problem.remedy.startswith("pip uninstall onnxruntime onnxruntime-gpu")
    assert found.notes == ()


@pytest.mark.parametrize(
    ("trial", "what", "remedy"),
    [
        (
            failed(CPU, "no ONNX Runtime", remedy="pip install it", kind="MissingExtraError"),
            "does not start: no ONNX Runtime",
            "pip install it",
        ),
        (
            failed(CPU, "ended by SIGILL", kind="crash", log="illegal"),
            "does not start: ended by SIGILL (illegal)",
            "pip install --force-reinstall onnxruntime,",
        ),
        (failed(CPU, "ended by SIGKILL", kind="crash"), "ended by SIGKILL", "smaller model"),
        (failed(CPU, "did not end", kind="timeout"), "did not end", "smaller model"),
        (failed(CPU, "no operator", precision="fp16"), "does not run fp16: no operator", "--force-reinstall"),
        (failed(OPENVINO, "no operator", precision="fp32"), "does not run fp32: no operator", "openvino"),
        (failed(CUDA, "it fell back", remedy="update it"), "does not start: it fell back", "update it"),
    ],
)
def test_an_engine_that_fails_is_a_problem_where_it_was_asked_for(trial: Trial, what: str, remedy: str) -> None:
    found = diagnose(findings(trials=(trial,), bundle=BROKEN))
    (fault,) = found.problems[1:] if trial.backend == CPU else found.notes
    assert fault.what.startswith(f"{trial.backend} ")
    assert what in fault.what
    assert remedy in fault.remedy


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (GoldenCheck(windows=4, max_abs=2.5, tolerance=1.0), "largest difference of a logit 2.5, limit 1"),
        (GoldenCheck(windows=4, max_abs=float("inf"), tolerance=1.0), "other tokens than at export"),
    ],
)
def test_a_golden_check_that_fails(check: GoldenCheck, said: str) -> None:
    (problem,) = diagnose(findings(trials=(ran(CPU, "int8", golden=check), ran(CPU, "fp32")))).problems
    assert said in problem.what
    assert "qa-onnx eval" in problem.remedy
    found = diagnose(findings(ran(OPENVINO, "fp32", golden=check)))
    assert found.ok
    assert said in found.notes[0].what


def test_other_versions_than_at_export_are_named() -> None:
    check = GoldenCheck(windows=4, max_abs=float("inf"), tolerance=1.0)
    state = look_at(TINY)
    assert state.bundle is not None
    manifest = dataclasses.replace(state.bundle.manifest, versions={"tokenizers": "0.1", "torch": "0.1"})
    state = dataclasses.replace(state, bundle=dataclasses.replace(state.bundle, manifest=manifest))
    (problem,) = diagnose(findings(trials=(ran(CPU, "int8", golden=check),), bundle=state)).problems
    assert "it was made with tokenizers 0.1 (here " in problem.remedy
    assert "torch" not in problem.remedy


@pytest.mark.parametrize(
    ("state", "said", "remedy"),
    [
        (
            BundleState(path=Path("x"), is_default=False, error="x does not exist"),
            "x does not exist",
            "bundle.json",
        ),
        (
            BundleState(path=Path("x"), is_default=False, sha256="ab", damaged=("model-1.onnx was changed",)),
            "model-1.onnx was changed",
            "export it again, or copy it again",
        ),
        (BundleState(path=Path("x"), is_default=True, error="cut"), "cut", "pip install --force-reinstall"),
    ],
)
def test_a_broken_bundle(state: BundleState, said: str, remedy: str) -> None:
    trial = Trial(backend=CPU, precision=None)
    (problem,) = diagnose(findings(bundle=state, trials=(trial,))).problems
    assert said in problem.what
    assert remedy in problem.remedy


def test_a_place_that_does_not_exist() -> None:
    (problem,) = diagnose(findings(requested=(CPU, "openvino/cuda"))).problems
    assert "'openvino' does not run on device 'cuda'" in problem.what


def test_a_bundle_without_a_precision_for_the_place(tiny_copy: Path) -> None:
    edit_manifest(tiny_copy, lambda content: content["graphs"].pop("fp32"))
    found = findings(
        Trial(backend=CUDA, precision=None), requested=(CPU, CUDA), bundle=look_at(tiny_copy), gpu=GPU
    )
    (problem,) = diagnose(found).problems
    assert problem.what.endswith("none of which runs on onnxruntime/cuda")
    assert problem.remedy.startswith(f"qa-onnx export CHECKPOINT --to {tiny_copy} --precision fp32 adds it")
    assert diagnose(dataclasses.replace(found, requested=(CPU,))).ok


def test_a_precision_that_the_bundle_does_not_hold() -> None:
    (problem,) = diagnose(findings(precision="int8-static")).problems
    assert "holds fp32, int8, not int8-static" in problem.what
    assert "--precision int8-static" in problem.remedy
    assert diagnose(findings(precision="fp32")).ok


def test_a_precision_that_does_not_run_at_the_place() -> None:
    (problem,) = diagnose(findings(ran(CUDA, "fp32"), precision="int8", requested=(CPU, CUDA), gpu=GPU)).problems
    assert "int8 of" in problem.what
    assert "runs on onnxruntime/cpu, not on onnxruntime/cuda" in problem.what
    assert problem.remedy == "choose another precision, engine or device; of this bundle fp32 does"


@pytest.fixture
def unfit(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Findings:
    """Of a bundle with bf16, on a CPU without it."""

    def change(content: dict[str, Any]) -> None:
        fp32 = content["graphs"]["fp32"]
        content["graphs"]["bf16"] = {**fp32, "engines": [OPENVINO]}
        fp32["engines"].append(OPENVINO)

    edit_manifest(tiny_copy, change)
    monkeypatch.setattr(cpu, "instruction_sets", lambda: ("avx2",))
    left_out = failed(OPENVINO, "this CPU has no bf16 (neither)", precision="bf16", kind=UNFIT)
    return findings(ran(OPENVINO, "fp32"), left_out, bundle=look_at(tiny_copy))


def test_a_cpu_without_bf16_is_no_problem(unfit: Findings) -> None:
    for asked in ((CPU,), (CPU, OPENVINO)):
        found = diagnose(dataclasses.replace(unfit, requested=asked))
        assert (found.problems, found.notes) == ((), ())
    assert diagnose(dataclasses.replace(unfit, requested=(CPU, OPENVINO), precision="fp32")).ok


def test_a_cpu_without_bf16_is_a_problem_where_that_was_asked_for(unfit: Findings) -> None:
    (problem,) = diagnose(dataclasses.replace(unfit, requested=(CPU, OPENVINO), precision="bf16")).problems
    assert problem.what == "bf16 cannot run here: this CPU has no bf16 (neither)"
    assert problem.remedy == "--precision fp32, the same graph without bf16, or another CPU"


def test_a_cpu_without_bf16_is_a_problem_where_the_bundle_has_nothing_else(
    unfit: Findings, tiny_copy: Path
) -> None:
    edit_manifest(tiny_copy, lambda content: content["graphs"]["fp32"].update(engines=[CPU]))
    starts = Trial(backend=OPENVINO, precision=None)
    trials = (ran(CPU, "int8"), starts, *(trial for trial in unfit.trials if trial.kind == UNFIT))
    found = dataclasses.replace(unfit, requested=(CPU, OPENVINO), trials=trials, bundle=look_at(tiny_copy))
    (problem,) = diagnose(found).problems
    assert "none of which runs on openvino/cpu, since this CPU has no bf16" in problem.what
    assert "--precision int8-static adds it" in problem.remedy


def test_the_way_to_a_gpu_is_that_of_the_error() -> None:
    lost = "libcublas.so.13: cannot open shared object file"
    for remedy, way in (
        ("update the driver", "update the driver"),
        ("", "pip install --force-reinstall onnxruntime-gpu"),
    ):
        error = failed(CUDA, "it fell back", log=lost, remedy=remedy)
        wheel = packages(onnxruntime_gpu="1.31.1")
        (problem,) = diagnose(findings(error, requested=(CPU, CUDA), gpu=GPU, packages=wheel)).problems
        assert problem.what == f"onnxruntime/cuda does not start: {lost}"
        assert problem.remedy.startswith(way)


def test_one_cause_is_not_told_twice() -> None:
    broken = "the installed ONNX Runtime lacks files: pip uninstall it"
    found = diagnose(findings(trials=(failed(CPU, broken), failed(CUDA, broken))))
    assert len(found.problems) == 1
    assert found.notes == ()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("OMP_NUM_THREADS", "1", "--threads 1, or Reader.load(threads=1)"),
        ("ORT_INTRA_OP_NUM_THREADS", "16", "--threads 16, or Reader.load(threads=16)"),
        ("OMP_NUM_THREADS", "4,2", "--threads N, or Reader.load(threads=N)"),
        ("OMP_NUM_THREADS", "4", None),
    ],
)
def test_variables_that_have_no_effect(name: str, value: str, remedy: str | None) -> None:
    found = diagnose(findings(environment={name: value}))
    assert found.ok
    assert [note.remedy for note in found.notes] == ([] if remedy is None else [remedy])
    assert all(f"{name}={value} has no effect" in note.what for note in found.notes)


def test_unmet_needs_are_notes() -> None:
    lacking = dataclasses.replace(packages(onnxruntime="1.1"), unmet=("onnxruntime >=1.20 (found 1.1)",))
    (note,) = diagnose(findings(packages=lacking)).notes
    assert note.what == "qa-onnx needs onnxruntime >=1.20 (found 1.1)"
    assert note.remedy == "pip install 'onnxruntime >=1.20'"
