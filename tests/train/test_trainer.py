"""The training loop: it learns, repeats itself, and resumes bit for bit after a SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import DeviceError, TrainError
from qa_onnx.train import TrainSettings, train
from qa_onnx.train.base import choose_device
from qa_onnx.train.evaluations import score
from qa_onnx.train.optimization import TrainingSchedule
from qa_onnx.train.state import State, read_state
from tests import training_data
from tests.exports import checkpoint
from tests.trained import SMALL, StoppedError, make_job, run, stop_at, weights_in, weights_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qa_onnx.train.callback import Status
    from qa_onnx.train.job import TrainingJob

pytestmark = [pytest.mark.export, pytest.mark.cpu]

torch = pytest.importorskip("torch")


class Clock:
    """Seconds of a run: each part of a step takes a hundredth of one, and nothing else takes any."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def drive(self, job: TrainingJob) -> TrainingJob:
        """Let the job's model move the time."""

        def part(module: Any, _: object) -> None:
            self.now += 0.01 if module.training else 0.0

        job.base.model.register_forward_pre_hook(part)
        return job


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_data.write(tmp_path_factory.mktemp("loop") / "data.json")


def test_it_learns_reports_and_leaves_the_hosts_random_numbers(data: Path, tmp_path: Path) -> None:
    job = make_job(data, epochs=2, evaluations=4)
    before = torch.random.get_rng_state()
    reports: list[Status] = []
    state = run(job, tmp_path / "run", callback=reports.append)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert sum(state.losses[-5:]) < 0.8 * sum(state.losses[:5])
    assert state.position == 2 * len(job.features)
    assert [evaluation["mark"] for evaluation in state.evaluations] == [1, 2, 3, 4]
    assert [status.step for status in reports] == list(range(1, state.steps + 1))
    assert (reports[-1].progress, reports[-1].to_go_s) == (1.0, 0.0)
    assert reports[len(reports) // 2].examples_per_second > 0
    assert [status.loss for status in reports] == state.losses
    evaluated = {one["steps"]: (one["f1"], one["em"]) for one in state.evaluations}
    assert [(one.f1, one.em) for one in reports] == [evaluated.get(one.step, (None, None)) for one in reports]
    f1 = [one["f1"] for one in state.evaluations]
    assert [one["best"] for one in state.evaluations] == [f1[n] >= max(f1[:n], default=-1) for n in range(4)]
    best = state.best_evaluation()
    assert best
    assert best["f1"] == max(f1)
    assert state.best == f"best-{best['steps']}.safetensors"
    assert [path.name for path in (tmp_path / "run").glob("best-*")] == [state.best]


def test_the_same_seed_gives_the_same_weights_another_seed_others(data: Path, tmp_path: Path) -> None:
    results = []
    for number, seed in enumerate((1, 1, 2)):
        job = make_job(data, seed=seed, dropout=0.1)
        results.append((run(job, tmp_path / str(number)).losses, weights_of(job)))
    assert results[0] == results[1]
    assert results[0][0] != results[2][0]
    assert results[0][1] != results[2][1]


# Effects of the settings


@pytest.fixture
def rates() -> Iterator[list[float]]:
    """The learning rate of each step."""
    from torch.optim import optimizer as module

    rates: list[float] = []
    handle = module.register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    yield rates
    handle.remove()


def test_the_learning_rate_follows_the_schedule(data: Path, tmp_path: Path, rates: list[float]) -> None:
    job = make_job(data, epochs=1, warmup=0.25, learning_rate=0.01, eval_limit=0)
    total = len(job.features)
    run(job, tmp_path / "run")
    schedule = TrainingSchedule(job.settings, total)
    middles = [min(at + 4, (at + total) / 2) / total for at in range(0, total, 8)]
    assert rates == pytest.approx([0.01 * schedule.rate(at) for at in middles], rel=1e-6)


def test_batch_size_is_the_examples_of_a_step(data: Path, tmp_path: Path) -> None:
    job = make_job(data, batch_size=30, eval_limit=0, epochs=1)
    assert run(job, tmp_path / "run").steps == -(-len(job.features) // 30)


def test_batch_tokens_bound_a_part_and_change_nothing_else(data: Path, tmp_path: Path) -> None:
    seen: dict[int, list[int]] = {}
    losses = {}
    for tokens in (100, 2000):
        job = make_job(data, batch_tokens=tokens, eval_limit=0, learning_rate=1e-4)
        shapes = seen[tokens] = []
        job.base.model.register_forward_pre_hook(
            lambda _module, _args, named, shapes=shapes: shapes.append(named["input_ids"].numel()),
            with_kwargs=True,
        )
        losses[tokens] = run(job, tmp_path / str(tokens)).losses
    assert max(seen[100]) <= 100 < max(seen[2000])
    assert losses[100] == pytest.approx(losses[2000], rel=1e-3)


def test_weight_decay_spares_vectors_and_gradients_are_clipped(data: Path, tmp_path: Path) -> None:
    one: dict[str, Any] = {"epochs": 1e-3, "batch_size": 64, "eval_limit": 0, "warmup": 0.0}  # a single step
    plain, decayed = make_job(data, **one, weight_decay=0.0), make_job(data, **one, weight_decay=1.0)
    run(plain, tmp_path / "plain")
    run(decayed, tmp_path / "decayed")
    without, with_decay = weights_of(plain), weights_of(decayed)
    for name, weight in plain.base.model.named_parameters():
        assert weight.ndim > 1 or without[name] == with_decay[name]
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert without[query] != with_decay[query]
    norms = []
    for limit in (1e-4, 1e6):
        run(make_job(data, **one, max_grad_norm=limit), tmp_path / str(limit))
        tensors = weights_in(tmp_path / str(limit) / "state.safetensors")
        moments = [np.frombuffer(tensor, "f4") for name, tensor in tensors.items() if name.endswith(".exp_avg")]
        norms.append(np.linalg.norm(np.concatenate(moments)))
    assert norms[0] == pytest.approx(1e-5, rel=0.01)  # (1 - beta1) of a gradient of norm 1e-4
    assert norms[1] > 0.01


def test_a_run_by_the_clock_ends_with_it_and_comes_down_to_a_rate_of_zero(
    data: Path, tmp_path: Path, rates: list[float]
) -> None:
    clock = Clock()
    run(clock.drive(make_job(data, minutes=0.02, eval_limit=0)), tmp_path / "run", clock=clock)
    assert max(rates) > 0.9 * SMALL["learning_rate"] > 10 * rates[-1]
    assert rates.index(max(rates)) < len(rates) / 2


def test_by_the_clock_evaluations_leave_the_time_to_train(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()

    def slowly(*arguments: Any) -> Any:
        clock.now += 0.6
        return score(*arguments)

    monkeypatch.setattr("qa_onnx.train.evaluations.score", slowly)
    job = make_job(data, minutes=0.05, evaluations=10, eval_limit=20)  # 3 s, or 5 evaluations without training
    state = run(clock.drive(job), tmp_path / "run", clock=clock)
    between = [one["steps"] for one in state.evaluations]
    assert len(between) < 4
    assert state.evaluations[-1]["steps"] == state.steps
    assert state.evaluations[-1]["mark"] == 10
    assert all(after - before > 3 for before, after in pairwise(between[:-1]))


def test_bfloat16_is_used_if_the_settings_say_so(data: Path, tmp_path: Path) -> None:
    dtypes: dict[bool, str] = {}
    for bf16 in (False, True):
        job = make_job(data, bf16=bf16, epochs=0.05, eval_limit=0)
        layer = job.base.model.get_submodule("bert.encoder.layer.0.intermediate.dense")
        layer.register_forward_hook(lambda _m, _a, out, bf16=bf16: dtypes.__setitem__(bf16, str(out.dtype)))
        run(job, tmp_path / str(bf16))
    assert dtypes == {False: "torch.float32", True: "torch.bfloat16"}


@pytest.mark.parametrize("sets", ["avx2", "avx2,avx512_bf16", "avx2,amx_bf16"])
@pytest.mark.parametrize("bf16", [None, False, True])
def test_by_default_bfloat16_is_used_if_the_cpu_has_instructions_for_it(
    bf16: bool | None, sets: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QA_ONNX_INSTRUCTION_SETS", sets)
    fast = "bf16" in sets
    assert choose_device(TrainSettings(bf16=bf16)).bf16 is (fast if bf16 is None else bf16)
    assert ("no bfloat16 instructions" in caplog.text) is (bf16 is True and not fast)


def test_patience_ends_a_run_that_does_not_get_better(data: Path, tmp_path: Path) -> None:
    job = make_job(data, patience=2, evaluations=8, learning_rate=1e-9)
    state = run(job, tmp_path / "run")
    assert [evaluation["best"] for evaluation in state.evaluations] == [True, True, True]  # equals are not better
    assert state.done
    assert state.position < 0.45 * len(job.features)


def test_a_loss_that_is_not_finite_ends_it(data: Path, tmp_path: Path) -> None:
    job = make_job(data)
    with torch.no_grad():
        job.base.model.qa_outputs.bias.fill_(float("inf"))
    with pytest.raises(TrainError, match=r"step 1: the loss is nan.*learning rate of 0\.003 is too high"):
        run(job, tmp_path / "run")
    assert not (tmp_path / "run" / "state.safetensors").exists()


def test_an_unusable_gpu_is_named() -> None:

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match="finds no usable GPU"):
        choose_device(TrainSettings(device="cuda"))


# Resuming


def test_a_run_resumes_bit_for_bit(data: Path, tmp_path: Path) -> None:

    knobs: dict[str, Any] = {"save_every_s": 0.0, "dropout": 0.1, "epochs": 1.2}
    whole = make_job(data, **knobs)
    expected = run(whole, tmp_path / "whole")

    state: State | None = None
    for step in (5, 9, 22):  # each time with everything loaded anew
        with pytest.raises(StoppedError):
            run(make_job(data, **knobs), tmp_path / "broken", state=state, callback=stop_at(step))
        state = read_state(tmp_path / "broken")
    job = make_job(data, **knobs)
    state = run(job, tmp_path / "broken", state=state)
    assert state.losses == expected.losses
    assert [{**one, "elapsed": 0} for one in state.evaluations] == [
        {**one, "elapsed": 0} for one in expected.evaluations
    ]
    assert weights_of(job) == weights_of(whole)


SURVIVOR: dict[str, Any] = {**SMALL, "epochs": 1.5, "evaluations": 2, "dropout": 0.1, "save_every_s": 0.0}
# The run to be killed waits after its tenth step; the ninth is saved.
KILLED = """
import json, signal, sys, torch
from qa_onnx.train import JsonLinesLog, TrainSettings, train
torch.set_num_threads(1)
base, data, to, resume, settings = sys.argv[1:]
settings, resume = TrainSettings(**json.loads(settings)), bool(int(resume))
log = JsonLinesLog(f"{to}.jsonl", resume=resume)
def callback(status):
    log(status)
    print(status.step, flush=True)
    if status.step == 10 and not resume:
        signal.pause()
train(base, [data], to, settings=settings, resume=resume, callback=callback)
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread for PyTorch, only in these tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_killed_in_mid_run_and_resumed_it_gives_the_weights_of_an_unbroken_run(data: Path, tmp_path: Path) -> None:
    base = checkpoint("bert")

    def start(*, resume: bool) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", KILLED, str(base), str(data), str(tmp_path / "killed"), str(int(resume))]
        command.append(json.dumps(SURVIVOR))
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def logged(name: str) -> list[float]:
        return [json.loads(line)[name] for line in (tmp_path / "killed.jsonl").read_text().splitlines()]

    killed = start(resume=False)
    assert killed.stdout
    for line in killed.stdout:
        if int(line) == 10:
            os.kill(killed.pid, signal.SIGKILL)
            break
    _, errors = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, errors
    assert not (tmp_path / "killed").exists()
    assert logged("step") == list(range(1, 11))
    resumed = start(resume=True)
    whole = train(base, [data], tmp_path / "whole", settings=TrainSettings(**SURVIVOR))
    steps, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert int(steps.split()[0]) == 10 < whole["run"]["steps"]
    record = json.loads((tmp_path / "killed" / "training.json").read_bytes())
    assert record["losses"] == whole["losses"] == logged("loss")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_a_saved_clock_goes_on(data: Path, tmp_path: Path) -> None:
    clock = Clock()
    knobs: dict[str, Any] = {"minutes": 5.0, "eval_limit": 0, "save_every_s": 0.0}
    job = clock.drive(make_job(data, **knobs))
    with pytest.raises(StoppedError):
        run(job, tmp_path / "run", state=State({}, elapsed=290.0), callback=stop_at(3), clock=clock)
    state = read_state(tmp_path / "run")
    assert state
    assert state.steps == 2
    assert 290.0 < state.elapsed < 291.0
    state.elapsed = 299.9
    clock.now += 5000.0  # meanwhile
    again = run(clock.drive(make_job(data, **knobs)), tmp_path / "run", state=state, clock=clock)
    assert 2 < again.steps <= 12  # a tenth of a second was left
    assert again.elapsed == pytest.approx(300.0, abs=0.1)
