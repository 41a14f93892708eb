"""The loop: learns, repeats itself, and goes on bit for bit after a SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import TrainError
from qa_onnx.train.schedule import rate
from tests import lessons
from tests.exports import checkpoint
from tests.trained import SMALL, job, run, weights_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qa_onnx.train.loop import Status
    from qa_onnx.train.record import TrainingJob
    from qa_onnx.train.state import State

pytestmark = [pytest.mark.export, pytest.mark.cpu]


class Clock:
    """The time of a run: each part that is trained takes a hundredth of a second, and nothing else takes any."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def drive(self, made: TrainingJob) -> TrainingJob:
        """Let the job's model move the time."""

        def part(module: Any, _: object) -> None:
            self.now += 0.01 if module.training else 0.0

        made.base.model.register_forward_pre_hook(part)
        return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the loop takes for the time."""
    from qa_onnx.train import schedule

    clock = Clock()
    monkeypatch.setattr("qa_onnx.train.loop.time", clock)
    monkeypatch.setattr(schedule, "TrainingClock", partial(schedule.TrainingClock, now=clock.monotonic))
    return clock


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lessons.write(tmp_path_factory.mktemp("loop") / "data.json")


def test_it_learns_tells_and_leaves_the_hosts_random_numbers(data: Path, tmp_path: Path) -> None:
    import torch

    made = job(data, epochs=2, evaluations=4)
    before = torch.random.get_rng_state()
    told: list[Status] = []
    state = run(made, tmp_path / "run", told.append)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert sum(state.losses[-5:]) < 0.8 * sum(state.losses[:5])
    assert state.position == 2 * len(made.features)
    assert [one["mark"] for one in state.evaluations] == [1, 2, 3, 4]
    assert [status.steps for status in told] == list(range(1, state.steps + 1))
    assert told[-1].progress == 1.0
    assert told[-1].to_go_s == 0.0
    assert told[len(told) // 2].examples_per_second > 0
    assert told[0].f1 is None
    assert told[-1].f1 == state.evaluations[-2]["f1"]
    f1 = [one["f1"] for one in state.evaluations]
    assert [one["best"] for one in state.evaluations] == [f1[n] > max(f1[:n], default=-1) for n in range(4)]
    best = [one for one in state.evaluations if one["best"]][-1]
    assert state.best == f"best-{best['steps']}.safetensors"
    assert [path.name for path in (tmp_path / "run").glob("best-*")] == [state.best]


def test_the_same_seed_gives_the_same_weights_another_seed_others(data: Path, tmp_path: Path) -> None:
    import torch

    weights, losses = [], []
    for number, seed in enumerate((1, 1, 2)):
        made = job(data, seed=seed, dropout=0.1)
        losses.append(run(made, tmp_path / str(number)).losses)
        weights.append(weights_of(made))
    assert losses[0] == losses[1] != losses[2]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


# What each knob does to the steps


def rates(made: TrainingJob, folder: Path) -> list[float]:
    """The learning rate of each step."""
    from qa_onnx.train.loop import Loop
    from qa_onnx.train.state import State

    found: list[float] = []
    folder.mkdir()
    loop = Loop(
        made, folder=folder, state=State({}), tell=lambda _: found.append(loop._optimizer.param_groups[0]["lr"])
    )
    loop.run()
    return found


def test_the_learning_rate_follows_the_schedule(data: Path, tmp_path: Path) -> None:
    made = job(data, epochs=1, warmup=0.25, learning_rate=0.01, eval_limit=0)
    total = len(made.features)
    found = rates(made, tmp_path / "run")
    middles = [min(at + 4, (at + total) / 2) / total for at in range(0, total, 8)]
    assert found == pytest.approx([0.01 * rate(at, 0.25) for at in middles], rel=1e-6)


def test_batch_size_is_the_examples_of_a_step(data: Path, tmp_path: Path) -> None:
    made = job(data, batch_size=30, eval_limit=0, epochs=1)
    assert run(made, tmp_path / "run").steps == -(-len(made.features) // 30)


def test_batch_tokens_bound_a_part_and_change_nothing_else(data: Path, tmp_path: Path) -> None:
    seen: dict[int, list[int]] = {}
    losses = {}
    for tokens in (100, 2000):
        made = job(data, batch_tokens=tokens, eval_limit=0, learning_rate=1e-4)
        shapes = seen[tokens] = []
        made.base.model.register_forward_pre_hook(
            lambda _module, _args, named, shapes=shapes: shapes.append(named["input_ids"].numel()),
            with_kwargs=True,
        )
        losses[tokens] = run(made, tmp_path / str(tokens)).losses
    assert max(seen[100]) <= 100 < max(seen[2000])
    assert losses[100] == pytest.approx(losses[2000], rel=1e-3)


def test_weight_decay_spares_vectors_and_gradients_are_cut(data: Path, tmp_path: Path) -> None:
    import torch

    one: dict[str, Any] = {"epochs": 1e-3, "batch_size": 64, "eval_limit": 0, "warmup": 0.0}  # a single step
    plain, decayed = job(data, **one, weight_decay=0.0), job(data, **one, weight_decay=1.0)
    run(plain, tmp_path / "plain")
    run(decayed, tmp_path / "decayed")
    for name, weight in weights_of(plain).items():
        if weight.ndim == 1:
            assert torch.equal(weight, weights_of(decayed)[name])
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(weights_of(plain)[query], weights_of(decayed)[query])
    norms = []
    for clip in (1e-4, 1e6):
        made = job(data, **one, clip=clip)
        run(made, tmp_path / f"clip-{clip}")
        moments = _moments(tmp_path / f"clip-{clip}")
        norms.append(sum(float(moment.square().sum()) for moment in moments) ** 0.5)
    assert norms[0] == pytest.approx(1e-5, rel=0.01)  # (1 - beta1) of a gradient of norm 1e-4
    assert norms[1] > 0.01


def _moments(folder: Path) -> list[Any]:
    from safetensors.torch import load_file

    return [
        tensor for name, tensor in load_file(folder / "state.safetensors").items() if name.endswith(".exp_avg")
    ]


def test_a_run_by_the_clock_ends_with_it_and_comes_down_to_a_rate_of_zero(
    data: Path, tmp_path: Path, clock: Clock
) -> None:
    made = clock.drive(job(data, minutes=0.02, eval_limit=0))
    found = rates(made, tmp_path / "run")
    assert max(found) > 0.9 * SMALL["learning_rate"] > 10 * found[-1]
    assert found.index(max(found)) < len(found) / 2


def test_by_the_clock_evaluations_leave_the_time_to_train(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    from qa_onnx.train.scoring import score

    def slowly(*arguments: Any) -> Any:
        clock.now += 0.6
        return score(*arguments)

    monkeypatch.setattr("qa_onnx.train.loop.score", slowly)
    made = clock.drive(
        job(data, minutes=0.05, evaluations=10, eval_limit=20)
    )  # 3 s, a tenth of which is no evaluation
    state = run(made, tmp_path / "run")
    between = [one["steps"] for one in state.evaluations]
    assert len(between) < 4
    assert state.evaluations[-1]["steps"] == state.steps
    assert state.evaluations[-1]["mark"] == 10
    assert all(after - before > 3 for before, after in pairwise(between[:-1]))


def test_bfloat16_is_used_where_asked_for(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dtypes: dict[bool, str] = {}
    for bf16 in (False, True):
        made = job(data, bf16=bf16, epochs=0.05, eval_limit=0)
        layer = made.base.model.get_submodule("bert.encoder.layer.0.intermediate.dense")
        layer.register_forward_hook(lambda _m, _a, out, bf16=bf16: dtypes.__setitem__(bf16, str(out.dtype)))
        run(made, tmp_path / str(bf16))
    assert dtypes == {False: "torch.float32", True: "torch.bfloat16"}


@pytest.mark.parametrize("sets", ["avx2", "avx2,avx512_bf16", "avx2,amx_bf16"])
@pytest.mark.parametrize("bf16", [None, False, True])
def test_by_itself_bfloat16_is_used_where_the_cpu_has_instructions_for_it(
    bf16: bool | None, sets: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from qa_onnx.train import TrainSettings
    from qa_onnx.train.device import choose_place

    monkeypatch.setenv("QA_ONNX_INSTRUCTION_SETS", sets)
    fast = "bf16" in sets
    assert choose_place(TrainSettings(bf16=bf16)).bf16 is (fast if bf16 is None else bf16)
    assert ("no instructions for bfloat16" in caplog.text) is (bf16 is True and not fast)


def test_patience_ends_a_run_that_does_not_get_better(data: Path, tmp_path: Path) -> None:
    state = run(job(data, patience=2, evaluations=8, learning_rate=1e-9), tmp_path / "run")
    assert [one["best"] for one in state.evaluations] == [True, False, False]
    assert state.done
    assert state.position < 0.45 * len(job(data).features)


def test_a_loss_that_is_no_number_ends_it(data: Path, tmp_path: Path) -> None:
    import torch

    made = job(data)
    with torch.no_grad():
        made.base.model.qa_outputs.bias.fill_(float("inf"))
    with pytest.raises(TrainError, match=r"step 1: the loss is nan.*learning rate of 0\.003 is too high"):
        run(made, tmp_path / "run")
    assert not (tmp_path / "run" / "state.safetensors").exists()


def test_an_unusable_gpu_is_named() -> None:
    import torch

    from qa_onnx import DeviceError
    from qa_onnx.train import TrainSettings
    from qa_onnx.train.device import choose_place

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match="finds no GPU"):
        choose_place(TrainSettings(device="cuda"))


# Going on


class StoppedError(Exception):
    """What ends a run in the middle."""


def test_a_run_goes_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    import torch

    from qa_onnx.train.state import read_state

    knobs: dict[str, Any] = {"save_every_s": 0.0, "dropout": 0.1, "epochs": 1.2}
    whole = job(data, **knobs)
    expected = run(whole, tmp_path / "whole")

    ends = [5, 9, 22]

    def stop(status: Status) -> None:
        if ends and status.steps == ends[0]:
            ends.pop(0)
            raise StoppedError

    found: State | None = None
    for _ in range(4):  # each time with everything loaded anew
        made = job(data, **knobs)
        try:
            found = run(made, tmp_path / "broken", stop, found)
        except StoppedError:
            found = read_state(tmp_path / "broken")
    assert found
    assert not ends
    assert found.losses == expected.losses
    for one, other in zip(found.evaluations, expected.evaluations, strict=True):
        assert {**one, "elapsed": 0} == {**other, "elapsed": 0}
    for name, weight in weights_of(whole).items():
        assert torch.equal(weights_of(made)[name], weight), name


SURVIVOR: dict[str, Any] = {
    **SMALL,
    "epochs": 1.5,
    "evaluations": 2,
    "dropout": 0.1,
    "save_every_s": 0.0,
}
# Where it is to be killed, it waits for that after its tenth step, the ninth of which is saved.
KILLED = """
import json, signal, sys, torch
from qa_onnx.train import TrainSettings, train
torch.set_num_threads(1)
base, data, to, resume, settings = sys.argv[1:]
settings, resume = TrainSettings(**json.loads(settings)), bool(int(resume))
def tell(status):
    print(status.steps, flush=True)
    if status.steps == 10 and not resume:
        signal.pause()
