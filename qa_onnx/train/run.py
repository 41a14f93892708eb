"""Base + data -> a trained checkpoint in a folder: the parts of this package in their order.

corpus -> held out, negatives -> features -> loop -> best weights -> checkpoint, record, plot, card
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qa_onnx
from qa_onnx import squad
from qa_onnx.errors import InputError, TrainError
from qa_onnx.machine import instruction_sets
from qa_onnx.squad import DataSet
from qa_onnx.train.card import card
from qa_onnx.train.corpus import Corpus, load_corpus, nothing_left, split
from qa_onnx.train.extras import require_train
from qa_onnx.train.features import build
from qa_onnx.train.negatives import make_negatives
from qa_onnx.train.settings import TrainSettings
from qa_onnx.train.tally import Tally
from qa_onnx.train.workspace import RECORD, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.squad import Gold
    from qa_onnx.train.base import Base
    from qa_onnx.train.device import Place
    from qa_onnx.train.features import Features
    from qa_onnx.train.loop import Status
    from qa_onnx.train.state import State

_LOG = logging.getLogger(__name__)

LICENCE = "Not stated. The licence of the data, and that of the base model, apply to what is made of them."
_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
# What may differ between a run and its resumption.
_FREE = ("save_every_s",)


@dataclasses.dataclass(frozen=True, slots=True)
class Questions:
    """What a run is about.

    Attributes:
        corpus: all that was read.
        train: the questions to train on, negatives included, those of a context together.
        held_out: those to evaluate on; None: none.
        own: whether they were held out of the training data.
    """

    corpus: Corpus
    train: tuple[Gold, ...]
    held_out: DataSet | None
    own: bool


def train(
    base: str | Path,
    data: Sequence[str | Path],
    to: str | Path,
    *,
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
        settings: None: the defaults.
        eval_data: a data file to choose the best weights with; None: questions held out of `data`.
        resume: go on with the run that `to` has an unfinished state of, with the same arguments; without one, start.
        replace: throw away a finished model, or an unfinished run, of that name. With `resume`, the latter stays.
        licence: of the weights, for the model card.
        tell: is called after each step.

    Returns:
        The record of the run, as it is in training.json.

    Raises:
        MissingExtraError: a package is not installed.
        InputError: the data cannot be used, or does not fit the model.
        ExportError: the base is not there, or not safe to load.
        DeviceError: there is no such device.
        TrainError: the run cannot start there, go on or be written.
    """
    require_train()
    settings = TrainSettings() if settings is None else settings
    workspace = Workspace(to)
    if resume and not replace and workspace.finished and not workspace.work.exists():
        _LOG.info("%s is finished: there is nothing to resume", to)
        found: dict[str, Any] = json.loads((workspace.to / RECORD).read_bytes())
        return found
    workspace.prepare(resume=resume, replace=replace)
    tally = Tally()
    questions = _questions(data, eval_data, settings, tally)
    with workspace.occupied(resume=resume):
        return _train(str(base), data, questions, workspace, settings, tally, resume, licence, tell)


def _train(
    base: str,
    data: Sequence[str | Path],
    questions: Questions,
    workspace: Workspace,
    settings: TrainSettings,
    tally: Tally,
    resume: bool,  # noqa: FBT001
    licence: str,
    tell: Callable[[Status], None] | None,
) -> dict[str, Any]:
    from qa_onnx.train.base import load_base
    from qa_onnx.train.device import choose_place
    from qa_onnx.train.loop import Loop
    from qa_onnx.train.state import load_weights

    place = choose_place(settings)
    loaded = load_base(base, settings)
    options = settings.options()
    options.room(loaded.windower.special_tokens)
    features = build(questions.train, loaded.windower, options, tally=tally, seed=settings.seed)
    for line in tally.lines():
        _LOG.info("%s", line)
    if not tally.counts.get("answerable"):
        raise InputError(nothing_left(data, tally))
    state = _state(workspace, _fingerprint(loaded, features, questions, settings, place), resume=resume)
    loop = Loop(
        loaded,
        features,
        settings,
        place,
        folder=workspace.work,
        state=state,
        held_out=questions.held_out,
        tell=tell,
    )
    loop.run()
    if state.best:
        load_weights(workspace.work / state.best, loaded.model)
    record = _record(workspace, loaded, features, questions, settings, place, state, tally, licence)
    _write(workspace, loaded, record, state, questions)
    workspace.commit()
    return record


def _questions(
    data: Sequence[str | Path], eval_data: str | Path | None, settings: TrainSettings, tally: Tally
) -> Questions:
    corpus = load_corpus(data, tally)
    if eval_data is None:
        golds, held = split(corpus, settings.eval_limit, settings.seed)
        held += tuple(make_negatives(held, settings.negatives, settings.seed))
        text = "".join(_line(gold) for gold in held)
        held_out = DataSet("questions held out", hashlib.sha256(text.encode()).hexdigest(), held)
        if not held:
            _LOG.warning("there are too few texts to hold any out: nothing tells how well the model answers")
    else:
        golds = corpus.golds
        held_out = squad.load(eval_data, limit=settings.eval_limit or None, seed=settings.seed)
        known = {gold.context for gold in golds}
        if seen := sum(gold.context in known for gold in held_out.golds):
            _LOG.warning(
                "%d of %d questions of %s are about texts of the training data: scores on it will be too high",
                *(seen, len(held_out.golds), held_out.name),
            )
    negatives = make_negatives(golds, settings.negatives, settings.seed)
    for gold in negatives:
        tally.add("negatives", gold.id)
    # Those of a context together: it is tokenized once then.
    negatives.sort(key=lambda gold: gold.context)
    evaluated = held_out if held_out.golds and settings.eval_limit else None
    return Questions(corpus, (*golds, *negatives), evaluated, own=eval_data is None)


