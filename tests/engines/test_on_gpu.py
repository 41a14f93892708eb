"""GpuSession on a real GPU: `make gpu` runs these tests; without a GPU they skip, with the reason."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import Example, OnnxSession, Reader
from qa_onnx.engines import overlap
from qa_onnx.engines.onnx_gpu import GpuPlan, GpuSession
from tests.conftest import TINY
from tests.engines.conftest import assert_same, batch

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.gpu

TEXT = "The keeper lit the lamp at dusk. Ships saw it from afar, and the harbour lay still."
PLAN = GpuPlan(inputs=("input_ids", "attention_mask", "token_type_ids"), longest=128)
SHAPES = ((1, 5), (4, 32), (3, 33), (8, 100), (1, 128), (64, 64))


@pytest.mark.usefixtures("cuda")
def test_cuda_gives_the_logits_of_the_cpu_at_every_shape(graph: Path) -> None:
    ours, theirs = GpuSession(graph, PLAN), OnnxSession(graph, threads=1)
    for rows, tokens in SHAPES:
        inputs = batch(rows, tokens)
        assert_same(ours.run(inputs), theirs.run(inputs), inputs, atol=1e-3)


@pytest.mark.usefixtures("cuda")
def test_threads_share_a_session_on_cuda(graph: Path) -> None:
    ours, theirs = GpuSession(graph, PLAN), OnnxSession(graph, threads=1)
    inputs = [batch(1 + seed % 7, 10 + seed % 90, seed=seed) for seed in range(400)]
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(ours.run, inputs))
    for one, logits in zip(inputs, results, strict=True):
        assert_same(logits, theirs.run(one), one, atol=1e-3)


@pytest.mark.usefixtures("cuda")
def test_a_reader_on_cuda_answers_as_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Reader.load(TINY, precision="fp32", device="cuda")
    theirs = Reader.load(TINY, precision="fp32", threads=1)
    assert str(ours.backend) == "onnxruntime/cuda"
    for question in ("Who lit the lamp?", "Where?", "What lay still?"):
        mine, other = (reader.ask(question, TEXT) for reader in (ours, theirs))
        assert (mine.start, mine.end) == (other.start, other.end)
    assert pickle.loads(pickle.dumps(ours)).ask("Where?", TEXT).start == ours.ask("Where?", TEXT).start
    many = [Example(f"Where in {number}?", TEXT) for number in range(1200)]  # three groups, which overlap
    names: set[str] = set()
    run = GpuSession.run

    def recorded(session: GpuSession, inputs: Any, **more: Any) -> Any:
        names.add(threading.current_thread().name)
        return run(session, inputs, **more)

    monkeypatch.setattr(GpuSession, "run", recorded)
    scores, expected = ([one.answers[0].score for one in reader.predict(many)] for reader in (ours, theirs))
    assert scores == pytest.approx(expected, abs=1e-3)
    assert names == {f"{overlap.NAME}_0"}, "the background thread"


FORKED = f"""
import os
from qa_onnx import DeviceError, Reader
reader = Reader.load({str(TINY)!r}, precision="fp32", device="cuda")
reader.ask("Where?", {TEXT!r})
child = os.fork()
if child == 0:
    try:
        reader.ask("Where?", {TEXT!r})
    except DeviceError as error:
        os._exit(7 if "forked" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.usefixtures("cuda")
def test_cuda_in_a_forked_process_is_an_error() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout == "7\n"


@pytest.mark.export
@pytest.mark.usefixtures("tensorrt")
@pytest.mark.parametrize(("precision", "most"), [("fp32", 0.01), ("fp16", 0.05)])
def test_tensorrt_gives_the_logits_of_the_cpu(
    precision: str, most: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qa_onnx.export import export
    from tests.exports import checkpoint, graph_path

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = export(checkpoint("bert"), tmp_path / "plain", precisions=("fp32",), fusion=False)
    manifest = bundle.manifest
    plan = GpuPlan(engine="tensorrt", precision=precision, longest=manifest.max_positions, inputs=manifest.inputs)
    ours = GpuSession(graph_path(bundle, "fp32"), plan)
    theirs = OnnxSession(graph_path(bundle, "fp32"), threads=1)
    for rows, tokens in (*SHAPES, (150, 40)):
        inputs = batch(rows, min(tokens, manifest.max_positions))
        assert_same(ours.run(inputs), theirs.run(inputs), inputs, atol=most)
    assert list((tmp_path / "cache").rglob("*.engine"))
    assert (
        str(Reader.load(bundle, engine="tensorrt", device="cuda", precision=precision).backend) == "tensorrt/cuda"
    )
