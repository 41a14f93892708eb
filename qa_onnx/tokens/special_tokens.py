"""Question and context tokens -> a window: [CLS] question [SEP] context [SEP], with segment ids.

Which special tokens a tokenizer adds, and where, is learned from two short pairs that it encodes. tokenizer.json
says it too, but in another form for each kind of post-processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qa_onnx.errors import BundleError
from qa_onnx.tokens.panics import library_errors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids: TypeAlias = NDArray[np.int64]


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


def template_of(tokenizer: Tokenizer, cls_id: int | None) -> Template:
    """Learn which special tokens stand before, between and after the two texts of a pair.

    Args:
        tokenizer: without padding and truncation.
        cls_id: id of the token whose logits score "no answer"; None, or an id that is not in `before`: the first
            of `before`.

    Raises:
        BundleError: the tokenizer does not make pairs of question and context, or puts no token before the
            question.
    """
    with library_errors("the tokenizer cannot encode text"):
        pairs = tokenizer.encode("a", "b"), tokenizer.encode("a b", "b a a")
    ids, texts, types = pairs[0].ids, pairs[0].sequence_ids, pairs[0].type_ids
    if 0 not in texts or 1 not in texts:
        raise BundleError("the tokenizer does not encode pairs of question and context")
    question, between, context = texts.index(0), texts.index(0) + texts.count(0), texts.index(1)
    if context < between:
        raise BundleError("the tokenizer puts the context before the question")
    if question == 0:
        raise BundleError("the tokenizer puts no special token before the question, such as [CLS]")
    template = Template(
        before=np.array(ids[:question], np.int64),
        between=np.array(ids[between:context], np.int64),
        after=np.array(ids[context + texts.count(1) :], np.int64),
        types=np.array([types[at] for at in (0, question, between, context, -1)], np.int64),
        cls=ids.index(cls_id) if cls_id in ids[:question] else 0,
    )
    for pair in pairs:
        parts = (
            np.array([i for i, text in zip(pair.ids, pair.sequence_ids, strict=True) if text == n]) for n in (0, 1)
        )
        if [array.tolist() for array in template.window(*parts)] != [pair.ids, pair.type_ids]:
            raise BundleError("the tokenizer's pair template depends on the text; it must be constant")
    return template
