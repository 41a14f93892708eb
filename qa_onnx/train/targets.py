"""Gold answer + windows -> the target of each window: the start and end token that the model shall choose.

Windows and offsets are those of inference (`Windower`); nothing is tokenized here again. The rules:

- **Position of the answer.** `answer_start` counts characters (code points). If the text is not there but exactly
  once at most `NEARBY` characters away, that occurrence is taken ("moved"); otherwise the question is left out
  ("misplaced"). Without `answer_start`, the only occurrence is taken, or the first of several ("ambiguous").
- **Several answers**: the span that most of them name, of equals the first; it is enough if one answer is found.
- **Blanks** at the edges of an answer are cut off ("trimmed"). The data reader refuses an answer of blanks alone.
- **Part of a token**: a span that starts or ends inside a token takes the whole token ("widened").
- **Several windows**: every window that holds the whole answer has it as its target. The others have CLS; since
  most windows of a long context are such, one of them is kept per question, chosen by seed.
- **No window holds the whole answer**, since it is longer than the overlap: the question is left out ("cut"); CLS
  everywhere would teach that there is no answer.
- **Unanswerable** questions: CLS, in one window of the context, chosen by seed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from qa_onnx.data.squad import Gold
    from qa_onnx.tokens.encoding import EncodedContext
    from qa_onnx.windows import Window

NEARBY = 100  # characters


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
    starts = _occurrences(context, bare)
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
    encoding = context.encoding
    within = (encoding.char_to_token(at) for at in range(*span))
    first = next((token for token in within if token is not None), None)
    if first is None:
        return None
    backwards = (encoding.char_to_token(at) for at in range(span[1] - 1, span[0] - 1, -1))
    last = next(token for token in backwards if token is not None)
    # Several tokens can share a character, as the bytes of an emoji do.
    while last + 1 < len(context.ids) and context.characters(last + 1, last + 1)[0] < span[1]:
        last += 1
    return first, last


def in_window(window: Window, tokens: tuple[int, int]) -> tuple[int, int] | None:
    """Convert tokens of the context to positions in a window; None: it does not hold all of them."""
    shift = window.first - window.token_offset
    start, end = tokens[0] + shift, tokens[1] + shift
    return (start, end) if window.first <= start and end <= window.last else None


def targets(gold: Gold, windows: Sequence[Window], draw: random.Random) -> tuple[list[Target], tuple[str, ...]]:
    """Return the targets of a question's windows.

    Args:
        gold: the question.
        windows: all of its windows.
        draw: chooses the window without an answer.

    Returns:
        The targets, none if the question is left out, and the kinds of the tally that count for it.
    """
    if not gold.answers:
        return [_cls(draw.choice(windows))], ("unanswerable",)
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
    empty = [window for window, span in spans if span is None]
    kinds = ("answerable", *location.kinds)
    start, end = context.characters(*tokens)
    if context.text[start:end].strip() != context.text[slice(*location.span)]:
        kinds = (*kinds, "widened")
    return full + ([_cls(draw.choice(empty))] if empty else []), kinds


def _cls(window: Window) -> Target:
    return Target(window, window.cls, window.cls)


def _occurrences(context: str, text: str) -> list[int]:
    """Return the positions at which a text starts in a context, overlaps included."""
    starts, at = [], context.find(text)
    while at >= 0:
        starts.append(at)
        at = context.find(text, at + 1)
    return starts
