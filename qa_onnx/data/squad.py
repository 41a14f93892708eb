"""A data file -> examples with gold answers.

Two formats, told apart by content and not by the file's name, each plain or gzip:

- SQuAD v1.1 and v2.0: one JSON object, data[].paragraphs[].qas[].
- JSON Lines: one object a line, {"id"?, "question", "context", "answers"}. An empty list of answers means
  that the context holds none.

In both, `answers` may be [{"text", "answer_start"?}], {"text": [], "answer_start"?: []} or ["text"].

Left out: whether `answer_start` points at the answer. EM and F1 compare texts only.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import re
import reprlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias, TypeVar

from qa_onnx.data.file_kinds import refuse_other_kinds
from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Refuse: TypeAlias = Callable[[InputError], None]

T = TypeVar("T")
MAX_UNPACKED_BYTES = 1 << 30
_BEGINNING = 1 << 16  # bytes that tell what kind a file is
_FORMATS = 'it must be SQuAD JSON, {"data": ...}, or JSON Lines, {"question", "context", "answers"} a line'
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Gold:
    """An example and its right answers.

    Attributes:
        id: unique in its file; of a line without one, "line-" and the line's number.
        question: as in the file, like the context.
        context: the text to find the answers in.
        answers: the texts that are right; empty when the context does not answer the question.
        answer_starts: index in the context of each one's first character (code point); -1: not given.
        article: the title of the article that the context is from, or its place in the file; of a line without a
            title, "". Examples that differ in it alone are equal.
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
        """Whether one of the questions at least has no answer."""
        return any(not gold.answers for gold in self.golds)


