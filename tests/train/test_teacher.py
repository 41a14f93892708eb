"""A teacher: says of the student's windows what it says of its own, once, and the student comes to say it too."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import Example, InputError, TrainError
from qa_onnx.train import TrainSettings, train
from qa_onnx.train.loss import TEMPERATURE, span_loss
from tests import lessons
from tests.exports import checkpoint, copy, edit_json
from tests.train.test_base import strip_head
from tests.trained import SMALL, job, run, weights_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.train.record import TrainingJob
    from qa_onnx.train.teacher import Teacher

pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lessons.write(tmp_path_factory.mktemp("teacher") / "data.json", articles=30)


def teacher_of(made: TrainingJob, kind: str = "mpnet") -> Teacher:
    from qa_onnx.train.teacher import load_teacher

    return load_teacher(str(checkpoint(kind)), made.base, made.features, made.settings, made.place)


@pytest.mark.parametrize("kind", ["bert", "mpnet", "distilbert"])
def test_it_says_of_a_window_what_it_says_of_the_same_window_of_its_own(
    kind: str, data: Path, tmp_path: Path
) -> None:
    """Its own, cut by its own tokenizer from the text: MPNet's has other ids, and a separator more."""
    import torch

    from qa_onnx.train.teacher import teach

    made = job(data)
    teacher = teacher_of(made, kind)
    taught = teach(teacher, made.features, tmp_path)
    more = len(teacher.base.windower.template) - len(made.base.windower.template)
    assert more == (1 if kind == "mpnet" else 0)
    options = made.settings.options()
    longer = dataclasses.replace(options, max_length=options.max_length + more)
    golds = made.questions.train[:40]
    cut = teacher.base.windower.cut([Example(gold.question, gold.context) for gold in golds], longer)
    lengths = np.diff(made.features.bounds)
    for row, (one,) in enumerate(example.windows for example in cut):  # these contexts fit one window
        inputs = {"input_ids": one.input_ids, "token_type_ids": one.token_type_ids}
        with torch.no_grad():
            out = teacher.base.model(
                **{k: torch.from_numpy(v)[None] for k, v in inputs.items() if k in teacher.base.inputs}
            )
        own = np.stack((out.start_logits[0].numpy(), out.end_logits[0].numpy()))
        said = taught.rows([row]).numpy()[:, 0]
        assert said.shape == (2, lengths[row])
        _, _, first, last, cls = made.features.spans[row]
        np.testing.assert_allclose(said[:, first : last + 1], own[:, one.first : one.last + 1], atol=2e-2)
        np.testing.assert_allclose(said[:, cls], own[:, one.cls], atol=2e-2)


def test_rows_are_padded_to_the_longest(data: Path, tmp_path: Path) -> None:
    from qa_onnx.train.teacher import teach

    made = job(data)
    taught = teach(teacher_of(made), made.features, tmp_path)
    lengths = np.diff(made.features.bounds)
    found = taught.rows([3, 0, 7]).numpy()
    assert found.shape == (2, 3, lengths[[3, 0, 7]].max())
    for row, index in enumerate((3, 0, 7)):
        np.testing.assert_array_equal(found[:, row, : lengths[index]], taught.rows([index]).numpy()[:, 0])
        assert not found[:, row, lengths[index] :].any()


