"""Options: how questions are cut into windows and answers are chosen, with the bounds of every numeric option.

Left out: how a graph is run (device, precision, threads); those are arguments of `Reader.load`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeGuard, get_origin, get_type_hints

from qa_onnx.errors import InputError, QaOnnxError, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

# For each device. MiniLM in fp16 on an H200: 1,450 questions/s with 1,024 tokens, 3,400 with 4,096, 4,900 with
# 16,384.
BATCH_TOKENS: dict[str, int] = {"cpu": 1024, "cuda": 16_384}


class Bounds(NamedTuple):
    """The least and the greatest value of an option; where both are integers, so must the value be."""

    low: float
    high: float


_TOKENS = 1 << 20

BOUNDS = {
    # Options
    "max_length": Bounds(8, _TOKENS),
    "doc_stride": Bounds(0, _TOKENS),
    "max_question_length": Bounds(1, _TOKENS),
    "max_answer_length": Bounds(1, _TOKENS),
    "n_best": Bounds(1, 10_000),
    "batch_tokens": Bounds(1, 1 << 30),
    "min_probability": Bounds(0.0, 1.0),
    # many documents
    "read": Bounds(1, 1_000_000),  # passages
    "count": Bounds(1, 1 << 30),  # passages that a search returns
    # Reader.load
    "threads": Bounds(1, 1024),
    "min_f1": Bounds(0.0, 100.0),
    # Reader
    "temperature": Bounds(1e-3, 1e3),  # 1e-320 would make scores infinite
    # AsyncReader
    "max_batch_tokens": Bounds(1, 1 << 30),
    "max_wait_ms": Bounds(0.0, 60_000.0),
    "max_queue": Bounds(1, 1_000_000),
    "workers": Bounds(1, 256),  # threads
    # the client
    "retries": Bounds(0, 1000),
    # the server
    "processes": Bounds(1, 64),  # its --workers
    "max_request_bytes": Bounds(1024, 1 << 30),
    "max_total_bytes": Bounds(2048, 1 << 40),
    "timeout_s": Bounds(0.001, 86_400.0),
    "read_timeout_s": Bounds(0.001, 86_400.0),
}


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is an int or a float, and neither a bool nor NaN."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # noqa: PLR0124


def check_bounds(
    name: str,
    value: object,
    error: type[QaOnnxError] = InputError,
    bounds: Mapping[str, Bounds] = BOUNDS,
) -> None:
    """Raise `error` where a value is out of the bounds of an option, a key of `bounds`, or not a number."""
    low, high = bounds[name]
    whole = isinstance(low, int)
    if not is_number(value) or (whole and not isinstance(value, int)) or not low <= value <= high:
        raise error(
            f"{name} is {quoted(value)}; it must be {'an integer' if whole else 'a number'} from {low} to {high}"
        )


def bounds_of(settings: type) -> dict[str, Bounds]:
    """Return the bounds of the fields of a settings class that are `Annotated` with them."""
    hints = get_type_hints(settings, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if get_origin(hint) is Annotated}


def check_fields(settings: Any, bounds: Mapping[str, Bounds] = BOUNDS) -> None:
    """Check all fields of a settings dataclass that have bounds; None passes where it is the default.

    Raises:
        InputError: see `check_bounds`.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name in bounds and not (value is None and field.default is None):
            check_bounds(field.name, value, bounds=bounds)


