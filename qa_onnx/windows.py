"""Question + context -> windows.

A model reads a limited number of tokens at a time, so a long context is cut into overlapping windows of the form

    [CLS] question tokens [SEP] part of the context [SEP]

Question and context are tokenized once each, without special tokens, and the windows are slices of the result.
That gives the ids of the tokenizers library's own overflow logic (tests compare them), but never changes the
tokenizer, so any number of threads can share it. And the offsets come directly from the tokenizer: later steps of
the library would trim those of byte-level tokenizers again.

Left out: tokenizing and special tokens (tokens/), padding and batches (batches.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from qa_onnx.errors import InputError, quoted
from qa_onnx.options import check_type
from qa_onnx.tokens.context_cache import ContextCache
from qa_onnx.tokens.encoder import TextEncoder
from qa_onnx.tokens.special_tokens import Ids, template_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qa_onnx.options import Options
    from qa_onnx.tokens.encoding import EncodedContext, Tokens

_CACHED_CHARACTERS = 250_000  # of contexts whose tokens are kept


@dataclass(frozen=True, slots=True)
class Example:
    """A question and the context that may answer it; `id` is for the caller and is not read.

    Raises:
        InputError: question or context is not a str.
    """

    question: str
    context: str
    id: str = ""

    def __post_init__(self) -> None:
        for name, text in (("question", self.question), ("context", self.context)):
            if not isinstance(text, str):
                raise InputError(f"the {name} must be a str, got {type(text).__name__} {quoted(text)}")


def as_example(item: AnyExample) -> Example:
    """Make an `Example` of what calls take for one.

    Args:
        item: an `Example`, a tuple of question and context, or a mapping with the keys "question" and "context",
            and perhaps "id"; other keys, such as those of a row of a data set, are not read.

    Raises:
        InputError: it is none of these, or question or context is not a str.
    """
    match item:
        case Example():
            return item
        case (question, context):
            return Example(question, context)
        case {"question": question, "context": context}:
            return Example(question, context, item.get("id", ""))
    raise InputError(
        "an example must be an Example, a tuple (question, context), or a dict with the keys question and "
        f"context; got {type(item).__name__} {quoted(item)}"
    )


# What calls take for an example; see `as_example`.
AnyExample: TypeAlias = "Example | tuple[str, str] | Mapping[str, Any]"


@dataclass(frozen=True, slots=True)
class Window:
    """One row of a batch: the question and a part of the context, T tokens.

    Attributes:
        example: index of its example in the list that was cut.
        context: the whole context.
        token_offset: index in the context of the first context token.
        input_ids: int64 (T,).
        token_type_ids: int64 (T,), the segment ids.
        first: position in the window of the first context token.
        last: position of the last context token, inclusive; `first - 1` for an empty context.
        cls: position of the [CLS] token, whose logits score "no answer".
    """

    example: int
    context: EncodedContext
    token_offset: int
    input_ids: Ids
    token_type_ids: Ids
    first: int
    last: int
    cls: int


@dataclass(frozen=True, slots=True)
class CutExample:
    """The windows of one example, in the order of the text, with warnings for the user."""

    windows: tuple[Window, ...]
    warnings: tuple[str, ...]


class Windower:
    """Cuts examples into windows with one tokenizer. Any number of threads may share it.

    Args:
        tokenizer_json: the text of a tokenizer.json.
        cls_id: id of the token whose logits score "no answer"; None: the first special token of a window.

    Raises:
        InputError: an argument is of a wrong type.
        BundleError: the JSON is not a tokenizer, or the tokenizer does not make pairs of question and context.

    Attributes:
        template: the special tokens of a window.
    """

    def __init__(self, tokenizer_json: str, *, cls_id: int | None = None) -> None:
        check_type("tokenizer_json", tokenizer_json, str, "the text of a tokenizer.json")
        check_type("cls_id", cls_id, (int, NoneType), "the id of a token, or None")
        self._encoder = TextEncoder(tokenizer_json)
        self._contexts = ContextCache(self._encoder.encode, characters=_CACHED_CHARACTERS)
        self.template = template_of(self._encoder.tokenizer, cls_id)

    def vocabulary(self) -> dict[str, int]:
        """Return the id of each token, special ones included."""
        return self._encoder.tokenizer.get_vocab(with_added_tokens=True)

    def cut(self, examples: Sequence[Example], options: Options) -> list[CutExample]:
        """Cut examples into windows; equal texts are tokenized once, and recent contexts are remembered.

        Args:
            examples: questions and contexts, any number.
            options: `max_length`, `doc_stride` and `max_question_length` are read.

        Returns:
            One `CutExample` for each example, each with at least one window: an empty context has a window too,
            because its [CLS] logits score "no answer".

        Raises:
            InputError: the options, or a question that they do not shorten, leave the context no room.
            BundleError: the tokenizer fails on a text: its vocabulary has no token for unknown words.
        """
        options.room(len(self.template))
        texts = list({example.question for example in examples})
        questions = dict(zip(texts, self._encoder.encode(texts), strict=True))
        contexts = self._contexts.get(example.context for example in examples)
        return [
            self._cut_one(index, questions[example.question], contexts[example.context], options)
            for index, example in enumerate(examples)
        ]

    def cut_each(self, examples: Sequence[Example], options: Options) -> list[CutExample | InputError]:
        """Cut each example into windows; one that cannot be cut has its error instead. See `cut`."""
        try:
            return [*self.cut(examples, options)]
        except InputError:  # of one of them, and nobody knows of which
            return [self._cut_alone(index, example, options) for index, example in enumerate(examples)]

    def forget(self) -> None:
        """Forget the tokens of contexts, chunks and words, for benchmarks; answers stay the same.

        Where the tokenizer is not BERT's, the tokenizers library has a memory of its own, which stays.
        """
        self._contexts.clear()
        self._encoder.forget()

    def _cut_alone(self, index: int, example: Example, options: Options) -> CutExample | InputError:
        try:
            [cut] = self.cut([example], options)
        except InputError as error:
            return error
        return replace(cut, windows=tuple(replace(window, example=index) for window in cut.windows))

    def _cut_one(self, index: int, question: Tokens, context: EncodedContext, options: Options) -> CutExample:
        question_ids, warnings = question.ids.astype(np.int64), []
        if options.max_question_length is not None and len(question_ids) > options.max_question_length:
            warnings.append(
                f"the question has {len(question_ids)} tokens; the first {options.max_question_length} "
                "were used (max_question_length)"
            )
            question_ids = question_ids[: options.max_question_length]
        if not len(question_ids):
            warnings.append("the question is empty")
        if not len(context.ids):
            warnings.append("the context is empty")
        first = self.template.first(len(question_ids))
        room = options.max_length - len(question_ids) - len(self.template)
        windows = []
        for start in _starts(len(context.ids), room, options.doc_stride):
            part = context.ids[start : start + room]
            ids, types = self.template.window(question_ids, part)
            last = first + len(part) - 1
            windows.append(Window(index, context, start, ids, types, first, last, self.template.cls))
        return CutExample(tuple(windows), tuple(warnings))


def _starts(length: int, room: int, doc_stride: int) -> Iterable[int]:
    """Return the first token of each window of a context with `length` tokens; InputError: they cannot advance."""
    if length <= room:
        return (0,)
    if room <= doc_stride:  # only where max_question_length is None: `Options.room` refuses all other cases
        raise InputError(
            f"the question leaves {room} tokens of context a window, and the context has {length}; there must be "
            f"more than doc_stride {doc_stride}: shorten the question, raise max_length or lower doc_stride"
        )
    return range(0, length - doc_stride, room - doc_stride)