def load(
    path: Path | str, *, limit: int | None = None, seed: int = 0, skip: Callable[[str], None] | None = None
) -> DataSet:
    """Read a data file.

    Args:
        path: SQuAD JSON or JSON Lines, plain or gzip.
        limit: most questions to keep: a random sample of this size, in the order of the file. None: all.
        seed: of the sample; the same seed and file give the same sample.
        skip: questions, paragraphs, articles and lines that cannot be used are left out, and it is called with
            the place of each, what is wrong and the remedy; there may be nothing left. None: they are errors.

    Raises:
        InputError: the file cannot be read, or something in it is missing, of the wrong type or
            contradictory. The message names the file, the place, what is wrong and the remedy.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; it must be at least 1, or None for all questions")
    path = Path(path)
    try:
        data = path.read_bytes()
        refuse = _fail if skip is None else _told(skip)
        golds = tuple(_unique(_golds(_text(data, path), refuse), refuse))
        if not golds and skip is None:
            raise InputError(f"the file holds no questions; {_FORMATS}")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a data file that can be read") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error.__cause__
    if limit is not None:
        golds = sample(golds, limit, seed)
    return DataSet(name=path.name, sha256=hashlib.sha256(data).hexdigest(), golds=golds)


def _fail(error: InputError) -> NoReturn:
    raise error


def _told(skip: Callable[[str], None]) -> Refuse:
    def refuse(error: InputError) -> None:
        skip(str(error))

    return refuse


def sample(golds: tuple[Gold, ...], limit: int, seed: int) -> tuple[Gold, ...]:
    """A random choice of at most `limit` questions, in their order."""
    if limit >= len(golds):
        return golds
    chosen = random.Random(seed).sample(range(len(golds)), limit)
    return tuple(golds[index] for index in sorted(chosen))


def _text(data: bytes, path: Path) -> str:
    """Bytes on disk -> text, unpacked where they are gzip."""
    plain = _unpacked(data) if data.startswith(b"\x1f\x8b") else data
    refuse_other_kinds(bytes(plain[:_BEGINNING]), "the file", file=str(path))
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


def _golds(text: str, refuse: Refuse) -> Iterator[Gold]:
    """Text -> examples; the first JSON value tells the format."""
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
    """The first JSON value of a text and what follows it; `line` is the number of its first line."""
    try:
        value, end = json.JSONDecoder().raw_decode(text, len(text) - len(text.lstrip()))
    except json.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1}, column {error.colno}"
        raise InputError(f"{place}: not JSON ({error.msg}); {_FORMATS}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"line {line}: not usable JSON ({error}); {_FORMATS}") from error
    return value, text[end:].strip()


def _from_squad(top: dict[str, object], refuse: Refuse) -> Iterator[Gold]:
    """The object of a SQuAD file -> examples."""
    for a, article in enumerate(_typed(top["data"], list, "data")):
        place = f"data[{a}]"
        try:
            paragraphs = _member(article, "paragraphs", list, place)
            title = _typed(article.get("title", place), str, f"{place}, title")
        except InputError as error:
            refuse(error)
            continue
        for p, paragraph in enumerate(paragraphs):
            yield from _from_paragraph(paragraph, title, f"{place}, paragraphs[{p}]", refuse)


def _from_paragraph(paragraph: object, title: str, place: str, refuse: Refuse) -> Iterator[Gold]:
    try:
        context = _member(paragraph, "context", str, place)
        records = _member(paragraph, "qas", list, place)
    except InputError as error:
        refuse(error)
        return
    for q, record in enumerate(records):
        try:
            yield _gold(record, context, title, f"{place}, qas[{q}]")
        except InputError as error:
            refuse(error)


def _from_lines(text: str, refuse: Refuse) -> Iterator[Gold]:
    """The text of a JSON Lines file -> examples."""
    # Not splitlines: JSON strings may hold U+2028 and other characters that it takes for line ends.
    for number, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            yield _from_line(content, number)
        except InputError as error:
            refuse(error)


def _from_line(content: str, number: int) -> Gold:
    place = f"line {number}"
    value, rest = _parse(content, line=number)
    if rest:
        raise InputError(f"{place}: more than an object, {reprlib.repr(rest)}; move it to a new line")
    record = {"id": f"line-{number}", "title": "", **_typed(value, dict, place)}
    title = _typed(record["title"], str, f"{place}, title")
    return _gold(record, _member(record, "context", str, place), title, place)


def _gold(record: object, context: str, title: str, place: str) -> Gold:
    """The JSON object of a question -> example."""
    given = _member(record, "id", object, place)
    name = str(given) if type(given) is int else _typed(given, str, f"{place}, id")
    place = f"{place} (id {name!r})"
    question = _member(record, "question", str, place)
    answers = _answers(_member(record, "answers", object, place), f"{place}, answers")
    stated = _typed(record, dict, place).get("is_impossible", not answers)
    impossible = _typed(stated, bool, f"{place}, is_impossible")
    if impossible == bool(answers):
        raise InputError(f"{place}: is_impossible is {stated} with {len(answers)} answers; change either")
    texts, starts = zip(*answers, strict=True) if answers else ((), ())
    return Gold(name, question, context, texts, starts, title)


def _answers(value: object, place: str) -> list[tuple[str, int]]:
    """Any of the three forms of `answers` -> pairs of text and start."""
    entries = _entries(value, place) if isinstance(value, dict) else _typed(value, list, place)
    answers = []
    for index, entry in enumerate(entries):
        here = f"{place}[{index}]"
        record = {"text": entry} if isinstance(entry, str) else _typed(entry, dict, here)
        text = _member(record, "text", str, here)
        if not text.strip():
            raise InputError(f'{here}: the text is blank; remove it: "answers": [] stands for no answer')
        start = _typed(record.get("answer_start", -1), int, f"{here}, answer_start")
        if start < -1:
            raise InputError(f"{here}: answer_start is {start}; it must be 0 or more, or -1 for unknown")
        answers.append((text, start))
    return answers


def _entries(columns: dict[str, object], place: str) -> list[dict[str, object]]:
    """The form of two lists -> the form of one object an answer."""
    texts = _member(columns, "text", list, place)
    starts = _typed(columns.get("answer_start", [-1] * len(texts)), list, f"{place}, answer_start")
    if len(starts) != len(texts):
        raise InputError(f"{place}: {len(texts)} texts have {len(starts)} starts; give each one, or none any")
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]


def _member(record: object, key: str, kind: type[T], place: str) -> T:
    """A value of a JSON object, which must be there and of the right type."""
    members = _typed(record, dict, place)
    if key not in members:
        raise InputError(f'{place}: there is no key "{key}"; add it')
    return _typed(members[key], kind, f"{place}, {key}")


def _typed(value: object, kind: type[T], place: str) -> T:
    """The value itself, once it is known to be of the right JSON type."""
    # In Python, but not in JSON, true is a whole number.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{place}: is {reprlib.repr(value)}; it must be of type {kind.__name__}")
    if isinstance(value, str) and _HALF_CHARACTER.search(value):
        raise InputError(f"{place}: holds half of a surrogate pair; write the whole character")
    return value


def _unique(golds: Iterator[Gold], refuse: Refuse) -> Iterator[Gold]:
    """Refuse the second question of an id."""
    seen: set[str] = set()
    for gold in golds:
        if gold.id in seen:
            refuse(InputError(f"id {gold.id!r}: two questions have it; give each its own"))
            continue
        seen.add(gold.id)
        yield gold
