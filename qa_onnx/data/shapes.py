"""A JSON value -> records: rows, paragraphs, articles and exports of annotation tools, nested in any way.

`_SHAPES` lists what is recognized, by the keys of an object. A list holds any of them:

- a row, {"question", "context", "answers", ...}
- {"data": [...]}: SQuAD 1.1 and 2.0, PIAF, the export of Haystack's annotation tool, and rows for run_qa.py
- an article, {"title"?, "paragraphs": [...]}
- a paragraph, {"context", "title"?, "qas": [...]}, also MRQA's with "detected_answers"
- a task of Label Studio, {"data": {"text", "question"}, "annotations": [...]}, and a row of its JSON_MIN export
- MRQA's first line, {"header": ...}, which holds no question

Left out: whether the fields of a record are right (records.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qa_onnx.data.records import Record, present
from qa_onnx.errors import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

EXPECTED = 'a row {"question", "context", "answers"}, {"context", "qas": []}, {"paragraphs": []} or {"data": []}'
_NOTHING: Mapping[str, Any] = {}


def records_of(value: object, place: str, shared: Mapping[str, Any] = _NOTHING) -> Iterator[Record]:
    """Yield the questions in a value, in their order; a part of no known shape is a record with a problem.

    Args:
        value: of JSON.
        place: of the value in the file; "" for the whole file.
        shared: fields that the questions in it have in common.
    """
    for is_shape, read in _SHAPES:
        if is_shape(value):
            return read(value, place, shared)
    what = f"an object with the keys {quoted(list(value))}" if isinstance(value, dict) else quoted(value)
    fields = value if isinstance(value, dict) else _NOTHING
    return iter([Record(place or "the file", fields, problem=f"expected {EXPECTED}, not {what}")])


def _items(value: list[Any], place: str, shared: Mapping[str, Any]) -> Iterator[Record]:
    for number, item in enumerate(value):
        yield from records_of(item, f"{place}[{number}]", shared)


def _row(value: dict[str, Any], place: str, shared: Mapping[str, Any]) -> Iterator[Record]:
    yield Record(place or "the file", {**value, **shared})


def _data(value: dict[str, Any], place: str, shared: Mapping[str, Any]) -> Iterator[Record]:
    return _items(value["data"], _inside(place, "data"), shared)


def _article(value: dict[str, Any], place: str, shared: Mapping[str, Any]) -> Iterator[Record]:
    title = present(value, "title")
    shared = {**shared, "title": (place or "article") if title is None else title}
    return _items(value["paragraphs"], _inside(place, "paragraphs"), shared)


def _paragraph(value: dict[str, Any], place: str, shared: Mapping[str, Any]) -> Iterator[Record]:
    shared = {**{key: value[key] for key in ("title", "context") if key in value}, **shared}
    for number, question in enumerate(value["qas"]):
        at_question = f"{_inside(place, 'qas')}[{number}]"
        if not isinstance(question, dict):
            yield Record(
                at_question, problem=f'expected a question, {{"question", "answers"}}, not {quoted(question)}'
            )
        elif "detected_answers" in question:
            yield Record(at_question, {**question, **shared, "answers": _detected(question)})
        else:
            yield Record(at_question, {**question, **shared})


def _detected(question: dict[str, Any]) -> Any:
    """Return the answers of MRQA: where each was detected, and those that were not; char_spans include the end."""
    places: list[Any] = []
    for answer in _objects(question["detected_answers"]):
        starts = [span[0] for span in answer.get("char_spans") or () if isinstance(span, list) and span]
        places += [{"text": answer.get("text"), "answer_start": start} for start in starts or [None]]
    detected = [place["text"] for place in places]
    answers = question.get("answers")
    return (
        places + [answer for answer in answers if answer not in detected] if isinstance(answers, list) else places
    )


def _task(value: dict[str, Any], place: str, _: Mapping[str, Any]) -> Iterator[Record]:
    """Read a task of Label Studio: submitted annotations mark its answers; without one, they are unknown."""
    submitted = [one for one in _objects(_annotations(value)) if not one.get("was_cancelled")]
    marked = [
        mark["value"]
        for one in submitted
        for mark in _objects(one.get("result"))
        if isinstance(mark.get("value"), dict) and mark.get("to_name") != "question"
    ]
    yield _labelled({**value["data"], "id": value.get("id")}, place, marked if submitted else None)


def _exported_task(value: dict[str, Any], place: str, _: Mapping[str, Any]) -> Iterator[Record]:
    """Read a row of Label Studio's JSON_MIN: the marks, if any, are a list under the name of the labels."""
    marked = [mark for key, marks in value.items() if key != "question" for mark in _objects(marks)]
    yield _labelled(value, place, marked)


def _labelled(task: dict[str, Any], place: str, marked: list[dict[str, Any]] | None) -> Record:
    """Return the record of a task; a mark without its text names characters of the context, half-open."""
    place = place or "the file"
    context = task.get("context", task.get("text"))
    fields = {"id": task.get("id"), "question": task.get("question"), "context": context}
    if marked is None:
        return Record(place, fields)
    answers = []
    for mark in marked:
        if "labels" in mark:
            text, start, end = mark.get("text"), mark.get("start"), mark.get("end")
            if text is None and isinstance(context, str) and isinstance(start, int) and isinstance(end, int):
                text = context[start:end]
            if not isinstance(text, str):
                return Record(
                    place, fields, problem=f'a label needs "text", or "start" and "end", not {quoted(mark)}'
                )
            answers.append({"text": text, "answer_start": start})
    return Record(place, {**fields, "answers": answers})


def _annotations(value: dict[str, Any]) -> Any:
    return value.get("annotations", value.get("completions"))  # the second: before Label Studio 1.0


def _objects(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list; none of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _inside(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _has(key: str, kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and isinstance(value.get(key), kind)


def _has_any(*keys: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and any(key in value for key in keys)


_SHAPES: tuple[tuple[Callable[[Any], bool], Callable[[Any, str, Mapping[str, Any]], Iterator[Record]]], ...] = (
    (lambda value: isinstance(value, list), _items),
    (_has("qas", list), _paragraph),
    (_has("paragraphs", list), _article),
    (lambda value: _has_any("annotation_id")(value) and "answers" not in value, _exported_task),
    (lambda value: _has("data", dict)(value) and isinstance(_annotations(value), list), _task),
    (_has_any("question", "context"), _row),
    (_has("data", list), _data),
    (_has("header", dict), lambda *_: iter(())),
)
