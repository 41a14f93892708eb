"""Base and data -> a trained checkpoint in a folder.

prepare_job -> run_teacher -> Trainer -> best weights -> checkpoint with record, plot and model card
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import TrainError, number_of
from qa_onnx.machine.files import os_errors
from qa_onnx.machine.packages import require
from qa_onnx.train.job import prepare_job
from qa_onnx.train.questions import to_lines
from qa_onnx.train.report import make_record, model_card, plot
from qa_onnx.train.settings import TrainSettings
from qa_onnx.train.state import State, load_weights, read_state, save_state
from qa_onnx.train.teacher import run_teacher
from qa_onnx.train.trainer import Trainer
from qa_onnx.train.workspace import RECORD, Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qa_onnx.train.callback import TrainingCallback
    from qa_onnx.train.job import TrainingJob

_LOG = logging.getLogger(__name__)

_FEW_STEPS = 20  # AdamW moves a weight by about the learning rate a step, by default 2e-5


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
    licence: str | None = None,
    callback: TrainingCallback | None = None,
) -> dict[str, Any]:
    """Fine-tune a checkpoint for question answering.

    Nothing in `to` changes before the run is finished. Until then its state is in `<to>.partial`, from which it
    can resume, even after it was killed.

    Args:
        base: a folder or hub id: an encoder, or a question answering model (safetensors).
        data: SQuAD JSON or JSON Lines, plain or gzip, or folders of such files.
        to: folder of the trained checkpoint.
        teacher: a folder or hub id: a question answering model of the same vocabulary, whose probabilities are
            learned too.
        settings: None: the defaults.
        eval_data: a data file to choose the best weights with; None: questions held out of `data`.
        resume: continue the unfinished run of `to`, with the same arguments; without one, start.
        replace: remove a finished model, or an unfinished run, of that name. With `resume`, keep the latter.
        licence: of the weights, for the model card; None: it says that those of data and base apply.
        callback: is called with the status after each step, for a progress bar or an experiment tracker.

    Returns:
        The record of the run, the content of training.json.

    Raises:
        MissingExtraError: a package is not installed.
        InputError: the data is not usable, or does not fit the model.
        ExportError: the base or the teacher does not exist, or is not safe to load.
        DeviceError: PyTorch cannot use the device.
        TrainError: the run cannot start, resume or be written.
    """
    require("train")
    workspace = Workspace(to)
    settings = TrainSettings() if settings is None else settings
    with workspace.locked():
        finished = workspace.finished
        if finished and resume and not replace and not workspace.unfinished:
            _LOG.info("%s is finished: there is nothing to resume", to)
            return finished
        workspace.check(resume=resume, replace=replace)
        with os_errors(TrainError, f"cannot train {base}"):
            job = prepare_job(base, data, settings, eval_data=eval_data, teacher=teacher)
        workspace.clear(resume=resume)
        state = _resume(workspace, job) if resume else State(job.fingerprint())
        _train(job, state, workspace.work, callback)
        if state.steps < _FEW_STEPS:
            _LOG.warning(
                "trained in %s: the model has hardly changed; give it more --epochs or --minutes, "
                "or a smaller --batch-size",
                number_of(state.steps, "step"),
            )
        record = make_record(job, state, name=workspace.to.resolve().name, licence=licence)
        _stage(job, state, workspace, record)
        workspace.commit()
    return record


def _resume(workspace: Workspace, job: TrainingJob) -> State:
    """Read the state of the unfinished run, and refuse another job's."""
    new = json.loads(json.dumps(job.fingerprint()))
    state = read_state(workspace.work)
    if state is None:
        _LOG.info("nothing was saved yet: starting at the beginning")
        return State(new)
    old = state.fingerprint
    changed = [name for name in sorted(new.keys() | old.keys()) if new.get(name) != old.get(name)]
    if changed:
        values = ", ".join(f"{name} ({old.get(name)!r})" for name in changed)
        raise TrainError(
            f"{workspace.work} is the state of a run with another {values}: resume it with the same arguments, or "
            "start again with --replace"
        )
    _LOG.info("resuming at step %d, %.1f minutes into the run", state.steps, state.elapsed / 60)
    return state


def _train(job: TrainingJob, state: State, folder: Path, callback: TrainingCallback | None) -> None:
    """Train to the end, and leave the best weights in the model."""
    logits = None
    if job.teacher is not None:
        if not state.steps:
            save_state(folder, state)  # so that only the same arguments resume a run of the teacher
        logits = run_teacher(job.teacher, job.features, folder)
    Trainer(job, folder=folder, state=state, teacher_logits=logits, callback=callback).run()
    if state.best:
        load_weights(folder / state.best, job.base.model)


def _stage(job: TrainingJob, state: State, workspace: Workspace, record: dict[str, Any]) -> None:
    """Write the result beside the folder that it will replace."""
    try:
        files = {
            "training.svg": plot(state),
            "README.md": model_card(record),
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
