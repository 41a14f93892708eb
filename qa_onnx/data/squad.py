"""A data file -> examples with gold answers.

Two formats, recognized by content and not by the file's name, each plain or gzip:

- SQuAD v1.1 and v2.0: one JSON object, data[].paragraphs[].qas[].
- JSON Lines: one object a line, {"id"?, "title"?, "question", "context", "answers"}. An empty list of answers
  means that the context holds none.

In both, `answers` may be [{"text", "answer_start"?}], {"text": [], "answer_start"?: []} or ["text"].

Left out: whether `answer_start` points at the answer. EM and F1 compare texts only.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import reprlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from qa_onnx.data.file_kinds import BEGINNING, refuse_other_kinds
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Refuse = Callable[[InputError], None]

MAX_UNPACKED_BYTES = 1 << 30
_FORMATS = 'it must be SQuAD JSON, {"data": ...}, or JSON Lines, {"question", "context", "answers"} a line'


@dataclass(frozen=True, slots=True)
class Gold:
    """An example and its right answers.

    Attributes:
        id: unique in its file; of a line without one, "line-" and the line's number.
        question: as in the file, like the context.
        context: the text to find the answers in.
        answers: the right texts; empty if the context does not answer the question.
        answer_starts: index in the context of each one's first character (code point); -1: unknown.
        article: the title of the context's article, or its position in the file; of a line without a title, "".
            Examples that differ only in it are equal.
    """

    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    answer_starts: tuple[int, ...]
    article: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class DataSet:
    """The examples of a file, or a sample of them.

    Attributes:
        name: the file's name, without its folder.
        sha256: of the file's bytes as they are on disk, in hexadecimal.
        golds: in the order of the file.
    """

    name: str
    sha256: str
    golds: tuple[Gold, ...]

    @property
    def has_unanswerable(self) -> bool:
        """Whether at least one question has no answer."""
        return any(not gold.answers for gold in self.golds)


_Start = Annotated[int, msgspec.Meta(ge=-1)]


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    answer_start: _Start = -1


@dataclass(frozen=True, slots=True)
class _AnswerColumns:
    text: list[str]
    answer_start: list[_Start] | None = None


@dataclass(frozen=True, slots=True)
class _Record:
    """A question as JSON holds it, with its context and the title of its article."""

    id: str | int
    question: str
    context: str
    title: str
    answers: list[_Answer | str] | _AnswerColumns
    is_impossible: bool | None = None

    def gold(self) -> Gold:
        """Return the example.

        Raises:
            ValueError: the answers are blank or contradictory, or a text is not Unicode.
        """
        if isinstance(self.answers, _AnswerColumns):
            texts, starts = self.answers.text, self.answers.answer_start
        else:
            answers = [_Answer(answer) if isinstance(answer, str) else answer for answer in self.answers]
            texts, starts = [answer.text for answer in answers], [answer.answer_start for answer in answers]
        if starts is None:
            starts = [-1] * len(texts)
        if len(starts) != len(texts):
            raise ValueError(
                f"{len(texts)} answer texts but {len(starts)} answer_start values: give one per text, or omit "
                "answer_start"
            )
        if not all(map(str.strip, texts)):
            raise ValueError('an answer is blank: remove it; "answers": [] stands for no answer')
        if self.is_impossible == bool(texts):
            raise ValueError(f"is_impossible is {self.is_impossible} with {len(texts)} answers: change either")
        gold = Gold(str(self.id), self.question, self.context, tuple(texts), tuple(starts), self.title)
        try:
            "".join((gold.id, gold.question, gold.context, *gold.answers, gold.article)).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise ValueError(f"{half!a} is half of a surrogate pair: write the whole character") from error
        return gold


def load(
    path: Path | str, *, limit: int | None = None, seed: int = 0, skip: Callable[[str], None] | None = None
) -> DataSet:
    """Read a data file.

    Args:
        path: SQuAD JSON or JSON Lines, plain or gzip.
        limit: most questions to keep: a random sample of this size, in the order of the file. None: all.
        seed: of the sample; the same seed and file give the same sample.
        skip: called with a message for each question, paragraph, article and line that cannot be used and is left
            out; there may be nothing left. None: they are errors.

    Raises:
        InputError: the file cannot be read, or something in it is missing, of the wrong type or
            contradictory. The message names the file, the location, the problem and the remedy.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; it must be at least 1, or None for all questions")
    path = Path(path)

    def refuse(error: InputError) -> None:
        if skip is None:
            raise error
        skip(str(error))

    try:
        data = path.read_bytes()
        golds = tuple(_golds(_records(_text(data, path), refuse), refuse))
        if not golds and skip is None:
            raise InputError(f"the file holds no questions; {_FORMATS}")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a data file that can be read") from error
    except InputError as error:
        raise InputError(f"{path}: {error.problem}", remedy=error.remedy) from error.__cause__
    if limit is not None:
        golds = sample(golds, limit, seed)
    return DataSet(name=path.name, sha256=hashlib.sha256(data).hexdigest(), golds=golds)


