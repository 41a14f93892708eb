"""GpuSession without a GPU: a stand-in for onnxruntime-gpu computes on the CPU, and records the calls.

Tests that need a GPU are in test_on_gpu.py.
"""

from __future__ import annotations

import pickle
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import (
    DeviceError,
    EngineError,
    MissingExtraError,
    OnnxSession,
    Reader,
)
from qa_onnx.engines import onnx_gpu
from qa_onnx.engines.onnx_gpu import CUDA_OPTIONS, GpuPlan, GpuSession
from qa_onnx.engines.tensorrt import provider_options
from qa_onnx.machine import nvidia
from tests.conftest import TINY
from tests.engines.conftest import assert_same, batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

ALL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
CUDA = ALL[1:]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Binding:
    """A binding that refuses to serve two calls at once, and outputs that are not on the GPU."""

    def __init__(self, real: Any, notes: Notes) -> None:
        self._real, self._notes = real, notes
        self._busy = threading.Lock()

    def bind_cpu_input(self, name: str, array: NDArray[np.int64]) -> None:
        if name == "input_ids":
            assert self._busy.acquire(blocking=False), "one binding, two calls"
            self._notes.ids.append(array.copy())
        self._real.bind_cpu_input(name, array)

    def bind_output(self, name: str, device: str) -> None:
        assert device == "cuda"
        self._real.bind_output(name, "cpu")

    def clear_binding_outputs(self) -> None:
        self._real.clear_binding_outputs()
        self._busy.release()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Notes(types.ModuleType):
    """The stand-in for the module onnxruntime, and the calls that it got."""

    __version__ = "1.31.1"
    cuda_version = "13.0"

    def __init__(self, real: Any, folder: Path) -> None:
        super().__init__("onnxruntime")
        self.real, self.available, self.used = real, ALL, CUDA
        self.__file__ = str(folder / "__init__.py")
        self.opened: list[dict[str, Any]] = []
        self.ids: list[NDArray[np.int64]] = []  # of each run, as they reach the device
        self.bindings: list[Binding] = []
        self.preloaded = 0
        self.fallback = True
        self.fails: dict[str, Exception] = {}
        self.SessionOptions, self.RunOptions = real.SessionOptions, real.RunOptions

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [ids.shape for ids in self.ids]

    def get_available_providers(self) -> list[str]:
        return self.available

    def preload_dlls(self) -> None:
        self.preloaded += 1

    def InferenceSession(self, model: bytes, options: Any, **arguments: Any) -> Any:  # noqa: N802 - its name
        notes = self
        if "open" in self.fails:
            raise self.fails["open"]
        self.opened.append({"model": model, **arguments})
        real = self.real.InferenceSession(model, options, providers=["CPUExecutionProvider"])

        class Session:
            def disable_fallback(self) -> None:
                notes.fallback = False

            def get_providers(self) -> list[str]:
                return notes.used

            def io_binding(self) -> Binding:
                notes.bindings.append(Binding(real.io_binding(), notes))
                return notes.bindings[-1]

            def run_with_iobinding(self, binding: Binding, options: Any) -> None:
                if "run" in notes.fails:
                    raise notes.fails["run"]
                real.run_with_iobinding(binding._real, options)

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        return Session()


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notes]:
    import onnxruntime

    notes = Notes(onnxruntime, tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", notes)
    monkeypatch.setattr(nvidia, "usable_gpu", lambda cuda, tensorrt: "NVIDIA H100")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return notes


@pytest.fixture(scope="module")
def expected(graph: Path) -> OnnxSession:
    return OnnxSession(graph, threads=1)


def plan(**changes: Any) -> GpuPlan:
    return GpuPlan(**{"inputs": INPUTS, "longest": 128, **changes})


def test_batches_run_in_buckets_and_give_the_logits_of_their_own_length(
    graph: Path, runtime: Notes, expected: OnnxSession
) -> None:
    session = pickle.loads(pickle.dumps(GpuSession(graph, plan(pad_id=9))))
    assert session.input_names == INPUTS
    assert session.leaves_cpu_idle
    for rows, tokens in ((1, 5), (3, 32), (2, 33), (1, 100), (4, 128)):
        inputs = batch(rows, tokens)
        assert_same(session.run(inputs), expected.run(inputs), inputs)
    assert runtime.shapes == [(1, 32), (3, 32), (2, 64), (1, 128), (4, 128)]
    assert runtime.ids[0][0, 5:].tolist() == [9] * 27
    assert runtime.opened[0] == runtime.opened[1]


def test_no_two_calls_share_a_binding(graph: Path, runtime: Notes, expected: OnnxSession) -> None:
    session = GpuSession(graph, plan())
    inputs = [batch(1 + seed % 3, 10 + seed % 50, seed=seed) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(session.run, inputs))
    for one, logits in zip(inputs, results, strict=True):
        assert_same(logits, expected.run(one), one)
    assert 1 <= len(runtime.bindings) <= 8


def test_cuda_gets_its_options_and_no_fallback(graph: Path, runtime: Notes) -> None:
    GpuSession(graph, plan())
    [opened] = runtime.opened
    assert opened["model"] == graph.read_bytes()
    assert opened["enable_fallback"] == 0
    assert not runtime.fallback
    [(name, options)] = opened["providers"]
    assert name == "CUDAExecutionProvider"
    assert options == {"arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
    assert runtime.preloaded == 1


def test_tensorrt_comes_before_cuda_and_large_batches_are_cut(
    graph: Path, runtime: Notes, expected: OnnxSession, tmp_path: Path
) -> None:
    runtime.used = ALL
    session = GpuSession(graph, plan(engine="tensorrt", precision="fp16"))
    [(first, options), (second, _)] = runtime.opened[0]["providers"]
    assert (first, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert options["trt_profile_max_shapes"] == ",".join(f"{name}:64x128" for name in INPUTS)
    assert options["trt_fp16_enable"] == "True"
    assert options["trt_engine_cache_path"].startswith(str(tmp_path / "cache"))
    inputs = batch(150, 16)
    inputs["attention_mask"][:] = 1
    assert_same(session.run(inputs), expected.run(inputs), inputs)
    assert runtime.shapes == [(64, 32), (64, 32), (22, 32)]


@pytest.mark.parametrize(
    ("engine", "has", "problem"),
    [("onnxruntime", [], "cannot use device 'cuda'"), ("tensorrt", CUDA, "cannot use TensorRT")],
)
@pytest.mark.parametrize("why_not", [None, "no such file"])
def test_a_wheel_without_the_provider_names_the_remedy(
    graph: Path,
    runtime: Notes,
    engine: Any,
    has: list[str],
    problem: str,
    why_not: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime.available = has
    monkeypatch.setattr(nvidia, "load_library", lambda name: nvidia.Library(name, why_not))
    no_driver = ", and no NVIDIA driver was found: install the driver, .* lists a GPU" if why_not else ""
    remedy = "[:;] pip uninstall onnxruntime, then pip install 'qa-onnx\\[gpu\\]'$"
    with pytest.raises(MissingExtraError, match=f"{problem}{no_driver}{remedy}"):
        GpuSession(graph, plan(engine=engine))
    assert not runtime.opened


def test_a_gpu_that_cannot_be_used_is_refused_before_anything_is_opened(
    graph: Path, runtime: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[tuple[str, bool]] = []

    def usable_gpu(cuda: str, *, tensorrt: bool) -> str:
        checked.append((cuda, tensorrt))
        raise DeviceError("no NVIDIA driver", remedy="install it")

    monkeypatch.setattr(nvidia, "usable_gpu", usable_gpu)
    for engine in ("onnxruntime", "tensorrt"):
        with pytest.raises(DeviceError, match=r"^no NVIDIA driver: install it$"):
            GpuSession(graph, plan(engine=engine))
    assert checked == [("13.0", False), ("13.0", True)]
    assert not runtime.opened
    assert not runtime.preloaded


@pytest.mark.parametrize(
    ("engine", "used", "what"),
    [
        ("onnxruntime", ["CPUExecutionProvider"], "CUDAExecutionProvider to CPUExecutionProvider"),
        ("tensorrt", CUDA, "TensorrtExecutionProvider to CUDAExecutionProvider"),
    ],
)
@pytest.mark.parametrize("missing", [None, DeviceError("libcudnn.so.9 is missing", remedy="pip install it")])
def test_a_silent_fall_back_is_an_error(
    graph: Path,
    runtime: Notes,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    used: list[str],
    what: str,
    missing: DeviceError | None,
) -> None:
    runtime.used = used
    monkeypatch.setattr(nvidia, "missing_libraries", lambda cuda, tensorrt: missing)
    with pytest.raises(DeviceError, match=f"fell back from {what}: .*(may not load|is missing)") as error:
        GpuSession(graph, plan(engine=engine))
    assert error.value.remedy == (missing.remedy if missing else "pip install 'qa-onnx[gpu]'")


@pytest.mark.parametrize("when", ["open", "run"])
def test_what_onnx_runtime_raises_is_translated(graph: Path, runtime: Notes, when: str) -> None:
    runtime.fails[when] = RuntimeError("CUDA failure 2: out of memory ;\n GPU=0")
    with pytest.raises(DeviceError, match=r"too little free memory.*CUDA failure 2: out of memory ; GPU=0"):
        GpuSession(graph, plan()).run(batch(1, 5))
    runtime.fails[when] = RuntimeError("something else")
    with pytest.raises(EngineError, match=r"ONNX Runtime on the GPU .*: something else") as caught:
        GpuSession(graph, plan()).run(batch(1, 5))
    assert not isinstance(caught.value, DeviceError)
    runtime.fails.clear()
    with pytest.raises(EngineError, match="inputs attention_mask, token_type_ids are missing"):
        GpuSession(graph, plan()).run({"input_ids": batch(1, 5)["input_ids"]})


def test_a_reader_on_cuda_answers_as_on_the_cpu(runtime: Notes) -> None:
    reader = Reader.load(TINY, device="cuda")
    assert (str(reader.backend), reader.precision) == ("onnxruntime/cuda", "fp32")
    other = Reader.load(TINY, precision="fp32", threads=1)
    for question in ("Where?", "Who lit it?"):
        mine, theirs = (one.ask(question, "The lamp was lit at dusk.") for one in (reader, other))
        assert (mine.start, mine.end) == (theirs.start, theirs.end)
        assert mine.score == pytest.approx(theirs.score, abs=1e-4)
    assert {shape[1] for shape in runtime.shapes} == {32}


@pytest.fixture
def gpu_wheel() -> None:
    """The real onnxruntime-gpu where there is no GPU."""
    try:
        metadata.version("onnxruntime-gpu")
    except metadata.PackageNotFoundError:
        pytest.skip("needs onnxruntime-gpu instead of onnxruntime")
    try:
        onnx_gpu.check_gpu("onnxruntime")
    except DeviceError:
        return
    pytest.skip("there is a GPU")


@pytest.mark.usefixtures("gpu_wheel")
def test_the_real_gpu_wheel_without_a_gpu_names_the_cause_and_can_fall_back(
    graph: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for engine in ("onnxruntime", "tensorrt"):
        with pytest.raises(DeviceError, match=r"no NVIDIA driver is found \(libcuda.so.1: cannot open"):
            GpuSession(graph, plan(engine=engine))
    assert capfd.readouterr() == ("", "")
    with pytest.warns(RuntimeWarning, match=r"onnxruntime/cuda cannot be used, int8 on the CPU takes over: no NV"):
        reader = Reader.load(TINY, device="cuda", allow_fallback=True, threads=1)
    assert (str(reader.backend), reader.precision) == ("onnxruntime/cpu", "int8")
    assert reader.ask("Where?", "The lamp was lit at dusk.")


@pytest.mark.usefixtures("gpu_wheel")
def test_the_real_gpu_wheel_knows_every_option(tmp_path: Path) -> None:
    import onnxruntime

    capi = Path(onnxruntime.__file__).parent / "capi"
    for name, options in (
        ("cuda", CUDA_OPTIONS),
        ("tensorrt", provider_options(INPUTS, longest=128, precision="fp16", cache=tmp_path)),
    ):
        content = (capi / f"libonnxruntime_providers_{name}.so").read_bytes()
        assert [option for option in options if option.encode() + b"\0" not in content] == []
