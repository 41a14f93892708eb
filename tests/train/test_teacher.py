"""A teacher: it runs once on the student's windows, and the student learns its probabilities."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import Example, InputError, TrainError
from qa_onnx.train import TrainSettings, teacher, train
from qa_onnx.train.loss import TEMPERATURE, span_loss
from qa_onnx.train.teacher import LOGITS, Teacher, load_teacher, run_teacher
from tests import training_data
from tests.exports import checkpoint, copy
from tests.trained import SMALL, StoppedError, make_job, run, stop_at, strip_head, weights_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.train.job import TrainingJob

pytestmark = pytest.mark.export

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_data.write(tmp_path_factory.mktemp("teacher") / "data.json", articles=30)


def teacher_of(job: TrainingJob, folder: str | Path = "mpnet") -> Teacher:
    """Load a teacher from a folder, or the tiny one of a kind."""
    name = str(checkpoint(folder) if isinstance(folder, str) else folder)
    return load_teacher(name, job.base, job.features, job.settings, job.device)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Let teachers work in small blocks, and list the windows of each of their runs."""
    monkeypatch.setattr(teacher, "_BLOCK", 16)
    logits = Teacher.logits

    def start(stop_after: int | None = None) -> list[int]:
        runs: list[int] = []

        def counted(self: Teacher, ids: Any, spans: NDArray[np.int32]) -> Any:
            runs.append(len(ids))
            if stop_after is not None and sum(runs) > stop_after:
                raise KeyboardInterrupt
            return logits(self, ids, spans)

        monkeypatch.setattr(Teacher, "logits", counted)
        return runs

    return start


@pytest.mark.parametrize("kind", ["bert", "mpnet", "distilbert"])
def test_its_logits_are_those_of_the_same_window_of_its_own(kind: str, data: Path, tmp_path: Path) -> None:
    """Its own windows are cut by its own tokenizer from the text: MPNet's has other ids, and a separator more."""

    job = make_job(data)
    teacher = teacher_of(job, kind)
    teacher_logits = run_teacher(teacher, job.features, tmp_path)
    more = len(teacher.base.windower.template) - len(job.base.windower.template)
    assert more == (1 if kind == "mpnet" else 0)
    options = job.settings.options()
    longer = dataclasses.replace(options, max_length=options.max_length + more)
    golds = job.questions.train[:40]
    cut = teacher.base.windower.cut([Example(gold.question, gold.context) for gold in golds], longer)
    lengths = np.diff(job.features.bounds)
    for row, (one,) in enumerate(example.windows for example in cut):  # these contexts fit one window
        inputs = {"input_ids": one.input_ids, "token_type_ids": one.token_type_ids}
        with torch.no_grad():
            out = teacher.base.model(
                **{k: torch.from_numpy(v)[None] for k, v in inputs.items() if k in teacher.base.inputs}
            )
        own = np.stack((out.start_logits[0].numpy(), out.end_logits[0].numpy()))
        logits = teacher_logits.rows([row]).numpy()[:, 0]
        assert logits.shape == (2, lengths[row])
        _, _, first, last, cls = job.features.spans[row]
        np.testing.assert_allclose(logits[:, first : last + 1], own[:, one.first : one.last + 1], atol=2e-2)
        np.testing.assert_allclose(logits[:, cls], own[:, one.cls], atol=2e-2)
    rows = teacher_logits.rows([3, 0, 7]).numpy()
    assert rows.shape == (2, 3, lengths[[3, 0, 7]].max())
    for row, index in enumerate((3, 0, 7)):  # padded with zeros to the longest
        np.testing.assert_array_equal(rows[:, row, : lengths[index]], teacher_logits.rows([index]).numpy()[:, 0])
        assert not rows[:, row, lengths[index] :].any()