def sample(golds: tuple[Gold, ...], limit: int, seed: int) -> tuple[Gold, ...]:
    """Return a random sample of at most `limit` questions, in their order."""
    if limit >= len(golds):
        return golds
    chosen = random.Random(seed).sample(range(len(golds)), limit)
    return tuple(golds[index] for index in sorted(chosen))


def _text(data: bytes, path: Path) -> str:
    """Bytes on disk -> text, unpacked if they are gzip."""
    plain = _unpacked(data) if data.startswith(b"\x1f\x8b") else data
    refuse_other_kinds(bytes(plain[:BEGINNING]), "the file", file=str(path))
    try:
        return plain.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = plain.count(b"\n", 0, error.start) + 1
        raise InputError(f"line {line}: {error.reason} at byte {error.start}; save it as UTF-8") from error


def _unpacked(data: bytes) -> bytearray:
    """Gzip -> its content, in steps, so that a small file cannot fill the memory."""
    unpacked = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while chunk := stream.read(1 << 20):
                unpacked += chunk
                if len(unpacked) > MAX_UNPACKED_BYTES:
                    raise InputError(f"it unpacks to more than {MAX_UNPACKED_BYTES} bytes; split the file")
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"damaged gzip after {len(unpacked)} bytes ({error}); fetch it again") from error
    return unpacked


def _golds(records: Iterator[tuple[str, object]], refuse: Refuse) -> Iterator[Gold]:
    """Locations and JSON records -> examples; a record that is not valid, or repeats an id, is refused."""
    seen: set[str] = set()
    for location, record in records:
        try:
            gold = msgspec.convert(record, _Record).gold()
            if gold.id in seen:
                raise ValueError(f"duplicate question id {gold.id!r}: ids must be unique")
        except ValueError as error:
            name = f" (id {record['id']!r:.80})" if isinstance(record, dict) and "id" in record else ""
            refuse(InputError(f"{location}{name}: {error}"))
            continue
        seen.add(gold.id)
        yield gold


def _records(text: str, refuse: Refuse) -> Iterator[tuple[str, object]]:
    """Text -> the location and JSON of each question; the first JSON value shows the format."""
    if not text.strip():
        raise InputError(f"the file is empty; {_FORMATS}")
    first, rest = _parse(text, line=1)
    if not isinstance(first, dict):
        raise InputError(f"the file starts with {reprlib.repr(first)}; {_FORMATS}")
    if "question" in first or "context" in first:
        return _from_lines(text, refuse)
    if "data" not in first:
        raise InputError(f"the first object has only the keys {reprlib.repr(list(first))}; {_FORMATS}")
    if rest:
        raise InputError(f"the SQuAD object is followed by {reprlib.repr(rest)}; remove that")
    return _from_squad(first, refuse)


def _parse(text: str, *, line: int) -> tuple[object, str]:
    """The first JSON value of a text, and the rest of the text; `line` is the number of its first line."""
    try:
        value, end = json.JSONDecoder().raw_decode(text, len(text) - len(text.lstrip()))
    except json.JSONDecodeError as error:
        location = f"line {line + error.lineno - 1}, column {error.colno}"
        raise InputError(f"{location}: not JSON ({error.msg}); {_FORMATS}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"line {line}: not usable JSON ({error}); {_FORMATS}") from error
    return value, text[end:].strip()


def _from_squad(top: dict[str, object], refuse: Refuse) -> Iterator[tuple[str, object]]:
    """The object of a SQuAD file -> the location of each question, and the record that a line would hold."""
    for a, article in enumerate(_members(top, "data", "the first object", refuse)):
        at_article = f"data[{a}]"
        for p, paragraph in enumerate(_members(article, "paragraphs", at_article, refuse)):
            at_paragraph = f"{at_article}.paragraphs[{p}]"
            for q, question in enumerate(_members(paragraph, "qas", at_paragraph, refuse)):
                shared = {"title": article.get("title", at_article), "context": paragraph.get("context")}
                record = {**question, **shared} if isinstance(question, dict) else question
                yield f"{at_paragraph}.qas[{q}]", record


def _members(parent: object, key: str, location: str, refuse: Refuse) -> list[Any]:
    """Return the list that a JSON object holds under a key; refuse the object if it has none."""
    members = parent.get(key) if isinstance(parent, dict) else None
    if isinstance(members, list):
        return members
    refuse(InputError(f'{location}: it must be an object with a list "{key}"'))
    return []


def _from_lines(text: str, refuse: Refuse) -> Iterator[tuple[str, object]]:
    """The text of a JSON Lines file -> the location and record of each question."""
    # Not splitlines: JSON strings may hold U+2028 and other characters that it takes for line ends.
    for number, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            record, rest = _parse(content, line=number)
            if rest:
                raise InputError(f"line {number}: {reprlib.repr(rest)} follows the object: move it to a new line")
        except InputError as error:
            refuse(error)
            continue
        defaults = {"id": f"line-{number}", "title": ""}
        yield f"line {number}", {**defaults, **record} if isinstance(record, dict) else record
