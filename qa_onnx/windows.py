"""Question + context -> windows: the only module that imports tokenizers.

A model reads a limited number of tokens at a time, so a long context is cut into overlapping windows,
each of the form

    [CLS] question tokens [SEP] part of the context [SEP]

Question and context are tokenized once each, without special tokens, and the windows are slices of the
result. That gives the ids of the tokenizer's own overflow logic (tests compare them), but leaves the shared
tokenizer untouched, so that any number of threads can use it, and keeps the context's character offsets as
the tokenizer first made them: byte-level tokenizers shorten offsets again on every later processing.

Left out: what stands around question and context (tokens/special_tokens.py), padding and batches (batches.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from qa_onnx.errors import BundleError, InputError
from qa_onnx.tokens.context_cache import ContextCache, EncodedContext
from qa_onnx.tokens.special_tokens import Ids, template_of
from qa_onnx.tokens.wordpiece import WordPiece

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qa_onnx.options import Options
    from qa_onnx.tokens.context_cache import Encoding

_CACHED_CHARACTERS = 250_000

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Example:
    """A question and the context that may answer it; `id` is the caller's own and is not read here.

    Raises:
        InputError: question or context is not a str.
    """

    question: str
    context: str
    id: str = ""

    def __post_init__(self) -> None:
        for name, text in (("question", self.question), ("context", self.context)):
            if not isinstance(text, str):
                raise InputError(f"the {name} must be a str, got {type(text).__name__} {text!r:.80}")


def check_example(example: Example) -> None:
    """Refuse anything but an `Example`.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(example, Example):
        raise InputError(f"examples must be of type Example, got {type(example).__name__} {example!r:.80}")