@pytest.mark.parametrize("left", [0, 1, 4 * 700, 4 * 2_000 + 3, None])
def test_what_was_said_before_a_stop_is_not_asked_again(
    left: int | None, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qa_onnx.train import teacher as module

    monkeypatch.setattr(module, "_TOGETHER", 16)
    made = job(data)
    teacher = teacher_of(made)
    whole = module.teach(teacher, made.features, tmp_path).logits
    path = tmp_path / module.TAUGHT
    size = path.stat().st_size
    assert size == 4 * len(made.features.ids)
    with path.open("r+b") as file:
        file.truncate(size if left is None else left)
    asked = 0
    plain = module.Teacher.logits

    def counted(self: Teacher, ids: Sequence[NDArray[np.int32]], spans: NDArray[np.int32]) -> Any:
        nonlocal asked
        asked += len(ids)
        return plain(self, ids, spans)

    monkeypatch.setattr(module.Teacher, "logits", counted)
    again = module.teach(teacher, made.features, tmp_path).logits
    np.testing.assert_array_equal(again, whole)
    done = (
        len(made.features) if left is None else int(np.searchsorted(4 * made.features.bounds, left, "right")) - 1
    )
    assert asked == len(made.features) - (done if left is None else done // 16 * 16)


def test_the_hash_is_that_of_weights_config_and_place(data: Path, tmp_path: Path) -> None:
    from qa_onnx.train.teacher import load_teacher

    made = job(data)
    changed = copy(checkpoint("bert"), tmp_path / "changed")
    edit_json(changed / "config.json", lambda content: content.update(hidden_act="relu"))
    one, same, other = (
        load_teacher(str(folder), made.base, made.features, made.settings, made.place)
        for folder in (checkpoint("bert"), checkpoint("bert"), changed)
    )
    assert one.base.sha256 == other.base.sha256
    elsewhere = dataclasses.replace(one, place=dataclasses.replace(one.place, batch_tokens=77))
    assert len({teacher.sha256() for teacher in (one, other, elsewhere, teacher_of(made))}) == 4
    assert one.sha256() == same.sha256()


def test_the_loss_is_that_of_the_targets_and_that_of_the_teachers_probabilities() -> None:
    import torch
    from torch.nn.functional import kl_div

    torch.manual_seed(0)
    logits, said = torch.randn(2, 2, 9), torch.randn(2, 2, 9)
    spans = torch.tensor([[4, 6, 3, 6, 0], [0, 0, 5, 8, 0]])
    hard = float(span_loss(logits[0], logits[1], spans))
    soft = 0.0
    for row, (_, _, first, last, cls) in enumerate(spans.tolist()):
        choice = [cls, *range(first, last + 1)]
        for ours, theirs in zip(logits, said, strict=True):
            target = (theirs[row][choice] / TEMPERATURE).softmax(0)
            found = (ours[row][choice] / TEMPERATURE).log_softmax(0)
            entropy = -float((target * target.log()).sum())
            soft += TEMPERATURE**2 * (float(kl_div(found, target, reduction="sum")) + entropy) / 2
    assert float(span_loss(logits[0], logits[1], spans, said, 0.0)) == pytest.approx(hard, rel=1e-5)
    assert float(span_loss(logits[0], logits[1], spans, said, 1.0)) == pytest.approx(soft, rel=1e-5)
    assert float(span_loss(logits[0], logits[1], spans, said, 0.75)) == pytest.approx(
        0.25 * hard + 0.75 * soft, rel=1e-5
    )


def test_who_says_what_the_teacher_says_has_nothing_to_learn_from_it() -> None:
    import torch

    logits = torch.randn(2, 1, 8, requires_grad=True)
    span_loss(logits[0], logits[1], torch.tensor([[3, 3, 3, 5, 0]]), logits.detach(), 1.0).backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-5


def test_a_student_comes_to_say_what_the_teacher_says(data: Path, tmp_path: Path) -> None:
    """The targets have no share here, and the teacher's answers are random: so they are what is learned."""
    from qa_onnx.train.loop import Loop
    from qa_onnx.train.state import State
    from qa_onnx.train.teacher import teach

    made = job(data, teacher_share=1.0, epochs=6, eval_limit=0)
    made = dataclasses.replace(made, teacher=teacher_of(made))
    assert made.teacher is not None
    taught = teach(made.teacher, made.features, tmp_path)
    state = State(made.fingerprint())
    Loop(made, folder=tmp_path, state=state, taught=taught).run()
    first, last = np.mean(state.losses[:5]), np.mean(state.losses[-5:])
    least = _entropy(made, taught.logits)
    assert last - least < 0.3 * (first - least)


def _entropy(made: TrainingJob, logits: NDArray[np.float16]) -> float:
    """The loss of a student that says what the teacher says: the mean over all windows."""
    import torch

    total = 0.0
    for row, (low, high) in enumerate(zip(made.features.bounds, made.features.bounds[1:], strict=False)):
        own = torch.from_numpy(logits[low:high].astype(np.float32)).T[:, None]
        total += float(span_loss(own[0], own[1], torch.from_numpy(made.features.spans[[row]]).long(), own, 1.0))
    return total / len(made.features)


def test_a_run_with_a_teacher_goes_on_exactly_and_tells_of_it(data: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    settings = TrainSettings(**{**SMALL, "save_every_s": 0.0})

    class Stop(Exception):  # noqa: N818  # no error
        pass

    def stop(status: Any) -> None:
        if status.steps == 5:
            raise Stop

    def go(to: Path, **more: Any) -> dict[str, Any]:
        return train(
            checkpoint("bert"), [data], to, teacher=checkpoint("mpnet"), settings=settings, licence="CC0", **more
        )

    record = go(tmp_path / "whole")
    with pytest.raises(Stop):
        go(tmp_path / "broken", tell=stop)
    go(tmp_path / "broken", resume=True)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert record["teacher"]["model_type"] == "mpnet"
    card = (tmp_path / "whole" / "README.md").read_text(encoding="utf-8")
    assert "Of the loss, 90% is the cross entropy to the probabilities of tiny-mpnet (mpnet, " in card
    without = train(checkpoint("bert"), [data], tmp_path / "alone", settings=settings)
    assert without["teacher"] is None
    assert without["losses"] != record["losses"]


def test_a_run_goes_on_with_the_same_teacher_alone(data: Path, tmp_path: Path) -> None:
    settings = TrainSettings(**{**SMALL, "save_every_s": 0.0})

    def stop(status: Any) -> None:
        if status.steps == 2:  # the first is saved
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(checkpoint("bert"), [data], tmp_path / "m", teacher=checkpoint("bert"), settings=settings, tell=stop)
    with pytest.raises(TrainError, match=r"state of a run with another teacher \("):
        train(checkpoint("bert"), [data], tmp_path / "m", settings=settings, resume=True)


def test_a_run_that_was_stopped_while_the_teacher_was_asked_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even in place of a finished model, and not without the teacher, nor with another."""
    from qa_onnx.train import teacher as module

    monkeypatch.setattr(module, "_TOGETHER", 16)
    settings = TrainSettings(**SMALL)
    to = tmp_path / "m"
    plain = module.Teacher.logits
    asked = stop_after = 0

    def counted(self: Teacher, ids: Sequence[NDArray[np.int32]], spans: NDArray[np.int32]) -> Any:
        nonlocal asked
        asked += len(ids)
        if asked > stop_after:
            raise KeyboardInterrupt
        return plain(self, ids, spans)

    def go(**more: Any) -> dict[str, Any]:
        return train(checkpoint("bert"), [data], to, settings=settings, **more)

    go()
    monkeypatch.setattr(module.Teacher, "logits", counted)
    stop_after = 40
    with pytest.raises(KeyboardInterrupt):
        go(teacher=checkpoint("mpnet"), replace=True)
    assert (to.with_name("m.partial") / module.TAUGHT).stat().st_size > 0
    for other in (None, checkpoint("bert")):
        with pytest.raises(TrainError, match=r"state of a run with another teacher"):
            go(teacher=other, resume=True)
    asked, stop_after = 0, 1_000_000
    record = go(teacher=checkpoint("mpnet"), resume=True)
    assert record["teacher"]["model_type"] == "mpnet"
    assert asked == record["run"]["features"] - 32


def test_who_cannot_teach_is_refused(data: Path, tmp_path: Path) -> None:
    encoder = strip_head(copy(checkpoint("bert"), tmp_path / "encoder"))

    def refused(kind: str | Path, error: type[Exception], message: str, **changes: Any) -> None:
        folder = kind if not isinstance(kind, str) else checkpoint(kind)
        settings = TrainSettings(**{**SMALL, **changes})
        with pytest.raises(error, match=message):
            train(checkpoint("bert"), [data], tmp_path / "m", teacher=folder, settings=settings)
        assert not (tmp_path / "m").exists()

    refused(encoder, TrainError, r"teacher .*encoder lacks the weights qa_outputs.*; train it first")
    refused("roberta", TrainError, r"another vocabulary: it lacks \d+ of the \d+ tokens of the data, such as '")
    refused(
        "mpnet",
        InputError,
        "max_length 128 take 129 tokens of the teacher's; .* reads at most 128",
        max_length=128,
    )


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_a_teacher_with_broken_weights_is_refused(value: float, data: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from qa_onnx.train.teacher import load_teacher, teach

    broken = copy(checkpoint("bert"), tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["qa_outputs.bias"][0] = value
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    made = job(data)
    with pytest.raises(TrainError, match=r"logits are no numbers of float16: its weights are broken"):
        teach(
            load_teacher(str(broken), made.base, made.features, made.settings, made.place), made.features, tmp_path
        )


def test_without_a_teacher_the_share_changes_nothing(data: Path, tmp_path: Path) -> None:
    import torch

    one, two = job(data), job(data, teacher_share=0.1)
    assert one.fingerprint() == two.fingerprint()
    run(one, tmp_path / "one")
    run(two, tmp_path / "two")
    ours, theirs = weights_of(one), weights_of(two)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