def check_type(name: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Raise InputError where an argument is not of the types that it may have; `wanted` says which those are.

    A value of a wrong type is an InputError everywhere, as one out of range is; an argument that does not exist,
    or is missing, is Python's own TypeError.
    """
    if not isinstance(value, kinds):
        raise InputError(f"{name} is {quoted(value)}; it must be {wanted}")


def check_types(values: Mapping[str, object]) -> None:
    """Check arguments of a reader by their names, those in `_TYPES`; see `check_type`."""
    for name, value in values.items():
        if name in _TYPES:
            kinds, wanted = _TYPES[name]
            check_type(name, value, kinds, wanted)
    for name in ("min_f1", "temperature"):
        if values.get(name) is not None:
            check_bounds(name, values[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How questions are cut into windows and answers are chosen.

    Attributes:
        max_length: tokens in a window: question, context part and special tokens together.
        doc_stride: tokens that two neighbouring windows of a context share: the overlap, as in Hugging Face. (In
            BERT's own run_squad.py it is the step from one window to the next.)
        max_question_length: tokens of a question that are used; the rest is dropped, with a warning in
            `Prediction.warnings`. None: all are used, and a question that leaves the context no room is an error.
        max_answer_length: most tokens of an answer, before it is widened to whole letters and words.
        n_best: most answers of a `Prediction`.
        overlapping: answers may overlap, such as "1912" and "in 1912", and each has the probability of itself
            alone. Otherwise these are one answer, its best form, with the probability of all forms together.
        across_blocks: answers may run from one paragraph, list item or table cell into the next one.
        align_to_words: an answer that starts or ends inside a word is widened to the whole word, which is a run of
            letters, digits and marks. Scripts without blanks between words, and Korean, stay as tokens say. In all
            cases an answer takes in the marks, vowel signs and joiners of its last letter.
        batch_tokens: budget of one run of the graph, in tokens with padding; one window always runs. A larger
            batch does not fit the caches of a CPU, and its int8 activations share one range. A GPU needs more
            (`BATCH_TOKENS`), which `Reader.load` sets where it gets no options. Many windows of a call on several
            cores run side by side, in batches of 768 tokens at most.
        null_threshold: "no answer" wins when null score - best score is greater than this. None: the best span is
            always the answer. "bundle": the threshold that the bundle was calibrated to, else None.
        min_probability: an answer that is less probable is marked as not sure, and is falsy: see `Answer.sure`.

    Raises:
        InputError: a value is out of range or of a wrong type. `room` checks whether they leave the context room.
    """

    max_length: int = 384
    doc_stride: int = 128
    max_question_length: int | None = 64
    max_answer_length: int = 30
    n_best: int = 5
    overlapping: bool = False
    across_blocks: bool = False
    align_to_words: bool = True
    batch_tokens: int = BATCH_TOKENS["cpu"]
    null_threshold: float | Literal["bundle"] | None = "bundle"
    min_probability: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if name in BOUNDS and (name != "max_question_length" or getattr(self, name) is not None):
                check_bounds(name, getattr(self, name))
        for name in ("overlapping", "across_blocks", "align_to_words"):
            check_type(name, getattr(self, name), bool, "True or False")
        threshold = self.null_threshold
        is_name = isinstance(threshold, str) and threshold == "bundle"
        if not (threshold is None or is_name or is_number(threshold)):
            raise InputError(f"null_threshold is {quoted(threshold)}; it must be a number, None or 'bundle'")

    @classmethod
    def for_windows_of(cls, max_length: int, *, batch_tokens: int | None = None) -> Options:
        """Return the defaults, with a smaller overlap and shorter questions where windows are short.

        Args:
            max_length: see `Options`.
            batch_tokens: see `Options`; None: the default.
        """
        check_bounds("max_length", max_length)
        return cls(
            max_length=max_length,
            doc_stride=min(128, max_length // 3),
            max_question_length=min(64, max_length // 3),
            batch_tokens=BATCH_TOKENS["cpu"] if batch_tokens is None else batch_tokens,
        )

    def threshold(self, of_bundle: float | None) -> float | None:
        """Return the null threshold, where "bundle" means that of the bundle; None: always answer."""
        return of_bundle if self.null_threshold == "bundle" else self.null_threshold

    def room(self, special_tokens: int) -> int:
        """Return the tokens that the longest allowed question leaves for the context in each window.

        Where questions are not shortened, question and context share them.

        Args:
            special_tokens: how many the tokenizer adds to a pair ([CLS], [SEP], ...).

        Raises:
            InputError: they are not more than `doc_stride`, so windows could not advance.
        """
        question = 0 if self.max_question_length is None else self.max_question_length
        room = self.max_length - question - special_tokens
        if room <= self.doc_stride:
            raise InputError(
                f"max_length {self.max_length} less max_question_length {question} and "
                f"{special_tokens} special tokens leaves {room} tokens of context a window; it must be more "
                f"than doc_stride {self.doc_stride}: raise max_length or lower one of the other two"
            )
        return room


# Options that a command and a request may change; the others follow from the model and the machine.
CALL_OPTIONS = tuple(
    name for name in Options.__slots__ if name not in {"max_length", "max_question_length", "batch_tokens"}
)

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("precision", "device", "engine"), ((str, NoneType), "a name, or None")),
    "allow_fallback": ((bool,), "True or False"),
    "options": ((Options, NoneType), "of type Options, or None"),
    "pad_id": ((int,), "the id of a token"),
    "max_positions": ((int, NoneType), "an integer, or None"),
    "null_threshold": ((int, float, NoneType), "a number, or None"),
}


def refuse_arguments(values: Mapping[str, object]) -> None:
    """Raise the error that tells where options belong which came as arguments of `ask`.

    Raises:
        InputError: the first one is an option.
        TypeError: it is none.
    """
    for name, value in values.items():
        if name not in Options.__slots__:
            raise TypeError(f"ask() got an unexpected keyword argument {name!r}")
        several = "reader.predict([(question, context)], options=...)[0].answers are the n best answers; "
        raise InputError(
            f"ask takes no {name}",
            remedy=f"{several if name == 'n_best' else ''}pass "
            f"options=dataclasses.replace(reader.options, {name}={quoted(value)})",
        )
