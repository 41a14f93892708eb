"""A larger model + the windows of the one in training -> the logits that it gives to the same tokens.

The teacher reads the same tokens of question and context, under its own ids and between its own special tokens,
and what it says of each holds for the student's. So it must have the student's vocabulary, as models with that of
the uncased BERT have among each other: MiniLM, DistilBERT, ELECTRA, MPNet.

It is asked once, before the first step, however many epochs there are. What it says goes into a file of the run as
it is said, four bytes a token, and a run that was stopped goes on at the end of that file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx import batches
from qa_onnx.errors import InputError, TrainError
from qa_onnx.train.base import load_base

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.tokens.special_tokens import Template
    from qa_onnx.train.base import Base
    from qa_onnx.train.device import TorchDevice
    from qa_onnx.train.features import Features
    from qa_onnx.train.settings import TrainSettings

_LOG = logging.getLogger(__name__)

TAUGHT = "taught.float16"
_TOGETHER = 1024  # windows that are sorted by length, and written, together
_SAID_EVERY_S = 60.0
_SHOWN = 5  # tokens that an error names


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model to learn from.

    Attributes:
        base: the model.
        place: where and how its products are computed.
        student: the special tokens of the windows that it is shown.
        table: int64 (V,), the teacher's id of each token of the student's; -1 where it has none.
    """

    base: Base
    place: TorchDevice
    student: Template
    table: NDArray[np.int64]

    def sha256(self) -> str:
        """Of all that its logits of a window follow from, in hexadecimal."""
        base = self.base
        facts = (base.sha256, base.model.config.to_json_string(), base.windower.template, self.student, self.place)
        return hashlib.sha256(repr(facts).encode() + self.table.tobytes()).hexdigest()

    def logits(
        self, ids: Sequence[NDArray[np.int32]], spans: NDArray[np.int32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What it says of B windows of the student's.

        Args:
            ids: token ids of each window, the longest window first.
            spans: (B, 5), as in `Features`.

        Returns:
            Its logits for start and end, (B, T, 2), and for each token of the student's windows, (B, U), the
            position among the T where its logits are: of the context's tokens and of [CLS], any for the others.
        """
        import torch

        template = self.base.windower.template
        rows, types = [], []
        positions = np.zeros((len(ids), len(ids[0])), np.int64)
        for row, (window, (_, _, first, last, cls)) in enumerate(zip(ids, spans.tolist(), strict=True)):
            question = self.table[window[len(self.student.before) : first - len(self.student.between)]]
            context = self.table[window[first : last + 1]]
            made, segments = template.window(question, context)
            rows.append(made)
            types.append(segments)
            start = template.first(len(question))
            positions[row, first : last + 1] = np.arange(start, start + len(context))
            positions[row, cls] = template.cls
        arrays = batches.pad(rows, types, input_names=self.base.inputs, pad_id=self.base.pad_id)
        with torch.inference_mode(), self.place.autocast():
            out = self.base.model(**self.place.tensors(arrays))
        found: NDArray[np.float32] = torch.stack((out.start_logits, out.end_logits), -1).float().cpu().numpy()
        return found, positions


@dataclass(frozen=True, slots=True)
class Taught:
    """What a teacher says of N tokens of features.

    Attributes:
        bounds: of the features' windows.
        logits: float16 (N, 2), for start and end.
    """

    bounds: NDArray[np.int64]
    logits: NDArray[np.float16]

    def rows(self, indices: Sequence[int]) -> Any:
        """Float16 (2, B, T), padded with zeros: of some windows, the longest of which has T tokens."""
        import torch

        parts = [self.logits[self.bounds[index] : self.bounds[index + 1]] for index in indices]
        found = np.zeros((2, len(parts), max(map(len, parts))), np.float16)
        for row, part in enumerate(parts):
            found[:, row, : len(part)] = part.T
        return torch.from_numpy(found)


def load_teacher(
    name: str, student: Base, features: Features, settings: TrainSettings, place: TorchDevice
) -> Teacher:
    """Load a teacher, and see that it can read the student's windows.

    Args:
        name: a folder, or an id on the hub.
        student: the model in training.
        features: what it is trained on.
        settings: `max_length` is read.
        place: where and how the teacher's products are computed.

    Raises:
        ExportError: it is not there, or not safe to load.
        TrainError: it does not answer questions, or has another vocabulary.
        InputError: it does not read windows so long.
    """
    base = load_base(name, settings)
    if base.fresh:
        raise TrainError(
            f"the teacher {name} lacks the weights {', '.join(base.fresh)}: it is not fine-tuned for question "
            "answering; train it first"
        )
    longest = settings.max_length - len(student.windower.template) + len(base.windower.template)
    if longest > base.positions:
        raise InputError(
            f"windows of max_length {settings.max_length} take {longest} tokens of the teacher's; {name} reads at "
            f"most {base.positions}"
        )
    return Teacher(base, place, student.windower.template, _table(name, student, base, features))


def _table(name: str, student: Base, teacher: Base, features: Features) -> NDArray[np.int64]:
    """The teacher's ids by the student's.

    Raises:
        TrainError: the teacher lacks a token of the windows.
    """
    ours, theirs = student.windower.vocabulary(), teacher.windower.vocabulary()
    table = np.full(max(ours.values()) + 1, -1, np.int64)
    for token, number in ours.items():
        table[number] = theirs.get(token, -1)
    template = student.windower.template
    special = np.concatenate((template.before, template.between, template.after))
    used = np.setdiff1d(np.flatnonzero(np.bincount(features.ids)), special)
    missing = used[table[used] < 0]
    if len(missing):
        tokens = {number: token for token, number in ours.items()}
        shown = ", ".join(repr(tokens[number]) for number in missing[:_SHOWN].tolist())
        raise TrainError(
            f"the teacher {name} has another vocabulary: it lacks {len(missing):,} of the {len(used):,} tokens of "
            f"the data, such as {shown}; take one with the vocabulary of {student.name}"
        )
    return table


def teach(teacher: Teacher, features: Features, folder: Path) -> Taught:
    """Ask a teacher about all features, or go on where an earlier run was stopped.

    Args:
        teacher: is left in evaluation mode.
        features: of the student.
        folder: of the run; what is there was said by this teacher of these features.

    Raises:
        TrainError: it cannot be written, or the teacher's logits are no numbers.
    """
    path = folder / TAUGHT
    edges = [*range(0, len(features), _TOGETHER), len(features)]
    try:
        with path.open("ab") as file:
            whole = np.searchsorted(4 * features.bounds[edges], file.tell(), side="right") - 1
            file.truncate(int(4 * features.bounds[edges[whole]]))
            for logits in _ask(teacher, features, edges[whole:]):
                file.write(logits.tobytes())
                file.flush()
                os.fsync(file.fileno())
        logits = np.fromfile(path, np.float16).reshape(-1, 2)
    except OSError as error:
        raise TrainError(f"cannot write {path}: {error.strerror}; go on with --resume") from error
    return Taught(features.bounds, logits)


def _ask(teacher: Teacher, features: Features, edges: Sequence[int]) -> Iterable[NDArray[np.float16]]:
    """The logits of the windows between each two edges: float16 (N, 2), of their tokens in order."""
    lengths = np.diff(features.bounds).tolist()
    teacher.base.model.to(teacher.place.device).eval()
    if len(edges) > 1:
        _LOG.info("asking the teacher about %s of %s windows", f"{edges[-1] - edges[0]:,}", f"{edges[-1]:,}")
    started = said = time.monotonic()
    for low, high in pairwise(edges):
        begin = features.bounds[low]
        found = np.zeros((features.bounds[high] - begin, 2), np.float16)
        for group in batches.by_length(lengths[low:high], batch_tokens=teacher.place.batch_tokens):
            rows = [low + row for row in group]
            logits, positions = teacher.logits(features.rows(rows)[0], features.spans[rows])
            with np.errstate(over="ignore"):
                logits = logits.astype(np.float16)
            if not np.isfinite(logits).all():
                raise TrainError("the teacher's logits are no numbers of float16: its weights are broken")
            for row, index in enumerate(rows):
                at = features.bounds[index] - begin
                found[at : at + lengths[index]] = logits[row, positions[row, : lengths[index]]]
        yield found
        if time.monotonic() - said >= _SAID_EVERY_S:
            said = time.monotonic()
            rate = (high - edges[0]) / (said - started)
            _LOG.info(
                "the teacher has read %s of %s windows, %.1f a second", f"{high:,}", f"{len(features):,}", rate
            )
    teacher.base.model.to("cpu")
