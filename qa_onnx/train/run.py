"""Base + data -> a trained checkpoint in a folder: the parts of this package in their order.

questions -> features -> loop -> best weights -> checkpoint, record, plot, card
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import InputError, TrainError
from qa_onnx.machine.packages import require
from qa_onnx.train.card import card
from qa_onnx.train.corpus import nothing_left
from qa_onnx.train.features import build
from qa_onnx.train.questions import read_questions, to_lines
from qa_onnx.train.record import TrainingJob, make_record
from qa_onnx.train.settings import TrainSettings
from qa_onnx.train.tally import Tally
from qa_onnx.train.workspace import RECORD, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from qa_onnx.train.loop import Status
    from qa_onnx.train.state import State

_LOG = logging.getLogger(__name__)

LICENCE = "Not stated. The licence of the data, and that of the base model, apply to what is made of them."


def train(
    base: str | Path,
    data: Sequence[str | Path],
    to: str | Path,
    *,
    teacher: str | Path | None = None,
    settings: TrainSettings | None = None,
    eval_data: str | Path | None = None,
    resume: bool = False,
    replace: bool = False,
    licence: str = LICENCE,
    tell: Callable[[Status], None] | None = None,
) -> dict[str, Any]:
    """Fine-tune a checkpoint for question answering.

    Nothing in `to` changes before the run has come to its end. While it is at work, its state is beside it, in
    `<to>.partial`, and whatever kills it, it can go on from there.

    Args:
        base: a folder or hub id: an encoder, or a model that answers questions already (safetensors).
        data: SQuAD JSON or JSON Lines, plain or gzip, or folders of such files.
        to: where the trained checkpoint goes.
        teacher: a folder or hub id: a model that answers questions, of the same vocabulary, whose probabilities
            are learned too.
        settings: None: the defaults.
        eval_data: a data file to choose the best weights with; None: questions held out of `data`.
        resume: go on with the unfinished run of `to`, with the same arguments; without one, start.
        replace: throw away a finished model, or an unfinished run, of that name. With `resume`, the latter stays.
        licence: of the weights, for the model card.
        tell: is called after each step.

    Returns:
        The record of the run, as it is in training.json.

    Raises:
        MissingExtraError: a package is not installed.
        InputError: the data cannot be used, or does not fit the model.
        ExportError: the base, or the teacher, is not there, or not safe to load.
        DeviceError: there is no such device.
        TrainError: the run cannot start there, go on or be written.
    """
    require("train")
    workspace = Workspace(to)
    if resume and not replace and workspace.finished and not workspace.work.exists():
        _LOG.info("%s is finished: there is nothing to resume", to)
        found: dict[str, Any] = json.loads((workspace.to / RECORD).read_bytes())
        return found
    workspace.prepare(resume=resume, replace=replace)
    job = _prepare(str(base), data, eval_data, teacher, TrainSettings() if settings is None else settings)
    with workspace.occupied(resume=resume, replace=replace):
        state = _state(workspace, job, resume=resume)
        record = _run(job, state, workspace, licence, tell)
        _stage(job, state, workspace, record)
        workspace.commit()
    return record


def _prepare(
    base: str,
    data: Sequence[str | Path],
    eval_data: str | Path | None,
    teacher: str | Path | None,
    settings: TrainSettings,
) -> TrainingJob:
    """All that is needed for the first step."""
    from qa_onnx.train.base import load_base
    from qa_onnx.train.device import choose_place
    from qa_onnx.train.teacher import load_teacher

    place = choose_place(settings)
    tally = Tally()
    questions = read_questions(data, eval_data, settings, tally)
    loaded = load_base(base, settings)
    features = build(questions.train, loaded.windower, settings.options(), tally=tally, seed=settings.seed)
    for line in tally.lines():
        _LOG.info("%s", line)
    if not tally.counts.get("answerable"):
        raise InputError(nothing_left(data, tally))
    taught_by = None if teacher is None else load_teacher(str(teacher), loaded, features, settings, place)
    return TrainingJob(settings, loaded, questions, features, place, tally, taught_by)


def _state(workspace: Workspace, job: TrainingJob, *, resume: bool) -> State:
    """The state to go on from."""
    from qa_onnx.train.state import State, read_state

    found = read_state(workspace.work) if resume else None
    if found is None:
        if resume:
            _LOG.info("nothing was saved yet: starting at the beginning")
        return State(job.fingerprint())
    asked = json.loads(json.dumps(job.fingerprint()))
    names = sorted(asked.keys() | found.fingerprint.keys())
    changed = [name for name in names if asked.get(name) != found.fingerprint.get(name)]
    if changed:
        said = ", ".join(f"{name} ({found.fingerprint.get(name)!r})" for name in changed)
        raise TrainError(
            f"{workspace.work} is the state of a run with another {said}: resume it with the same arguments, or "
            "start again with --replace"
        )
    _LOG.info("going on from step %d, %.1f minutes into the run", found.steps, found.elapsed / 60)
    return found


def _run(
    job: TrainingJob, state: State, workspace: Workspace, licence: str, tell: Callable[[Status], None] | None
) -> dict[str, Any]:
    """Train to the end; afterwards the model has its best weights."""
    from qa_onnx.train.loop import Loop
    from qa_onnx.train.optimizer import peak_rate
    from qa_onnx.train.state import load_weights, save_start
    from qa_onnx.train.teacher import teach

    taught = None
    if job.teacher is not None:
        if not state.steps:
            save_start(workspace.work, state)
        taught = teach(job.teacher, job.features, workspace.work)
    Loop(job, folder=workspace.work, state=state, taught=taught, tell=tell).run()
    if state.best:
        load_weights(workspace.work / state.best, job.base.model)
    rate = peak_rate(job.settings, job.base.model)
    return make_record(job, state, name=workspace.to.resolve().name, licence=licence, peak_rate=rate)


def _stage(job: TrainingJob, state: State, workspace: Workspace, record: dict[str, Any]) -> None:
    """Write the result, not yet to its place."""
    from qa_onnx.train.plot import plot

    try:
        files = {
            "training.svg": plot(state.losses, state.evaluations),
            "README.md": card(record),
            RECORD: json.dumps(record, indent=1) + "\n",
        }
        if job.questions.own and job.questions.held_out:
            files["held-out.jsonl"] = to_lines(job.questions.held_out.golds)
        workspace.stage.mkdir()
        job.base.save(workspace.stage)
        for name, text in files.items():
            (workspace.stage / name).write_text(text, encoding="utf-8")
    except Exception as error:  # safetensors has an exception of its own for a full disk
        raise TrainError(f"cannot write {workspace.stage}: {error}; go on with --resume") from error
