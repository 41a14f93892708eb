"""Rows of Arrow -> rows with answers: beside `Reader.predict`, and rows that cannot be answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qa_onnx import InputError, Reader
from qa_onnx.mapping import Asked, answer_batches, answer_schema

pa = pytest.importorskip("pyarrow", reason="needs qa-onnx[map]")

ROWS: list[dict[str, Any]] = [
    {"id": 7, "question": "Who keeps the bees?", "context": "Anna keeps the bees. Otto has the soup."},
    {"id": 7, "question": "What does Otto have? 🐝", "context": "🐝 Otto has the soup. Élodie naît. " * 40},
    {"id": None, "question": "How?", "context": "Slowly"},
]

ASKED = Asked()


def table(rows: list[dict[str, Any]], **types: Any) -> Any:
    found = pa.Table.from_pylist(rows)
    for name, kind in types.items():
        found = found.set_column(found.schema.get_field_index(name), name, found[name].cast(kind))
    return found


def answered(found: Any, reader: Reader, asked: Asked = ASKED, **options: Any) -> list[dict[str, Any]]:
    batches = list(answer_batches(found.to_batches(max_chunksize=2), reader, asked, **options))
    assert [batch.schema for batch in batches] == [answer_schema(found.schema, asked)] * len(batches)
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_the_answers_are_those_of_the_reader(tiny_reader: Reader, kind: Any) -> None:
    rows = answered(table(ROWS, question=kind, context=kind), tiny_reader)
    predictions = tiny_reader.predict((row["question"], row["context"]) for row in ROWS)
    for row, given, prediction in zip(rows, ROWS, predictions, strict=True):
        assert {name: row[name] for name in given} == given
        answer = tiny_reader.choose(prediction)
        assert row["answer_text"] == answer.text == given["context"][answer.start : answer.end]
        assert (row["answer_start"], row["answer_end"]) == (answer.start, answer.end)
        assert row["answer_score"] == pytest.approx(answer.score, abs=1e-4)
        assert row["answer_probability"] == pytest.approx(answer.probability, abs=1e-4)
        assert row["answer_null_probability"] == pytest.approx(prediction.null_probability, abs=1e-4)
        assert row["answer_error"] is None
        assert "answer_n_best" not in row


def test_several_best_answers(tiny_reader: Reader) -> None:
    for row in answered(table(ROWS), tiny_reader, Asked(n_best=3)):
        best = row["answer_n_best"]
        assert isinstance(best, list)
        assert 1 <= len(best) <= 3
        assert sorted((one["score"] for one in best), reverse=True) == [one["score"] for one in best]


def test_the_same_questions_of_each_row(tiny_reader: Reader) -> None:
    contexts = table(ROWS).drop_columns(["question"]).rename_columns(["id", "body"])
    rows = answered(contexts, tiny_reader, Asked(context="body", questions={"who": "Who?", "what": "What?"}))
    assert list(rows[0])[:4] == ["id", "body", "who_text", "who_start"]
    for row, given in zip(rows, ROWS, strict=True):
        for name, question in (("who", "Who?"), ("what", "What?")):
            answer = tiny_reader.ask(question, str(given["context"]))
            assert row[f"{name}_text"] == answer.text


def test_rows_that_cannot_be_answered_have_the_reason(tiny_reader: Reader) -> None:
    rows = [
        ROWS[0],
        {"id": 1, "question": None, "context": "x"},
        {"id": 2, "question": "Who?", "context": None},
        {"id": 3, "question": "Who? " * 200, "context": "Anna"},
    ]
    options = replace(tiny_reader.options, max_question_length=None)
    found = answered(table(rows), tiny_reader, options=options)
    assert found[0]["answer_error"] is None
    assert found[0]["answer_text"] == tiny_reader.ask(str(ROWS[0]["question"]), str(ROWS[0]["context"])).text
    assert [row["answer_error"] for row in found[1:3]] == ["the question is null", "the context is null"]
    assert "question" in str(found[3]["answer_error"])
    for row in found[1:]:
        assert {row[name] for name in row if name.startswith("answer_") and name != "answer_error"} == {None}


def test_text_that_is_not_utf8_is_an_error_of_its_row(tiny_reader: Reader) -> None:
    raw = pa.array([b"Anna keeps bees", b"\xff\xfe"]).cast(pa.binary())
    context = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    batch = pa.RecordBatch.from_arrays([pa.array(["Who?", "Who?"]), context], ["question", "context"])
    [found] = answer_batches([batch], tiny_reader)
    errors = found.column("answer_error").to_pylist()
    assert errors[0] is None
    assert errors[1] == "the context is not UTF-8: b'\\xff\\xfe'"


THREE = pa.Table.from_arrays([pa.array(["a"])] * 3, ["question", "question", "context"])


@pytest.mark.parametrize(
    ("found", "asked", "message"),
    [
        (table(ROWS).drop_columns(["context"]), ASKED, "there is no column 'context'; the columns are ['id', '"),
        (table(ROWS), Asked(context="body"), "there is no column 'body'"),
        (table(ROWS), Asked(question="id"), "the column 'id' is of type int64; it must hold text"),
        (table([{**ROWS[0], "answer_end": 1}]), ASKED, "the rows have a column 'answer_end' already"),
        (THREE, ASKED, "there are 2 columns 'question'"),
    ],
)
def test_rows_of_another_form_are_refused(tiny_reader: Reader, found: Any, asked: Asked, message: str) -> None:
    with pytest.raises(InputError) as error:
        list(answer_batches(found.to_batches(), tiny_reader, asked))
    assert message in str(error.value)
    assert len(str(error.value)) < 500


def test_no_rows_no_batches(tiny_reader: Reader) -> None:
    empty = table(ROWS).slice(0, 0)
    assert answered(empty, tiny_reader) == []
    [batch] = answer_batches([pa.RecordBatch.from_pylist([], schema=empty.schema)], tiny_reader)
    assert (batch.num_rows, batch.schema) == (0, answer_schema(empty.schema))


@pytest.mark.parametrize("n_best", [0, 2.5, True, "3", None, 10_001])
def test_n_best_is_bounded(n_best: Any) -> None:
    with pytest.raises(InputError, match=r"n_best is .*; it must be an integer from 1 to 10000"):
        Asked(n_best=n_best)
