"""Record -> Gold: a question as its file holds it is checked, and repaired where only one meaning is possible.

The rules, one set for all forms of files:

- null and NaN are as absent. A whole number may be a float or text.
- `id` may be absent and of any type. So may `title`.
- `answers` may be [{"text", "answer_start"?}], {"text": [...], "answer_start"?: [...]}, ["text"] or "text".
- A blank answer is none. A question with no other answer, or with is_impossible, has no answer.
- An answer that is not at its `answer_start` but occurs once in the context is taken from there. If it occurs
  several times or never, text and `answer_start` stay as they are: EM and F1 compare texts only.

Left out: where the records come from (shapes, tables, hub).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qa_onnx.data.gold import Gold
from qa_onnx.errors import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qa_onnx.data.gold import Repairs

_IDS = ("id", "qid", "guid", "question_id")  # the second is MRQA's, the third KLUE's
ANSWERS = ("answers", "answer", "answer_text", "text")  # the first that a record has; the last three are of tables
_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True, slots=True)
class Record:
    """A question as its file holds it, or what is wrong with the part of the file that should be one.

    Attributes:
        place: in the file, such as "line 7" or "data[0].paragraphs[2].qas[1]".
        fields: of the question, with the context and the title of its article.
        line: number of its line, from 1, in JSON lines; else None.
        problem: why there is no question; empty if there is one.
    """

    place: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    line: int | None = None
    problem: str = ""


def is_absent(value: object) -> bool:
    """Return whether a value is null or NaN, with which tables fill cells, and so as if it were not there."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def present(fields: Mapping[str, Any], key: str) -> Any:
    """Return the value of a field; None if it is absent, null or NaN."""
    value = fields.get(key)
    return None if is_absent(value) else value


def text_of(fields: Mapping[str, Any], key: str) -> str:
    """Return a text that every record must have.

    Raises:
        ValueError: it is absent or no text.
    """
    value = fields.get(key)
    if isinstance(value, str):
        return value
    if is_absent(value):
        raise ValueError(f'no "{key}": a text is expected; the keys are {quoted(list(fields))}')
    raise ValueError(f'"{key}" must be a text, not {quoted(value)}')


def id_of(record: Record) -> str | None:
    """Return the id of a record as text; None if it has none."""
    for key in _IDS:
        value: Any = record.fields.get(key)
        if isinstance(value, str) and value:
            return value
        if value != "" and not is_absent(value):
            whole = isinstance(value, float) and value.is_integer()
            try:
                return json.dumps(int(value) if whole else value, ensure_ascii=False, default=str)
            except (ValueError, RecursionError):  # an integer of thousands of digits, or nested too deeply
                return quoted(value)
    return None


def to_gold(record: Record, repairs: Repairs) -> Gold:
    """Check a record and return its example.

    Args:
        record: of a question.
        repairs: counts what is repaired.

    Raises:
        ValueError: the record has a problem, something in it is missing, of the wrong type or contradictory, or a
            text is not Unicode.
    """
    if record.problem:
        raise ValueError(record.problem)
    fields = record.fields
    question, context = text_of(fields, "question"), text_of(fields, "context")
    impossible = _is_impossible(fields)
    texts, starts = [], []
    for text, start in _answers(fields, impossible=impossible):
        if text.strip():
            texts.append(text)
            starts.append(_placed(context, text, _whole(start, repairs), repairs))
        else:
            repairs.add("blank")
    if impossible is not None and impossible == bool(texts):
        raise ValueError(f"is_impossible is {impossible} with {len(texts)} answers: change either")
    name, title = id_of(record), present(fields, "title")
    gold = Gold(
        id=record.place.replace(" ", "-") if name is None else name,
        question=question,
        context=context,
        answers=tuple(texts),
        answer_starts=tuple(starts),
        article=title if isinstance(title, str) else "" if title is None else quoted(title),
    )
    _refuse_halves(gold.id, question, context, *gold.answers, gold.article)
    return gold


def _refuse_halves(*texts: str) -> None:
    """Refuse texts with half of a surrogate pair, which no tokenizer takes."""
    for text in texts:
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                half = text[error.start]
                raise ValueError(f"{half!a} is half of a surrogate pair: write the whole character") from error


def _is_impossible(fields: Mapping[str, Any]) -> bool | None:
    value = present(fields, "is_impossible")
    if value is None or isinstance(value, bool):
        return value
    truth = _TRUTH.get(str(value).casefold())
    if truth is None:
        raise ValueError(f'"is_impossible" must be true or false, not {quoted(value)}')
    return truth


def _answers(fields: Mapping[str, Any], *, impossible: bool | None) -> list[tuple[str, Any]]:
    """Return text and unchecked start of each answer, blank ones too."""
    for key in ANSWERS:
        value = present(fields, key)
        if value is not None:
            break
    else:
        if impossible:
            return []
        raise ValueError(
            'no "answers": a list of {"text", "answer_start"} is expected, [] if there is none; the keys are '
            f"{quoted(list(fields))}"
        )
    if isinstance(value, str):
        return _columns([value], present(fields, "answer_start"))
    if isinstance(value, dict) and "text" in value:
        return _columns(value["text"], present(value, "answer_start"))
    if not isinstance(value, list):
        raise ValueError(f'"answers" must be a list, {{"text": [...]}} or a text, not {quoted(value)}')
    if value and not isinstance(value[0], dict) and all(isinstance(answer, str) for answer in value):
        return _columns(value, present(fields, "answer_start"))
    answers = []
    for number, answer in enumerate(value):
        if isinstance(answer, dict) and "text" in answer:
            answers.append((_text(answer["text"]), answer.get("answer_start")))
        elif isinstance(answer, str):
            answers.append((answer, None))
        else:
            raise ValueError(f'answers[{number}] must be a text or have a "text", not be {quoted(answer)}')
    return answers


def _columns(texts: Any, starts: Any) -> list[tuple[str, Any]]:
    """Pair texts with starts; each may be one value instead of a list, and the starts may be absent."""
    texts = texts if isinstance(texts, list) else [texts]
    if starts is None:
        starts = [None] * len(texts)
    starts = starts if isinstance(starts, list) else [starts]
    if len(starts) != len(texts):
        raise ValueError(
            f"{len(texts)} answer texts but {len(starts)} answer_start values: give one per text, or omit "
            "answer_start"
        )
    return [(_text(text), start) for text, start in zip(texts, starts, strict=True)]


def _text(value: Any) -> str:
    """Return the text of an answer: blank for null and NaN."""
    if isinstance(value, str):
        return value
    if is_absent(value):
        return ""
    raise ValueError(f"the text of an answer must be a text, not {quoted(value)}")


def _whole(value: Any, repairs: Repairs) -> int:
    """Return an answer_start; -1 if it is absent or negative."""
    if type(value) is int:  # not a bool
        return value if value >= 0 else -1
    if is_absent(value):
        return -1
    try:
        number = float(value) if isinstance(value, (float, str)) else None
    except ValueError:
        number = None
    if number is None or not number.is_integer():
        raise ValueError(f'"answer_start" must be a whole number, not {quoted(value)}')
    repairs.add("numbers")
    return max(int(number), -1)


def _placed(context: str, text: str, start: int, repairs: Repairs) -> int:
    """Return where an answer starts: `start` if it is there or cannot be found for sure, else its only place."""
    if start < 0 or context.startswith(text, start):
        return start
    wanted = text if text in context else text.strip()
    at = context.find(wanted)
    if at in (-1, start) or context.find(wanted, at + 1) >= 0:
        return start
    repairs.add("moved")
    return at
