"""Question and context tokens -> a window: [CLS] question [SEP] context [SEP], with segment ids.

Which special tokens a tokenizer adds, and where, is learned from two short pairs that it encodes. tokenizer.json
says it too, but in another form for each kind of post-processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qa_onnx.errors import BundleError

Ids: TypeAlias = NDArray[np.int64]
_Tokens: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """The special tokens that a tokenizer puts around question and context.

    Attributes:
        before: int64, the special tokens before the question.
        between: int64, those between question and context.
        after: int64, those after the context.
        types: int64 (5,), the segment ids of before, question, between, context and after.
        cls: position in `before` of the [CLS] token.
    """

    before: Ids
    between: Ids
    after: Ids
    types: Ids
    cls: int

    def __len__(self) -> int:
        """Return the number of special tokens in a window."""
        return len(self.before) + len(self.between) + len(self.after)

    def window(self, question: Ids, context: Ids) -> tuple[Ids, Ids]:
        """Put question and context tokens between the special ones: token ids and segment ids, (T,) each."""
        parts = (self.before, question, self.between, context, self.after)
        return np.concatenate(parts), self.types.repeat([len(part) for part in parts])

    def first(self, question: int) -> int:
        """Return the position of the first context token after a question of `question` tokens."""
        return len(self.before) + question + len(self.between)


def template_of(tokenizer: Any, cls_id: int | None) -> Template:
    """Learn which special tokens stand before, between and after the two texts of a pair.

    Args:
        tokenizer: a `tokenizers.Tokenizer` without padding and truncation.
        cls_id: id of the token whose logits score "no answer"; None, or an id that is not in `before`: the first
            of `before`.

    Raises:
        BundleError: the tokenizer does not make pairs of question and context, or puts no token before the
            question.
    """
    layouts = {_layout(tokenizer, question, context) for question, context in (("a", "b"), ("a b", "b a a"))}
    if len(layouts) != 1:
        raise BundleError("the tokenizer's pair template depends on the text; it must be constant")
    before, between, after, types = layouts.pop()
    if not before:
        raise BundleError("the tokenizer puts no special token before the question, such as [CLS]")
    return Template(
        before=np.array(before, np.int64),
        between=np.array(between, np.int64),
        after=np.array(after, np.int64),
        types=np.array(types, np.int64),
        cls=before.index(cls_id) if cls_id in before else 0,
    )


def _layout(tokenizer: Any, question: str, context: str) -> tuple[_Tokens, _Tokens, _Tokens, _Tokens]:
    """Return the special tokens before, between and after two texts, and segment ids as in `Template.types`."""
    try:
        pair = tokenizer.encode(question, context)
    except Exception as error:
        raise BundleError(f"the tokenizer cannot encode text: {error}") from error
    ids, sequence_ids = pair.ids, pair.sequence_ids
    if 0 not in sequence_ids or 1 not in sequence_ids:
        raise BundleError("the tokenizer does not encode pairs of question and context")
    question_at = sequence_ids.index(0)
    question_end = question_at + sequence_ids.count(0)
    context_at = sequence_ids.index(1)
    context_end = context_at + sequence_ids.count(1)
    if context_at < question_end:
        raise BundleError("the tokenizer puts the context before the question")
    types = pair.type_ids
    segments = (types[0], types[question_at], types[question_end], types[context_at], types[-1])
    ends = (0, question_at, question_end, context_at, context_end, len(ids))
    if types != np.repeat(segments, np.diff(ends)).tolist():
        raise BundleError("the tokenizer's segment ids change inside a part of the pair")
    return tuple(ids[:question_at]), tuple(ids[question_end:context_at]), tuple(ids[context_end:]), segments
