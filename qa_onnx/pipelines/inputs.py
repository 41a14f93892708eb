"""Questions in all forms that the old pipeline took -> examples; its options -> checked `Arguments`.

    question="...", context="..."       one
    question=[...], context="..."       many, all on one context
    question=[...], context=[...]       many, pair by pair
    ("...", "...")                      one
    {"question": ..., "context": ...}   one; both may be lists
    [{...}, {...}], or {...}, {...}     many
    a generator, a torch Dataset        a stream; so is all that has no length
    data=..., X=...                     as by position

In place of a list there may be any sequence: a tuple, an array, a data set of `datasets` or a column of it, an
object with `__len__` and `__getitem__`. In place of a dictionary there may be an `Example`, or an object with
`question_text` and `context_text` such as transformers' SquadExample.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from qa_onnx.errors import InputError, quoted
from qa_onnx.options import BOUNDS
from qa_onnx.windows import Example

Form: TypeAlias = Literal["one", "many", "columns", "stream"]

_FORMS = "question= and context=, a dictionary with these two keys, or a list of such dictionaries"


class MissingKeyError(InputError, KeyError):
    """A dictionary lacks its question or context; also a KeyError, as in the old pipeline."""

    __str__ = Exception.__str__  # KeyError's own adds quotation marks


@dataclass(frozen=True, slots=True)
class Inputs:
    """The questions of a call.

    Attributes:
        examples: in the order of their results; a generator if the form is "stream".
        form: the form of the call; "columns" is one dictionary of lists.
    """

    examples: Iterable[Example]
    form: Form


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Options of the old call, under their old names and with their old defaults.

    Numbers and switches of NumPy become Python's.

    Attributes:
        top_k: number of results of a question.
        doc_stride: tokens that neighbouring windows share; None: a default that depends on the window length.
        max_answer_len: largest number of tokens of an answer.
        max_seq_len: tokens of a window; None: 384, or the bundle's default.
        max_question_len: tokens after which a question is truncated; None: 64, or less for short windows.
        handle_impossible_answer: whether "no answer" can be a result.
        align_to_words: whether an answer that starts or ends inside a word is extended to the whole word.
        batch_size: number of full-length windows in a batch; None: the reader's `batch_tokens`.

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
            if value is not None:
                number = _integer(value)
                if number is None or number < low:
                    raise InputError(f"{name} parameter should be an integer >= {low} (got {quoted(value)})")
                object.__setattr__(self, name, number)
        for name in ("handle_impossible_answer", "align_to_words"):
            value = getattr(self, name)
            if not isinstance(value, (bool, np.bool_)):
                raise InputError(f"{name} parameter should be True or False (got {quoted(value)})")
            object.__setattr__(self, name, bool(value))
        if self.doc_stride is not None and self.max_seq_len is not None and self.doc_stride > self.max_seq_len:
            raise InputError(f"`doc_stride` ({self.doc_stride}) is larger than `max_seq_len` ({self.max_seq_len})")


def _integer(value: object) -> int | None:
    """Return a whole number of any library as an int; None if it is something else."""
    try:
        return None if isinstance(value, (bool, np.bool_)) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def read_inputs(args: tuple[object, ...], question: object, context: object, data: object) -> Inputs:
    """Return the questions of a call, and the form in which they came.

    Args:
        args: the arguments by position; they have priority over the others.
        question: a str, or a sequence of them.
        context: a str, or a sequence of them.
        data: in any form of one argument by position; has priority over question and context.

    Raises:
        MissingKeyError: a dictionary lacks a key.
        InputError: the arguments are in no known form, or a text is empty.
    """
    if len(args) == 2 and all(isinstance(text, str) for text in args):
        return Inputs([_example(*args)], "one")
    if len(args) > 1:
        return Inputs([_item(item) for item in args], "many")
    if args:
        return _read_one(args[0])
    if data is not None:
        return _read_one(data)
    if question is None and context is None:
        raise InputError("no question", remedy=f"give {_FORMS}")
    return _read_columns(question, context)


def _read_columns(question: object, context: object) -> Inputs:
    if isinstance(question, str) and isinstance(context, str):
        return Inputs([_example(question, context)], "one")
    questions, contexts = _rows(question), _rows(context)
    if questions is None or not (isinstance(context, str) or contexts is not None):
        raise InputError(
            f"Arguments can't be understood: question is {_kind(question)}, context is {_kind(context)}",
            remedy="give two str, two lists, or a list of questions on one context",
        )
    questions = list(questions)
    contexts = [context] * len(questions) if contexts is None else list(contexts)
    if len(questions) != len(contexts):
        raise InputError(
            f"Questions and contexts don't have the same lengths: {len(questions)} and {len(contexts)}",
            remedy="to ask one question of several contexts, repeat it",
        )
    return Inputs([_example(*pair) for pair in zip(questions, contexts, strict=True)], "many")


def _read_one(value: object) -> Inputs:
    if isinstance(value, Mapping):
        question, context = _of_mapping(value)
        if _rows(question) is not None:
            return Inputs(_read_columns(question, context).examples, "columns")
        return Inputs([_example(question, context)], "one")
    if _is_example(value):
        return Inputs([_item(value)], "one")
    rows = _rows(value)
    if rows is None:
        raise InputError(f"Invalid arguments: got {_kind(value)}", remedy=f"give {_FORMS}")
    if not hasattr(value, "__len__") or _is_torch_dataset(value):
        return Inputs((_item(item, may_be_empty=True) for item in rows), "stream")
    return Inputs([_item(item) for item in rows], "many")


def _rows(value: Any) -> Iterable[object] | None:
    """Return what holds several items as an iterable; None for a text, a dictionary and anything else."""
    if isinstance(value, (str, bytes, Mapping)) or getattr(value, "ndim", 1) == 0:
        return None
    if isinstance(value, Iterable):
        return value
    if hasattr(value, "__len__") and hasattr(value, "__getitem__"):
        # By number: the indices of such an object need not end with an IndexError.
        return (value[index] for index in range(len(value)))
    return None


def _is_torch_dataset(value: object) -> bool:
    """Tell whether something is a torch Dataset, which the old pipeline read as a stream; never imports torch."""
    module = sys.modules.get("torch.utils.data")
    return module is not None and isinstance(value, module.Dataset)


def _item(item: object, *, may_be_empty: bool = False) -> Example:
    if isinstance(item, Example):
        return item
    if isinstance(item, Mapping):
        return _example(*_of_mapping(item), may_be_empty=may_be_empty)
    if _is_example(item):
        return _example(item.question_text, item.context_text, may_be_empty=True)  # type: ignore[attr-defined]
    raise InputError(f"{quoted(item)} argument needs to be of type (SquadExample, dict)", remedy=f"give {_FORMS}")


def _is_example(value: object) -> bool:
    return isinstance(value, Example) or (hasattr(value, "question_text") and hasattr(value, "context_text"))


def _of_mapping(item: Mapping[object, object]) -> tuple[object, object]:
    if "question" not in item or "context" not in item:
        raise MissingKeyError(
            "You need to provide a dictionary with keys {question:..., context:...}, got the keys "
            f"{', '.join(map(str, item)) or '(none)':.80}"
        )
    return item["question"], item["context"]


def _example(question: object, context: object, *, may_be_empty: bool = False) -> Example:
    for name, text in (("question", question), ("context", context)):
        if text is None:
            raise InputError(f"`{name}` cannot be None")
        if text == "" and not may_be_empty:
            raise InputError(f"`{name}` cannot be empty")
    return Example(question, context)  # type: ignore[arg-type]  # Example checks the types


def _kind(value: object) -> str:
    return f"{type(value).__name__} {quoted(value)}"