train(base, [data], to, settings=settings, resume=resume, tell=tell)
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread for PyTorch in this process, which here is that of other tests too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_killed_in_mid_run_and_resumed_it_gives_the_weights_of_an_unbroken_run(data: Path, tmp_path: Path) -> None:
    from qa_onnx.train import TrainSettings, train

    base = checkpoint("bert")

    def start(*, resume: bool) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", KILLED, str(base), str(data), str(tmp_path / "killed"), str(int(resume))]
        command.append(json.dumps(SURVIVOR))
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    killed = start(resume=False)
    assert killed.stdout
    for line in killed.stdout:
        if int(line) == 10:
            os.kill(killed.pid, signal.SIGKILL)
            break
    _, errors = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, errors
    assert not (tmp_path / "killed").exists()
    resumed = start(resume=True)
    whole = train(base, [data], tmp_path / "whole", settings=TrainSettings(**SURVIVOR))
    steps, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert int(steps.split()[0]) == 10 < whole["run"]["steps"]
    record = json.loads((tmp_path / "killed" / "training.json").read_bytes())
    assert record["losses"] == whole["losses"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_a_saved_clock_goes_on(data: Path, tmp_path: Path, clock: Clock) -> None:
    from qa_onnx.train.state import State, read_state

    knobs: dict[str, Any] = {"minutes": 5.0, "eval_limit": 0, "save_every_s": 0.0}

    def stop(status: Status) -> None:
        if status.steps == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(clock.drive(job(data, **knobs)), tmp_path / "run", stop, State({}, elapsed=290.0))
    found = read_state(tmp_path / "run")
    assert found
    assert found.steps == 2
    assert 290.0 < found.elapsed < 291.0
    found.elapsed = 299.9
    clock.now += 5000.0  # meanwhile
    again = run(clock.drive(job(data, **knobs)), tmp_path / "run", None, found)
    assert 2 < again.steps <= 12  # a tenth of a second was left
    assert again.elapsed == pytest.approx(300.0, abs=0.1)