@dataclass(frozen=True, slots=True)
class Window:
    """One row of a batch: the question and a part of its context.

    Attributes:
        example: index of its example in the call.
        context: the context that it shows a part of.
        token_offset: index, in the context's tokens, of the first one shown.
        input_ids: int64 (T,).
        token_type_ids: int64 (T,), the segment ids.
        first: position in the window of the first context token.
        last: position of the last context token, inclusive; `first - 1` when there is none.
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

    @property
    def shows_all(self) -> bool:
        """Whether it is the only window of its context."""
        return self.last - self.first + 1 == len(self.context.ids)


@dataclass(frozen=True, slots=True)
class CutExample:
    """The windows of one example, in the order of the text, and what the user should know about them."""

    windows: tuple[Window, ...]
    warnings: tuple[str, ...]


class Windower:
    """Cuts examples into windows with one tokenizer, which it never changes after `__init__`.

    Args:
        tokenizer_json: the text of a tokenizer.json.
        cls_id: id of the token whose logits score "no answer"; None: the first special token of a window.

    Raises:
        BundleError: the JSON is not a tokenizer, or it does not make pairs of question and context.

    Attributes:
        template: the special tokens of a window.
    """

    def __init__(self, tokenizer_json: str, *, cls_id: int | None = None) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer_json)
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleError(f"not a tokenizer.json that this tokenizers release reads: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        # "[SEP]" in a text is text: otherwise whoever writes a context could forge the borders of a window.
        self._tokenizer.encode_special_tokens = True
        self.template = template_of(self._tokenizer, cls_id)
        self._wordpiece = wordpiece_of(self._tokenizer)
        self._contexts = ContextCache(characters=_CACHED_CHARACTERS)

    def vocabulary(self) -> dict[str, int]:
        """The id of each token, special ones among them."""
        return self._tokenizer.get_vocab(with_added_tokens=True)

    def cut(self, examples: Sequence[Example], options: Options) -> list[CutExample]:
        """Cut examples into windows; equal texts are tokenized once, and the contexts used last are remembered.

        Args:
            examples: questions and contexts, any number.
            options: `max_length`, `doc_stride` and `max_question_length` are read.

        Returns:
            One `CutExample` for each example, each with at least one window: an empty context still has a
            window, because its [CLS] logits score "no answer".

        Raises:
            InputError: the options, or a question that they do not cut, leave the context no room.
            BundleError: the tokenizer fails on a text: its vocabulary has no token for the unknown.
        """
        options.room(len(self.template))
        asked = list({example.question for example in examples})
        questions = dict(zip(asked, self._encode(asked), strict=True))
        contexts = self._contexts.get((example.context for example in examples), self._encode_contexts)
        return [
            self._cut_one(index, questions[example.question], contexts[example.context], options)
            for index, example in enumerate(examples)
        ]

    def forget(self) -> None:
        """Forget the tokens of contexts, and those of chunks and words; see `Reader.forget`."""
        self._contexts.clear()
        if self._wordpiece is not None:
            self._wordpiece.forget()

    def _encode_contexts(self, texts: list[str]) -> list[EncodedContext]:
        encodings = self._encode(texts)
        return [
            EncodedContext(text, np.array(encoding.ids, np.int64), encoding)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _encode(self, texts: list[str]) -> list[Encoding]:
        # A lone surrogate (half of a UTF-16 pair) is no character and cannot enter the tokenizer. Its
        # stand-in is one code point long too, so offsets stay those of the given text.
        clean = [text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text) for text in texts]
        try:
            found: list[Encoding | None] = [
                None if self._wordpiece is None else self._wordpiece.encode(text) for text in clean
            ]
            rest = [at for at, encoding in enumerate(found) if encoding is None]
            whole = self._tokenizer.encode_batch([clean[at] for at in rest], add_special_tokens=False)
        except Exception as error:
            raise BundleError(f"the tokenizer cannot encode these texts: {error}") from error
        others = iter(whole)
        return [next(others) if encoding is None else encoding for encoding in found]

    def _cut_one(self, index: int, question: Encoding, context: EncodedContext, options: Options) -> CutExample:
        question_ids, warnings = np.array(question.ids, np.int64), []
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
            windows.append(
                Window(
                    example=index,
                    context=context,
                    token_offset=start,
                    input_ids=ids,
                    token_type_ids=types,
                    first=first,
                    last=first + len(part) - 1,
                    cls=self.template.cls,
                )
            )
        return CutExample(tuple(windows), tuple(warnings))


def wordpiece_of(tokenizer: Tokenizer) -> WordPiece | None:
    """What tokenizes as this tokenizer does, from remembered chunks and words.

    None: it does not consist of BERT's parts, looks for tokens of its own in a text first, or moves their places
    last, as RoBERTa's does with a Maltese letter that it takes for its sign of a blank. Truncation is not read.
    """
    normalizer, splitter, last = tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.post_processor
    if (
        not isinstance(normalizer, normalizers.BertNormalizer)
        or not isinstance(splitter, pre_tokenizers.BertPreTokenizer)
        or not isinstance(tokenizer.model, models.WordPiece)
        or not tokenizer.encode_special_tokens
        or not all(token.special for token in tokenizer.get_added_tokens_decoder().values())
        or (last is not None and b'"trim_offsets"' in last.__getstate__())
    ):
        return None
    alone = Tokenizer(tokenizer.model)  # shared, not copied
    alone.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

    def encode(words: str) -> tuple[list[int], list[tuple[int, int]]]:
        found = alone.encode(words, add_special_tokens=False)
        return found.ids, found.offsets

    return WordPiece(normalizer.normalize_str, splitter.pre_tokenize_str, encode)


def _starts(length: int, room: int, doc_stride: int) -> Iterable[int]:
    """First token of each window of a context with `length` tokens.

    Raises:
        InputError: it does not fit one window, and the question leaves too little room for windows to advance.
    """
    if length <= room:
        return (0,)
    if room <= doc_stride:  # only where max_question_length is None: `Options.room` sees to all else
        raise InputError(
            f"the question leaves {room} tokens of context a window, and the context has {length}; there must be "
            f"more than doc_stride {doc_stride}: shorten the question, raise max_length or lower doc_stride"
        )
    return range(0, length - doc_stride, room - doc_stride)
