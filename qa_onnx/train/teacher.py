"""A larger model + the windows of the student, the model in training -> the teacher's logits for the same tokens.

The teacher reads the tokens of question and context under its own ids and between its own special tokens, and its
logits for a token are used for the student's. So it must have the student's vocabulary, as the models with that of
the uncased BERT have: MiniLM, DistilBERT, ELECTRA, MPNet.

It runs once, before the first step, however many epochs there are. Its logits are appended to a file of the run,
four bytes a token; a run that was stopped continues at the end of that file.
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
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from qa_onnx.tokens.special_tokens import Template
    from qa_onnx.train.base import Base, TorchDevice
    from qa_onnx.train.settings import TrainSettings
    from qa_onnx.train.targets import Features

_LOG = logging.getLogger(__name__)

LOGITS = "teacher-logits.float16"
_BLOCK = 1024  # windows that are sorted by length, and written, together
_LOG_EVERY_S = 60.0
_SHOWN = 5  # tokens that an error names


@dataclass(frozen=True, slots=True)
class Teacher:
    """A model whose probabilities the student learns.

    Attributes:
        base: the model.
        device: where it runs.
        student: the special tokens of the student's windows.
        vocabulary_map: int64 (V,), the teacher's id of each token of the student; -1: it has none.
    """

    base: Base
    device: TorchDevice
    student: Template
    vocabulary_map: NDArray[np.int64]

    def sha256(self) -> str:
        """Return the SHA-256, in hexadecimal, of all that its logits of a window depend on."""
        base = self.base
        facts = (
            base.sha256,
            base.model.config.to_json_string(),
            base.windower.template,
            self.student,
            self.device,
        )
        return hashlib.sha256(repr(facts).encode() + self.vocabulary_map.tobytes()).hexdigest()

    def logits(self, ids: Sequence[NDArray[np.int32]], spans: NDArray[np.int32]) -> NDArray[np.float32]:
        """Run the teacher on B windows of the student.

        Args:
            ids: token ids of each window, the longest window first.
            spans: (B, 5), as in `Features`.

        Returns:
            Its logits for start and end of each token of the student's windows, (B, T, 2); meaningful for the
            context's tokens and [CLS] only.
        """
        import torch

        template = self.base.windower.template
        rows, types = [], []
        positions = np.zeros((len(ids), len(ids[0])), np.int64)  # of the student's tokens, in the teacher's window
        for row, (window, (_, _, first, last, cls)) in enumerate(zip(ids, spans.tolist(), strict=True)):
            question = self.vocabulary_map[window[len(self.student.before) : first - len(self.student.between)]]
            context = self.vocabulary_map[window[first : last + 1]]
            row_ids, row_types = template.window(question, context)
            rows.append(row_ids)
            types.append(row_types)
            start = template.first(len(question))
            positions[row, first : last + 1] = np.arange(start, start + len(context))
            positions[row, cls] = template.cls
        arrays = batches.pad(rows, types, input_names=self.base.inputs, pad_id=self.base.pad_id)
        with torch.inference_mode():
            out = self.device.run(self.base.model, arrays)
        logits = torch.stack((out.start_logits, out.end_logits), -1).float().cpu().numpy()
        return np.take_along_axis(logits, positions[:, :, None], 1)


@dataclass(frozen=True, slots=True)
class TeacherLogits:
    """A teacher's logits for the N tokens of features.

    Attributes:
        bounds: of the features' windows.
        logits: float16 (N, 2), for start and end.
    """

    bounds: NDArray[np.int64]
    logits: NDArray[np.float16]

    def rows(self, indices: Sequence[int]) -> Any:
        """Return the logits of B windows, float16 (2, B, T), padded with zeros to the longest."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        parts = [self.logits[self.bounds[index] : self.bounds[index + 1]] for index in indices]
        return (
            pad_sequence([torch.from_numpy(part) for part in parts], batch_first=True)
            .permute(2, 0, 1)
            .contiguous()
        )


def load_teacher(
    name: str, student: Base, features: Features, settings: TrainSettings, device: TorchDevice
) -> Teacher:
    """Load a teacher, a folder or an id on the hub, and check that it can read the student's windows.

    Raises:
        ExportError: it does not exist, or is not safe to load.
        TrainError: it is not a question answering model, or has another vocabulary.
        InputError: its windows are too short.
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
            f"windows of max_length {settings.max_length} are {longest} tokens long for the teacher; {name} reads "
            f"at most {base.positions}: lower max_length"
        )
    return Teacher(base, device, student.windower.template, _map_vocabulary(name, student, base, features))


def _map_vocabulary(name: str, student: Base, teacher: Base, features: Features) -> NDArray[np.int64]:
    """Return the teacher's id of each token of the student; -1: it has none.

    Raises:
        TrainError: the teacher lacks a token of the features.
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
        names = ", ".join(repr(tokens[number]) for number in missing[:_SHOWN].tolist())
        raise TrainError(
            f"the teacher {name} has another vocabulary: it lacks {len(missing):,} of the {len(used):,} tokens of "
            f"the data, such as {names}; take one with the vocabulary of {student.name}"
        )
    return table


def run_teacher(teacher: Teacher, features: Features, folder: Path) -> TeacherLogits:
    """Run a teacher on the student's features, or continue where its earlier run was stopped in the same folder.

    Raises:
        TrainError: the logits cannot be written, or are not finite.
    """
    path = folder / LOGITS
    edges = [*range(0, len(features), _BLOCK), len(features)]
    teacher.base.model.to(teacher.device.device).eval()
    try:
        with path.open("ab") as file:
            complete = np.searchsorted(4 * features.bounds[edges], file.tell(), side="right") - 1
            file.truncate(int(4 * features.bounds[edges[complete]]))
            logged = -_LOG_EVERY_S
            for low, high in pairwise(edges[complete:]):
                if time.monotonic() - logged >= _LOG_EVERY_S:
                    logged = time.monotonic()
                    _LOG.info("the teacher has read %s of %s windows", f"{low:,}", f"{len(features):,}")
                file.write(_read_block(teacher, features, low, high).tobytes())
                file.flush()
                os.fsync(file.fileno())
        logits = np.fromfile(path, np.float16).reshape(-1, 2)
    except OSError as error:
        raise TrainError(f"cannot write {path}: {error.strerror}; go on with --resume") from error
    teacher.base.model.to("cpu")
    return TeacherLogits(features.bounds, logits)


def _read_block(teacher: Teacher, features: Features, low: int, high: int) -> NDArray[np.float16]:
    """Return the logits of some neighbouring windows: float16 (N, 2), of their tokens in order."""
    bounds = features.bounds[low : high + 1]
    lengths = np.diff(bounds).tolist()
    block = np.zeros((bounds[-1] - bounds[0], 2), np.float16)
    for group in batches.by_length(lengths, batch_tokens=teacher.device.batch_tokens):
        rows = [low + row for row in group]
        with np.errstate(over="ignore"):
            logits = teacher.logits(features.rows(rows)[0], features.spans[rows]).astype(np.float16)
        if not np.isfinite(logits).all():
            raise TrainError("the teacher's logits are not finite in float16: its weights are broken")
        for row, index in enumerate(group):
            at = bounds[index] - bounds[0]
            block[at : at + lengths[index]] = logits[row, : lengths[index]]
    return block
