"""The many forms in which the old pipeline took its questions, and its arguments -> examples, checked arguments.

    question="...", context="..."       one
    question=[...], context="..."       many, all on one context
    question=[...], context=[...]       many, pair by pair
    ("...", "...")                      one
    {"question": ..., "context": ...}   one; both may be lists
    [{...}, {...}], or {...}, {...}     many
    a generator                         a stream
    data=..., X=...                     as if given by position

Wherever a dictionary can stand, so can an `Example`, or an object with `question_text` and `context_text`, as
transformers' SquadExample is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from qa_onnx.errors import InputError
from qa_onnx.options import BOUNDS
from qa_onnx.windows import Example

Form: TypeAlias = Literal["one", "many", "columns", "stream"]

_FORMS = "question= and context=, a dictionary with these two keys, or a list of such dictionaries"


class MissingKeyError(InputError, KeyError):
    """A dictionary lacks its question or context; a KeyError, as it was in the old pipeline."""

    __str__ = Exception.__str__  # KeyError's own shows the quoted repr


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a call asks.

    Attributes:
        examples: in the order of their results; of a stream, made as it is read.
        form: "columns" is one dictionary of lists.
    """

    examples: Iterable[Example]
    form: Form


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The old call's arguments, under their old names and with their old defaults.

    Attributes:
        top_k: results a question.
        doc_stride: tokens that two neighbouring windows share; None: what suits the windows.
        max_answer_len: tokens an answer may have.
        max_seq_len: tokens a window; None: 384, or the bundle's own.
        max_question_len: tokens of a question that are used; None: 64, or what suits the windows.
        handle_impossible_answer: "no answer" is a result as well.
        align_to_words: an answer that starts or ends inside a word takes in the whole word.
        batch_size: windows of full length that run together; None: as the reader's options say.

    Raises:
        InputError: a value is out of range.
    """

    top_k: int = 1
    doc_stride: int | None = None
    max_answer_len: int = 15
    max_seq_len: int | None = None
    max_question_len: int | None = None
    handle_impossible_answer: bool = False
    align_to_words: bool = True
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name, option in (
            ("top_k", "n_best"),
            ("doc_stride", "doc_stride"),
            ("max_answer_len", "max_answer_length"),
            ("max_seq_len", "max_length"),
            ("max_question_len", "max_question_length"),
            ("batch_size", "batch_tokens"),
        ):
            value, low = getattr(self, name), BOUNDS[option].low
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < low):
                raise InputError(f"{name} parameter should be an integer >= {low} (got {value!r})")
        for name in ("handle_impossible_answer", "align_to_words"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} parameter should be True or False (got {getattr(self, name)!r})")
        if self.doc_stride is not None and self.max_seq_len is not None and self.doc_stride > self.max_seq_len:
            raise InputError(f"`doc_stride` ({self.doc_stride}) is larger than `max_seq_len` ({self.max_seq_len})")


def read_inputs(given: tuple[object, ...], question: object, context: object, data: object) -> Inputs:
    """Find out what is asked, and in which form.

    Args:
        given: the arguments by position; they win over the others.
        question: a str, or a list of them.
        context: likewise.
        data: any form that one argument by position can have; wins over question and context.

    Raises:
        MissingKeyError: a dictionary lacks a key.
        InputError: the arguments are in no known form, or a text is empty.
    """
    if len(given) == 2 and all(isinstance(text, str) for text in given):
        return Inputs([_example(*given)], "one")
    if len(given) > 1:
        return Inputs([_item(item) for item in given], "many")
    if given:
        return _read_one(given[0])
    if data is not None:
        return _read_one(data)
    if question is None and context is None:
        raise InputError(f"Nothing was asked: give {_FORMS}")
    return _read_columns(question, context)


def _read_columns(question: object, context: object) -> Inputs:
    if isinstance(question, str) and isinstance(context, str):
        return Inputs([_example(question, context)], "one")
    if not isinstance(question, list) or not isinstance(context, (str, list)):
        raise InputError(
            f"Arguments can't be understood: question is {_kind(question)}, context is {_kind(context)}; give two "
            "str, two lists, or a list of questions on one context"
        )
    contexts = [context] * len(question) if isinstance(context, str) else context
    if len(question) != len(contexts):
        raise InputError(
            f"Questions and contexts don't have the same lengths: {len(question)} and {len(contexts)}; where a "
            "question has several contexts, repeat it"
        )
    return Inputs([_example(*pair) for pair in zip(question, contexts, strict=True)], "many")


def _read_one(value: object) -> Inputs:
    if isinstance(value, Mapping):
        question, context = _of_mapping(value)
        if isinstance(question, list):
            return Inputs(_read_columns(question, context).examples, "columns")
        return Inputs([_example(question, context)], "one")
    if _is_example(value):
        return Inputs([_item(value)], "one")
    if isinstance(value, Iterator):
        return Inputs((_item(item, may_be_empty=True) for item in value), "stream")
    if isinstance(value, Iterable):
        return Inputs([_item(item) for item in value], "many")
    raise InputError(f"Invalid arguments: got {_kind(value)}; give {_FORMS}")


def _item(item: object, *, may_be_empty: bool = False) -> Example:
    if isinstance(item, Example):
        return item
    if isinstance(item, Mapping):
        return _example(*_of_mapping(item), may_be_empty=may_be_empty)
    if _is_example(item):
        return _example(item.question_text, item.context_text, may_be_empty=True)  # type: ignore[attr-defined]
    raise InputError(f"{item!r:.80} argument needs to be of type (SquadExample, dict)")


def _is_example(value: object) -> bool:
    return isinstance(value, Example) or (hasattr(value, "question_text") and hasattr(value, "context_text"))


def _of_mapping(item: Mapping[object, object]) -> tuple[object, object]:
    if "question" not in item or "context" not in item:
        raise MissingKeyError("You need to provide a dictionary with keys {question:..., context:...}")
    return item["question"], item["context"]


def _example(question: object, context: object, *, may_be_empty: bool = False) -> Example:
    for name, text in (("question", question), ("context", context)):
        if text is None:
            raise InputError(f"`{name}` cannot be None")
        if text == "" and not may_be_empty:
            raise InputError(f"`{name}` cannot be empty")
    return Example(question, context)  # type: ignore[arg-type]  # which it checks


def _kind(value: object) -> str:
    return f"{type(value).__name__} {value!r:.40}"
