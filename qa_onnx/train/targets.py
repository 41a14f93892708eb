"""Questions -> the windows to train on, each with its target: the start and end token that the model shall choose.

Windows and offsets are those of inference (`Windower`); nothing is tokenized here again. docs/training.md has the
rules in a table; the names of the cases are those of the tally. Two reasons:

- Most windows of a long context do not hold the answer: one of them is kept per question, chosen by seed, of those
  that show the text of no right answer to it, in any case and spacing.
- A question is left out if no window holds its whole answer, which is longer than the overlap ("cut"): CLS
  everywhere would teach that there is no answer.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.train.corpus import plain, right_answers
from qa_onnx.windows import Example

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from qa_onnx.data.squad import Gold
    from qa_onnx.options import Options
    from qa_onnx.tokens.encoding import EncodedContext
    from qa_onnx.train.corpus import Tally
    from qa_onnx.windows import Window, Windower

NEARBY = 100  # characters
_BLOCK = 256  # questions that are tokenized together


@dataclass(frozen=True, slots=True)
class AnswerLocation:
    """Position of an answer in its context.

    Attributes:
        span: characters, half-open, without blanks at the edges; None: it is not found.
        kinds: of the tally that count for it.
    """

    span: tuple[int, int] | None
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A window, and the positions in it that the model shall choose; twice [CLS] for no answer."""

    window: Window
    start: int
    end: int


def locate(context: str, text: str, start: int) -> AnswerLocation:
    """Find the characters of an answer.

    Args:
        context: of the question.
        text: of the answer, not blank.
        start: index of its first character according to the data; -1: not stated.
    """
    bare = text.strip()
    kinds = ("trimmed",) if bare != text else ()
    lead = len(text) - len(text.lstrip())
    for at in (start + lead, start):
        if start >= 0 and context.startswith(bare, at):
            return AnswerLocation((at, at + len(bare)), kinds)
    starts = [match.start() for match in re.finditer(f"(?={re.escape(bare)})", context)]  # overlaps included
    if not starts:
        return AnswerLocation(None, ("absent",))
    if start < 0:
        kinds = (*kinds, "ambiguous") if len(starts) > 1 else kinds
        return AnswerLocation((starts[0], starts[0] + len(bare)), kinds)
    near = [at for at in starts if abs(at - start) <= NEARBY]
    if len(near) != 1:
        return AnswerLocation(None, ("misplaced",))
    return AnswerLocation((near[0], near[0] + len(bare)), (*kinds, "moved"))


def choose(gold: Gold) -> AnswerLocation:
    """Return the location that most of a question's answers name, of equals the first."""
    locations = [
        locate(gold.context, text, start) for text, start in zip(gold.answers, gold.answer_starts, strict=True)
    ]
    votes = Counter(location.span for location in locations)
    return max(locations, key=lambda location: votes[location.span] if location.span else 0)


def to_tokens(context: EncodedContext, span: tuple[int, int]) -> tuple[int, int] | None:
    """Return the fewest tokens of a context that cover a span of characters, inclusive; None: no token does."""
    starts, ends = context.tokens.offsets.T
    # A token may be of no characters: a blank that the tokenizer puts before the text.
    tokens = np.flatnonzero((starts < span[1]) & (ends > span[0]) & (starts < ends))
    return (int(tokens[0]), int(tokens[-1])) if len(tokens) else None


def in_window(window: Window, tokens: tuple[int, int]) -> tuple[int, int] | None:
    """Convert tokens of the context to positions in a window; None: it does not hold all of them."""
    shift = window.first - window.token_offset
    start, end = tokens[0] + shift, tokens[1] + shift
    return (start, end) if window.first <= start and end <= window.last else None