@pytest.mark.parametrize("left", [0, 1, 4 * 700, 4 * 2_000 + 3, None])
def test_a_stopped_teacher_does_not_repeat_complete_blocks(
    left: int | None, data: Path, tmp_path: Path, count: Callable[..., list[int]]
) -> None:
    job = make_job(data)
    teacher = teacher_of(job)
    runs = count()
    whole = run_teacher(teacher, job.features, tmp_path).logits
    windows, size = len(job.features), (tmp_path / LOGITS).stat().st_size
    assert sum(runs) == windows
    assert size == 4 * len(job.features.ids)
    with (tmp_path / LOGITS).open("r+b") as file:
        file.truncate(size if left is None else left)
    runs = count()
    again = run_teacher(teacher, job.features, tmp_path).logits
    np.testing.assert_array_equal(again, whole)
    done = windows if left is None else int(np.searchsorted(4 * job.features.bounds, left, "right")) - 1
    assert sum(runs) == windows - (done if left is None else done // 16 * 16)


def test_the_loss_is_a_mix_of_targets_and_the_teachers_probabilities() -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(2, 2, 9), torch.randn(2, 2, 9)
    spans = torch.tensor([[4, 6, 3, 6, 0], [0, 0, 5, 8, 0]])
    hard = float(span_loss(logits[0], logits[1], spans))
    soft = 0.0
    for row, (_, _, first, last, cls) in enumerate(spans.tolist()):
        choice = [cls, *range(first, last + 1)]
        for ours, theirs in zip(logits, teacher, strict=True):
            target = (theirs[row][choice] / TEMPERATURE).softmax(0)
            student = (ours[row][choice] / TEMPERATURE).log_softmax(0)
            soft -= TEMPERATURE**2 * float((target * student).sum()) / 2
    for share in (0.0, 0.75, 1.0):
        loss = span_loss(logits[0], logits[1], spans, teacher, share)
        assert float(loss) == pytest.approx((1 - share) * hard + share * soft, rel=1e-5)


def test_a_student_learns_the_teachers_probabilities(data: Path, tmp_path: Path) -> None:
    """The targets have no share here, and the teacher's answers are random: so only they can be learned."""

    job = make_job(data, teacher="mpnet", teacher_share=1.0, epochs=6, eval_limit=0)
    assert job.teacher is not None
    teacher_logits = run_teacher(job.teacher, job.features, tmp_path)
    losses = run(job, tmp_path, teacher_logits=teacher_logits).losses
    least = 0.0  # the mean loss of a student with the teacher's logits
    for row in range(len(job.features)):
        own = teacher_logits.rows([row]).float()
        spans = torch.from_numpy(job.features.spans[[row]]).long()
        least += float(span_loss(own[0], own[1], spans, own, 1.0)) / len(job.features)
    assert np.mean(losses[-5:]) - least < 0.3 * (np.mean(losses[:5]) - least)


def test_a_run_with_a_teacher_resumes_exactly_and_names_it(data: Path, tmp_path: Path) -> None:
    settings = TrainSettings(**{**SMALL, "save_every_s": 0.0})

    def go(to: Path, **more: Any) -> dict[str, Any]:
        return train(
            checkpoint("bert"), [data], to, teacher=checkpoint("mpnet"), settings=settings, licence="CC0", **more
        )

    record = go(tmp_path / "whole")
    with pytest.raises(StoppedError):
        go(tmp_path / "broken", on_step=stop_at(5))
    go(tmp_path / "broken", resume=True)
    one, two = (weights_in(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert one == two
    assert record["teacher"]["model_type"] == "mpnet"
    card = (tmp_path / "whole" / "README.md").read_text(encoding="utf-8")
    assert "90% of the loss is the cross entropy to the probabilities of tiny-mpnet (mpnet, " in card
    without = train(checkpoint("bert"), [data], tmp_path / "alone", settings=settings)
    assert without["teacher"] is None
    assert without["losses"] != record["losses"]


def test_a_run_that_was_stopped_while_the_teacher_ran_resumes(
    data: Path, tmp_path: Path, count: Callable[..., list[int]]
) -> None:
    """Even if it replaces a finished model; but not without the teacher, nor with another."""
    settings = TrainSettings(**SMALL)
    to = tmp_path / "m"

    def go(**more: Any) -> dict[str, Any]:
        return train(checkpoint("bert"), [data], to, settings=settings, **more)

    go()
    count(stop_after=40)
    with pytest.raises(KeyboardInterrupt):
        go(teacher=checkpoint("mpnet"), replace=True)
    assert (to.with_name("m.partial") / LOGITS).stat().st_size > 0
    for other in (None, checkpoint("bert")):
        with pytest.raises(TrainError, match=r"state of a run with another teacher"):
            go(teacher=other, resume=True)
    runs = count()
    record = go(teacher=checkpoint("mpnet"), resume=True)
    assert record["teacher"]["model_type"] == "mpnet"
    assert sum(runs) == record["run"]["features"] - 32


def test_an_unfit_teacher_is_refused(data: Path, tmp_path: Path) -> None:
    encoder = strip_head(copy(checkpoint("bert"), tmp_path / "encoder"))

    for unfit, length, message in (
        (encoder, 96, r"teacher .*encoder lacks the weights qa_outputs.*; train it first"),
        ("roberta", 96, r"another vocabulary: it lacks \d+ of the \d+ tokens of the data, such as '"),
        ("mpnet", 128, "max_length 128 are 129 tokens long for the teacher; .* reads at most 128"),
    ):
        with pytest.raises((TrainError, InputError), match=message):
            teacher_of(make_job(data, max_length=length), unfit)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_a_teacher_with_broken_weights_is_refused(value: float, data: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = copy(checkpoint("bert"), tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["qa_outputs.bias"][0] = value
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    job = make_job(data)
    with pytest.raises(TrainError, match=r"logits are not finite in float16: its weights are broken"):
        run_teacher(teacher_of(job, broken), job.features, tmp_path)


def test_without_a_teacher_the_share_changes_nothing(data: Path) -> None:
    assert make_job(data).fingerprint() == make_job(data, teacher_share=0.1).fingerprint()
