"""Gold answer + windows -> the start and end token that the model shall choose in each window.

The windows are those of inference (`Windower`), and so are the offsets; nothing is tokenized here again. What is
decided for the cases that data brings:

- **Where the answer is.** `answer_start` counts characters (code points). If the text is not there but stands
  exactly once at most `NEARBY` characters away, that one is taken ("moved"); otherwise the question is left out
  ("misplaced"). Without `answer_start`, the only occurrence is taken, or the first of several ("ambiguous").
- **Several occurrences** of the text: the one at `answer_start` is the target, the others are not.
- **Several answers**: the span that most of them name, of equals the first; answers that are not found do not
  matter as long as one is.
- **Blanks** at the edges of the text or of the span belong to no answer and are cut off ("trimmed").
- **Nothing but blanks**: the data reader refuses it; "answers": [] says that there is none.
- **Edges**: a span may be the first or last token of a window, or all of it. One that starts or ends inside a
  token takes the whole token ("widened"): tokens are all that a model can point at.
- **Across a window's border**: a window that does not hold the whole answer has CLS as its target. In the overlap,
  every window that holds it whole has it as its target.
- **No window holds it whole**, since it is longer than the overlap: the question is left out ("cut"): CLS
  everywhere would teach that there is no answer.
- **Windows without an answer** are most of a long context: of those of a question, one is kept, by seed.
- **Unanswerable** questions: CLS; of a long context's windows one is kept as well.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from qa_onnx.data.squad import Gold
    from qa_onnx.tokens.context_cache import EncodedContext
    from qa_onnx.windows import Window

NEARBY = 100  # characters


@dataclass(frozen=True, slots=True)
class AnswerLocation:
    """Where an answer is, or why it is nowhere.

    Attributes:
        span: characters, half-open, without blanks at the edges; None: it is not found.
        kinds: what is counted of it, see tally.py.
    """

    span: tuple[int, int] | None
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A window and what the model shall choose in it: positions in the window; [CLS] twice for no answer."""

    window: Window
    start: int
    end: int


def locate(context: str, text: str, start: int) -> AnswerLocation:
    """Find an answer's characters.

    Args:
        context: to find it in.
        text: of the answer, not blank.
        start: of its first character, as the data has it; -1: not given.
    """
    bare = text.strip()
    kinds = ("trimmed",) if bare != text else ()
    lead = len(text) - len(text.lstrip())
    for at in (start + lead, start):
        if start >= 0 and context.startswith(bare, at):
            return AnswerLocation((at, at + len(bare)), kinds)
    found = _occurrences(context, bare)
    if not found:
        return AnswerLocation(None, ("absent",))
    if start < 0:
        return AnswerLocation((found[0], found[0] + len(bare)), (*kinds, "ambiguous") if len(found) > 1 else kinds)
    near = [at for at in found if abs(at - start) <= NEARBY]
    if len(near) != 1:
        return AnswerLocation(None, ("misplaced",))
    return AnswerLocation((near[0], near[0] + len(bare)), (*kinds, "moved"))


def choose(gold: Gold) -> AnswerLocation:
    """The span to train on of a question with answers: the one that most of them name."""
    places = [
        locate(gold.context, text, start) for text, start in zip(gold.answers, gold.answer_starts, strict=True)
    ]
    spans = Counter(place.span for place in places if place.span is not None)
    if not spans:
        return places[0]
    best = max(spans.values())
    return next(place for place in places if place.span is not None and spans[place.span] == best)


def to_tokens(context: EncodedContext, span: tuple[int, int]) -> tuple[int, int] | None:
    """The fewest tokens of a context that cover some characters, inclusive; None: it has none of them."""
    encoding = context.encoding
    within = (encoding.char_to_token(at) for at in range(*span))
    first = next((token for token in within if token is not None), None)
    if first is None:
        return None
    backwards = (encoding.char_to_token(at) for at in range(span[1] - 1, span[0] - 1, -1))
    last = next(token for token in backwards if token is not None)
    # Several tokens may share a character, as the bytes of an emoji do.
    while last + 1 < len(context.ids) and context.characters(last + 1, last + 1)[0] < span[1]:
        last += 1
    return first, last


def in_window(window: Window, tokens: tuple[int, int]) -> tuple[int, int] | None:
    """Tokens of the context -> positions in a window; None: it does not hold all of them."""
    shift = window.first - window.token_offset
    start, end = tokens[0] + shift, tokens[1] + shift
    return (start, end) if window.first <= start and end <= window.last else None


def targets(gold: Gold, windows: Sequence[Window], draw: random.Random) -> tuple[list[Target], tuple[str, ...]]:
    """What the model shall choose in the windows of a question.

    Args:
        gold: the question.
        windows: all of its windows.
        draw: chooses the one without an answer.

    Returns:
        The targets, none where the question is left out, and what is counted of it, see tally.py.
    """
    if not gold.answers:
        return [_cls(draw.choice(windows))], ("unanswerable",)
    place = choose(gold)
    if place.span is None:
        return [], place.kinds
    context = windows[0].context
    tokens = to_tokens(context, place.span)
    if tokens is None:
        return [], ("no token",)
    found = [(window, in_window(window, tokens)) for window in windows]
    full = [Target(window, *span) for window, span in found if span is not None]
    if not full:
        return [], ("cut",)
    empty = [window for window, span in found if span is None]
    kinds = ("answerable", *place.kinds)
    start, end = context.characters(*tokens)
    if context.text[start:end].strip() != context.text[slice(*place.span)]:
        kinds = (*kinds, "widened")
    return full + ([_cls(draw.choice(empty))] if empty else []), kinds


def _cls(window: Window) -> Target:
    return Target(window, window.cls, window.cls)


def _occurrences(context: str, text: str) -> list[int]:
    """Where a text starts in a context, overlaps included."""
    found, at = [], context.find(text)
    while at >= 0:
        found.append(at)
        at = context.find(text, at + 1)
    return found