def targets(
    gold: Gold, windows: Sequence[Window], draw: random.Random, *, right: Collection[str] = ()
) -> tuple[list[Target], tuple[str, ...]]:
    """Return the targets of a question's windows; `draw` chooses the one without an answer.

    Args:
        gold: the question.
        windows: all of its windows.
        draw: chooses the window that teaches "no answer", which shows none of the right answers.
        right: right answers to the question in this context, beside its own.

    Returns:
        The targets, none if the question is left out, and the kinds of the tally that count for it.
    """
    answers = [plain(answer) for answer in (*gold.answers, *right)]
    if not gold.answers:
        empty = [window for window in windows if not _shows(window, answers)]
        return ([_cls(draw.choice(empty))], ("unanswerable",)) if empty else ([], ("contradicted",))
    location = choose(gold)
    if location.span is None:
        return [], location.kinds
    context = windows[0].context
    tokens = to_tokens(context, location.span)
    if tokens is None:
        return [], ("no token",)
    spans = [(window, in_window(window, tokens)) for window in windows]
    full = [Target(window, *span) for window, span in spans if span is not None]
    if not full:
        return [], ("cut",)
    empty = [window for window, span in spans if span is None and not _shows(window, answers)]
    kinds = ("answerable", *location.kinds)
    start, end = context.characters(*tokens)
    if context.text[start:end].strip() != context.text[slice(*location.span)]:
        kinds = (*kinds, "widened")
    return full + ([_cls(draw.choice(empty))] if empty else []), kinds


def _cls(window: Window) -> Target:
    return Target(window, window.cls, window.cls)


def _shows(window: Window, answers: Sequence[str]) -> bool:
    """Return whether the part of the context in a window has the text of an answer, all of them `plain`."""
    if not answers or window.last < window.first:
        return False
    last = window.token_offset + window.last - window.first
    text = plain(window.context.text[slice(*window.context.characters(window.token_offset, last))])
    return any(answer in text for answer in answers)


@dataclass(frozen=True, slots=True)
class Features:
    """F windows with their targets, five bytes a token.

    Attributes:
        ids: int32 (N,), the token ids of all windows, concatenated.
        types: uint8 (N,), their segment ids.
        bounds: int64 (F + 1,): window f is bounds[f] to bounds[f + 1] of them.
        spans: int32 (F, 5): for each window start and end of the target, first and last token of the context, and
            [CLS].
    """

    ids: NDArray[np.int32]
    types: NDArray[np.uint8]
    bounds: NDArray[np.int64]
    spans: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.spans)

    def rows(self, indices: Sequence[int]) -> tuple[list[NDArray[np.int32]], list[NDArray[np.uint8]]]:
        """Return the token ids and the segment ids of some windows."""
        parts = [slice(self.bounds[index], self.bounds[index + 1]) for index in indices]
        return [self.ids[part] for part in parts], [self.types[part] for part in parts]

    def sha256(self) -> str:
        """Return the SHA-256 of all arrays, in hexadecimal."""
        digest = hashlib.sha256()
        for array in (self.ids, self.types, self.bounds, self.spans):
            digest.update(array.tobytes())
        return digest.hexdigest()


def build(golds: Sequence[Gold], windower: Windower, options: Options, *, tally: Tally, seed: int) -> Features:
    """Cut questions into windows and find their targets.

    Args:
        golds: the questions; a context is tokenized once if its questions are neighbours.
        windower: of the model's tokenizer.
        options: `max_length`, `doc_stride` and `max_question_length` are read.
        tally: counts what becomes of each question.
        seed: of the choice among windows without an answer.

    Raises:
        InputError: the options leave a context no room.
    """
    ids: list[NDArray[np.int32]] = []
    types: list[NDArray[np.uint8]] = []
    spans: list[tuple[int, int, int, int, int]] = []
    draw = random.Random(seed)
    right = right_answers(golds)
    for at in range(0, len(golds), _BLOCK):
        block = golds[at : at + _BLOCK]
        cut = windower.cut([Example(gold.question, gold.context, gold.id) for gold in block], options)
        for gold, example in zip(block, cut, strict=True):
            others = right[plain(gold.question), gold.context]
            chosen, kinds = targets(gold, example.windows, draw, right=others)
            for kind in kinds:
                tally.add(kind, gold.id)
            for target in chosen:
                window = target.window
                ids.append(window.input_ids.astype(np.int32))
                types.append(window.token_type_ids.astype(np.uint8))
                spans.append((target.start, target.end, window.first, window.last, window.cls))
    return Features(
        ids=np.concatenate(ids) if ids else np.zeros(0, np.int32),
        types=np.concatenate(types) if types else np.zeros(0, np.uint8),
        bounds=np.cumsum([0, *map(len, ids)], dtype=np.int64),
        spans=np.array(spans, np.int32).reshape(-1, 5),
    )