def _fingerprint(
    base: Base, features: Features, questions: Questions, settings: TrainSettings, place: Place
) -> dict[str, Any]:
    """What must be the same for a run to go on as if it had not been interrupted."""
    chosen = {name: value for name, value in dataclasses.asdict(settings).items() if name not in _FREE}
    return {
        **chosen,
        **dataclasses.asdict(place),
        "base": base.sha256,
        "data": features.sha256(),
        "evaluation data": questions.held_out.sha256 if questions.held_out else "",
    }


def _state(workspace: Workspace, fingerprint: dict[str, Any], *, resume: bool) -> State:
    """The state to go on from."""
    from qa_onnx.train.state import State, read_state

    found = read_state(workspace.work) if resume else None
    if found is None:
        if resume:
            _LOG.info("nothing was saved yet: starting at the beginning")
        return State(fingerprint)
    fingerprint = json.loads(json.dumps(fingerprint))
    names = fingerprint.keys() | found.fingerprint.keys()
    changed = sorted(name for name in names if fingerprint.get(name) != found.fingerprint.get(name))
    if changed:
        said = ", ".join(f"{name} ({found.fingerprint.get(name)!r})" for name in changed)
        raise TrainError(
            f"{workspace.work} is the state of a run with another {said}: resume it with the same arguments, or "
            "start again with --replace"
        )
    _LOG.info("going on from step %d, %.1f minutes into the run", found.steps, found.elapsed / 60)
    return found


def _record(
    workspace: Workspace,
    base: Base,
    features: Features,
    questions: Questions,
    settings: TrainSettings,
    place: Place,
    state: State,
    tally: Tally,
    licence: str,
) -> dict[str, Any]:
    """All that is known of a run, as JSON."""
    from qa_onnx.train.loop import peak_rate

    held_out, own = questions.held_out, questions.own
    best = [one for one in state.evaluations if one["best"]]
    return {
        "name": workspace.to.resolve().name,
        "base": {
            "name": base.name,
            "revision": base.revision,
            "sha256": base.sha256,
            "model_type": base.model.config.model_type,
            "parameters": sum(int(parameter.numel()) for parameter in base.model.parameters()),
            "fresh_head": bool(base.fresh),
        },
        "data": [dataclasses.asdict(source) for source in questions.corpus.sources],
        "held_out": held_out
        and {
            "kind": "held out" if own else "evaluation data",
            "name": held_out.name,
            "sha256": held_out.sha256,
            "questions": len(held_out.golds),
            "unanswerable": sum(not gold.answers for gold in held_out.golds),
            "articles": sorted({gold.article for gold in held_out.golds if gold.article}) if own else [],
        },
        "report": tally.lines(),
        "questions": tally.record(),
        "licence": licence,
        "settings": dataclasses.asdict(settings),
        "run": {
            "features": len(features),
            "features_sha256": features.sha256(),
            "examples": state.position,
            "epochs": state.position / len(features),
            "steps": state.steps,
            "minutes": state.elapsed / 60,
            "learning_rate": peak_rate(settings, base.model),
            "device": place.device,
            "bf16": place.bf16,
            "batch_tokens": place.batch_tokens,
            "threads": state.threads,
            "instruction_sets": list(instruction_sets()),
        },
        "result": best[-1] if best else None,
        "evaluations": state.evaluations,
        "losses": state.losses,
        "versions": {"qa-onnx": qa_onnx.__version__, **{name: metadata.version(name) for name in _PACKAGES}},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _write(workspace: Workspace, base: Base, record: dict[str, Any], state: State, questions: Questions) -> None:
    """Stage the result."""
    from qa_onnx.train.plot import plot

    stage = workspace.stage
    try:
        stage.mkdir()
        base.save(stage)
        (stage / "training.svg").write_text(plot(state.losses, state.evaluations), encoding="utf-8")
        (stage / "README.md").write_text(card(record), encoding="utf-8")
        if questions.own and questions.held_out:
            lines = "".join(_line(gold) for gold in questions.held_out.golds)
            (stage / "held-out.jsonl").write_text(lines, encoding="utf-8")
        (stage / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise TrainError(f"cannot write {stage}: {error.strerror}; go on with --resume") from error


def _line(gold: Gold) -> str:
    """A question as a JSON line."""
    answers = [
        {"text": text, "answer_start": start} for text, start in zip(gold.answers, gold.answer_starts, strict=True)
    ]
    fields = {"id": gold.id, "title": gold.article, "question": gold.question, "context": gold.context}
    return json.dumps({**fields, "answers": answers}, ensure_ascii=False) + "\n"
