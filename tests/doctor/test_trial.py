"""Trials: real engines in processes of their own, and what is left to say when one breaks there."""

from __future__ import annotations

import base64
import sys
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from qa_onnx import Example, Reader
from qa_onnx.bundle.folder import default_bundle
from qa_onnx.doctor import trial
from qa_onnx.doctor.trial import Job, Trial
from qa_onnx.evaluation.metrics import exact_match
from qa_onnx.evaluation.sample_questions import ITEMS
from tests.conftest import TINY, edit_manifest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cpu


def run(backend: str = "onnxruntime/cpu", precision: str | None = None, bundle: Path = TINY) -> Trial:
    return trial.run(Job(backend=backend, bundle=bundle, precision=precision, seconds=0.01))


@pytest.fixture(scope="module")
def default_answers() -> list[str]:
    """What the default model says to the questions, in this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # this CPU may be of another kind than the receipt's
        reader = Reader.load()
    examples = [Example(item.question, item.context) for item in ITEMS]
    return [reader.choose(prediction).text for prediction in reader.predict(examples)]


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `onnxruntime` of the test's own, before the real one: its __init__.py, to be written."""
    package = tmp_path / "site/onnxruntime"
    package.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(package.parent))
    return package / "__init__.py"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_precision_runs_passes_its_golden_check_and_answers(precision: str) -> None:
    found = run(precision=precision)
    assert found.error is None
    assert found.golden is not None
    assert found.golden.passed
    assert found.golden.windows > 2
    assert found.questions_per_second is not None
    assert found.questions_per_second > 0
    assert found.questions == len(ITEMS)
    assert (str(found.backend), found.precision) == ("onnxruntime/cpu", precision)


def test_right_answers_are_counted(default_answers: list[str]) -> None:
    right = sum(exact_match(text, item.answers) for text, item in zip(default_answers, ITEMS, strict=True))
    found = trial.run(Job(backend="onnxruntime/cpu", bundle=default_bundle(), precision="int8", seconds=0.01))
    assert found.right == right >= len(ITEMS) - 1  # int8 moves with the CPU


def test_a_graph_that_computes_otherwise_fails_its_golden_check(tiny_copy: Path) -> None:
    def swap(content: dict[str, dict[str, dict[str, object]]]) -> None:
        graphs = content["graphs"]
        graphs["fp32"]["golden"], graphs["int8"]["golden"] = graphs["int8"]["golden"], graphs["fp32"]["golden"]

    edit_manifest(tiny_copy, swap)
    found = run(precision="fp32", bundle=tiny_copy)
    assert found.error is None
    assert found.golden is not None
    assert not found.golden.passed


@pytest.mark.parametrize("backend", ["onnxruntime/cpu", "openvino/cpu"])
def test_an_engine_starts_without_any_bundle(backend: str, tmp_path: Path) -> None:
    if find_spec(backend.partition("/")[0]) is None:
        pytest.skip(f"{backend} is not installed")
    found = run(backend, bundle=tmp_path / "none")
    assert (found.error, found.golden, found.questions_per_second) == (None, None, None)


@pytest.mark.export
def test_the_probe_is_the_graph_that_it_is_said_to_be() -> None:
    from onnx import TensorProto, checker, helper

    names = ("start_logits", "end_logits")
    graph = helper.make_graph(
        [helper.make_node("Cast", ["input_ids"], [name], to=TensorProto.FLOAT) for name in names],
        "probe",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "T"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", "T"]) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    checker.check_model(model, full_check=True)
    assert base64.b64encode(trial.PROBE) == base64.b64encode(model.SerializeToString())


def test_a_damaged_bundle_is_the_childs_error(tiny_copy: Path) -> None:
    next(tiny_copy.glob("tokenizer-*.json")).write_text("{}")
    found = run(precision="fp32", bundle=tiny_copy)
    assert found.kind == "BundleError"
    assert "bundle.json says" in (found.error or "")


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("raise ImportError('libonnxruntime.so: file too short')", "MissingExtraError", "file too short"),
        (
            "import os\nprint('{}')\nos.write(1, b'noise')\nraise ImportError('no result')",
            "MissingExtraError",
            "no result",
        ),
        ("raise RuntimeError('built for another Python')", "RuntimeError", "built for another Python"),
        ("raise RuntimeError", "RuntimeError", "RuntimeError()"),
        ("", "EngineError", "lacks files"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "crash", "ran out of memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crash", "SIGSEGV"),
        ("import os; os._exit(3)", "crash", "exit code 3"),
        ("raise SystemExit(4)", "crash", "exit code 4"),
    ],
)
def test_a_broken_runtime_breaks_the_child_alone(runtime: Path, code: str, kind: str, said: str) -> None:
    runtime.write_text(code)
    found = run(precision="fp32")
    assert found.kind == kind
    assert said in (found.error or "")


def test_the_last_words_of_a_process_that_died_are_kept(runtime: Path) -> None:
    runtime.write_text(
        "import os\nos.write(2, b'first\\n\\x1b[1;31m[E:onnxruntime:Default, x.cc:1 f] [ONNXRuntimeError] : 1 : "
        "FAIL : no such library\\x1b[m\\nlast\\n')\nos._exit(1)"
    )
    assert run().log == "no such library"
    runtime.write_text("import os\nos.write(2, b'first\\nlast\\n')\nos._exit(1)")
    assert run().log == "last"


def test_an_engine_that_computes_wrongly_does_not_start(runtime: Path) -> None:
    runtime.write_text(
        "import types\n__version__ = '0'\nRunOptions = types.SimpleNamespace\n"
        "SessionOptions = lambda: types.SimpleNamespace("
        "add_session_config_entry=lambda *_: None)\n"
        "get_available_providers = lambda: ['CPUExecutionProvider']\n"
        "class InferenceSession:\n"
        "    def __init__(self, *_, **__): pass\n"
        "    get_providers = lambda self: ['CPUExecutionProvider']\n"
        "    get_outputs = lambda self: [types.SimpleNamespace(name=n) for n in ('start_logits', 'end_logits')]\n"
        "    get_inputs = lambda self: [types.SimpleNamespace(name='input_ids')]\n"
        "    def run(self, outputs, inputs, options):\n"
        "        ids = inputs['input_ids'].astype('f4')\n"
        "        return [ids, ids + 1]\n"
    )
    found = run()
    assert found.kind == "EngineError"
    assert "onnxruntime/cpu computes wrongly" in (found.error or "")


def test_an_engine_that_hangs_is_ended(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(trial, "_LIMIT", 2)
    found = run()
    assert found.kind == "timeout"
    assert "within 2 s" in (found.error or "")


def test_a_python_that_cannot_be_started_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    found = run()
    assert found.kind == "crash"
    assert "Python cannot be started" in (found.error or "")


def test_the_working_directory_is_not_searched_for_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit(9)")
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert run().error is None


def test_every_item_is_answered_by_its_context() -> None:
    assert 8 <= len(ITEMS) <= 12
    assert len({item.question for item in ITEMS}) == len({item.context for item in ITEMS}) == len(ITEMS)
    for item in ITEMS:
        assert all(answer in item.context for answer in item.answers)
