"""Every form of a data file gives the same examples."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_onnx import InputError, MissingExtraError
from qa_onnx.data import squad

CONTEXT = "The mill on the Orne was built by Marta Linden in 1874. It burned down in 1901, \u201cas feared\u201d."
WHO, OWNER = "Who built the mill?", "Who owned it in 1950?"
ANSWER = {"text": "Marta Linden", "answer_start": 34}
START = 34
QAS: list[dict[str, Any]] = [
    {"id": "a", "question": WHO, "answers": [ANSWER]},
    {"id": "b", "question": OWNER, "answers": []},
]
PARAGRAPH = {"context": CONTEXT, "qas": QAS}
ROWS: list[dict[str, Any]] = [{"context": CONTEXT, **question} for question in QAS]
COLUMNS = [{"text": ["Marta Linden"], "answer_start": [START]}, {"text": [], "answer_start": []}]
HUB = [{**row, "title": "Mill", "answers": answers} for row, answers in zip(ROWS, COLUMNS, strict=True)]


def lines(*items: object) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)


def with_answers(first: object, second: object, **members: object) -> str:
    return lines({**ROWS[0], "answers": first, **members}, {**ROWS[1], "answers": second})


def table(*rows: dict[str, Any], delimiter: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def label_studio(*marks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The JSON export: a skipped annotation says nothing; predictions are not read."""
    skipped = {
        "was_cancelled": True,
        "result": [{"value": {"start": 0, "end": 3, "text": "The", "labels": ["Answer"]}}],
    }
    return [
        {
            "id": number,
            "annotations": [
                skipped,
                {
                    "was_cancelled": False,
                    "result": [{"to_name": "text", "type": "labels", "value": m} for m in marked],
                },
            ],
            "data": {"text": CONTEXT, "question": question},
            "predictions": [skipped],
        }
        for number, (question, marked) in enumerate(zip((WHO, OWNER), marks, strict=True))
    ]


MARK = {"start": START, "end": START + 12, "text": "Marta Linden", "labels": ["Answer"]}
MIN = {"text": CONTEXT, "annotator": 1, "annotation_id": 4, "lead_time": 2.5}

FORMS = {
    "SQuAD 1.1": json.dumps({"version": "1.1", "data": [{"title": "Mill", "paragraphs": [PARAGRAPH]}]}),
    "SQuAD 2.0": json.dumps(
        {
            "version": "v2.0",
            "data": [
                {
                    "title": "Mill",
                    "paragraphs": [{"context": CONTEXT, "qas": [{**QAS[0], "is_impossible": False}]}],
                },
                {
                    "title": "Owner",
                    "paragraphs": [
                        {
                            "context": CONTEXT,
                            "qas": [{**QAS[1], "is_impossible": True, "plausible_answers": [ANSWER]}],
                        }
                    ],
                },
            ],
        }
    ),
    "run_qa.py": json.dumps({"version": "0.1.0", "data": HUB}),
    "array of rows": json.dumps(ROWS, indent=1),
    "array of rows in one line": json.dumps(ROWS),
    "array of paragraphs": json.dumps([PARAGRAPH]),
    "array of articles": json.dumps([{"title": "Mill", "paragraphs": [PARAGRAPH]}], indent=2),
    "lines of rows": lines(*ROWS),
    "lines of paragraphs": lines({**PARAGRAPH, "qas": QAS[:1]}, {**PARAGRAPH, "qas": QAS[1:]}),
    "lines of articles": lines(*({"paragraphs": [{**PARAGRAPH, "qas": [question]}]} for question in QAS)),
    "MRQA": lines(
        {"header": {"dataset": "Mills", "split": "dev"}},
        {
            "id": "",
            "context": CONTEXT,
            "qas": [
                {
                    "qid": "a",
                    "question": WHO,
                    "answers": ["Marta Linden"],
                    "detected_answers": [
                        {"text": "Marta Linden", "char_spans": [[34, 45]], "token_spans": [[7, 8]]}
                    ],
                },
                {"qid": "b", "question": OWNER, "answers": [], "detected_answers": []},
            ],
        },
    ),
    "Haystack": json.dumps(
        {
            "data": [
                {
                    "document_id": 41,
                    "paragraphs": [
                        {
                            "context": CONTEXT,
                            "document_id": 41,
                            "qas": [
                                {
                                    "question": WHO,
                                    "id": 901,
                                    "is_impossible": False,
                                    "answers": [{**ANSWER, "answer_id": 1, "answer_category": "SHORT"}],
                                },
                                {
                                    "question": OWNER,
                                    "id": 902,
                                    "is_impossible": True,
                                    "answers": [{"text": "", "answer_start": 0, "answer_category": "NOT_GIVEN"}],
                                },
                            ],
                        }
                    ],
                }
            ]
        }
    ),
    "PIAF": json.dumps(
        {
            "data": [
                {
                    "title": "Moulin",
                    "wikipedia_page_id": "2713",
                    "audience": "restricted",
                    "paragraphs": [{"context": CONTEXT, "qas": [{**q, "id": 7 + n} for n, q in enumerate(QAS)]}],
                }
            ]
        }
    ),
    "Label Studio": json.dumps(label_studio([MARK], []), indent=1),
    "Label Studio, without texts": json.dumps(label_studio([{**MARK, "text": None}], [])),
    "Label Studio, before 1.0": json.dumps(label_studio([MARK], [])).replace('"annotations"', '"completions"'),
    "Label Studio, JSON_MIN": json.dumps([{"question": WHO, "answer": [MARK], **MIN}, {"question": OWNER, **MIN}]),
    "answers of objects": with_answers([ANSWER], []),
    "answers of columns": lines(*HUB),
    "answers of one column": with_answers({"text": "Marta Linden", "answer_start": START}, {"text": []}),
    "answer as an object": lines({**PARAGRAPH, "qas": [{"question": WHO, "answer": ANSWER}, QAS[1]]}),
    "texts and starts apart": with_answers(["Marta Linden"], "", answer_start=[START]),
    "one text and start": with_answers("Marta Linden", "", answer_start=START),
    "byte order mark": "\ufeff" + lines(*ROWS),
    "byte order mark, indented": "\ufeff\n" + json.dumps(ROWS, indent=1),
    "CSV, text and start": table(
        {
            "question": WHO,
            "context": CONTEXT,
            "text": "Marta Linden",
            "answer_start": START,
            "is_impossible": "False",
        },
        {"question": OWNER, "context": CONTEXT, "text": "", "answer_start": "nan", "is_impossible": "TRUE"},
    ),
    "CSV, cells of JSON": table(*({**row, "answers": json.dumps(row["answers"])} for row in ROWS)),
    "CSV, cells of Python": table(*({**row, "answers": repr(row["answers"])} for row in HUB)),
    "CSV, cells of NumPy": table(
        {**ROWS[0], "answers": "{'text': array(['Marta Linden'], dtype=object), 'answer_start': array([34])}"},
        {**ROWS[1], "answers": "{'text': array([], dtype=object), 'answer_start': array([], dtype=int32)}"},
    ),
    "Label Studio, CSV": table(
        {"annotation_id": 4, "answer": json.dumps([MARK]), "lead_time": 2.5, "question": WHO, "text": CONTEXT},
        {"annotation_id": 5, "answer": "", "lead_time": 1.5, "question": OWNER, "text": CONTEXT},
    ),
    "CSV with semicolons": table(*({**row, "answers": json.dumps(row["answers"])} for row in ROWS), delimiter=";"),
    "TSV": table(*({**row, "answers": json.dumps(row["answers"])} for row in ROWS), delimiter="\t"),
    "CSV with a byte order mark": "\ufeff"
    + table(*({**row, "answers": json.dumps(row["answers"])} for row in HUB)),
}
WITHOUT_STARTS = {
    "answers of texts": with_answers(["Marta Linden"], []),
    "answers of a column": with_answers({"text": ["Marta Linden"]}, {"text": []}),
    "answers as one text": with_answers("Marta Linden", ""),
    "answer, in a table": table(
        {"Question": WHO, " context": CONTEXT, "answer": "Marta Linden"},
        {"Question": OWNER, " context": CONTEXT, "answer": ""},
    ),
}


def read(path: Path, content: str | bytes) -> list[tuple[str, str, tuple[str, ...], tuple[int, ...]]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [(gold.question, gold.context, gold.answers, gold.answer_starts) for gold in squad.load(path).golds]


def expected(start: int) -> list[tuple[str, str, tuple[str, ...], tuple[int, ...]]]:
    return [(WHO, CONTEXT, ("Marta Linden",), (start,)), (OWNER, CONTEXT, (), ())]


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_read(form: str, tmp_path: Path) -> None:
    assert read(tmp_path / "data", FORMS[form]) == expected(START)


@pytest.mark.parametrize("form", WITHOUT_STARTS)
def test_a_form_without_starts_is_read(form: str, tmp_path: Path) -> None:
    assert read(tmp_path / "data", WITHOUT_STARTS[form]) == expected(-1)


@pytest.mark.parametrize("form", ["SQuAD 1.1", "array of rows", "lines of rows", "TSV"])
def test_a_packed_form_is_read(form: str, tmp_path: Path) -> None:
    content = FORMS[form].encode()
    assert read(tmp_path / "data", gzip.compress(content[:50]) + gzip.compress(content[50:])) == expected(START)
    pyarrow = pytest.importorskip("pyarrow")
    assert read(
        tmp_path / "data", zstandard(pyarrow, content[:50]) + zstandard(pyarrow, content[50:])
    ) == expected(START)


def zstandard(pyarrow: Any, content: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


@pytest.mark.parametrize("row_group_size", [1, 10])
def test_parquet_of_the_hub_is_read(row_group_size: int, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{**row, "embedding": [0.5] * 8} for row in HUB]
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink, row_group_size=row_group_size)
    assert read(tmp_path / "data", sink.getvalue()) == expected(START)
    assert read(tmp_path / "data", gzip.compress(sink.getvalue())) == expected(START)
    flat = pyarrow.table(
        {
            "context": [CONTEXT, CONTEXT],
            "question": [WHO, OWNER],
            "answer": ["Marta Linden", None],
            "answer_start": pyarrow.array([34.0, None]),
            "is_impossible": [None, True],
        }
    )
    parquet.write_table(flat, tmp_path / "flat")
    assert read(tmp_path / "data", (tmp_path / "flat").read_bytes()) == expected(START)


@pytest.mark.parametrize("number", range(6))
def test_what_the_page_shows_is_read(number: int, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:json|jsonl|csv)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    first, *others = read(tmp_path / "data", blocks[number])
    answer = "Linden" if "char_spans" in blocks[number] else "Marta Linden"
    assert first[:3] == ("Who built it?", "Marta Linden built it in 1874.", (answer,))
    assert first[3] in ((0,), (6,), (-1,))
    assert all(answers == () for _, _, answers, _ in others)


def test_ids_titles_and_places(tmp_path: Path) -> None:
    """An id may have any type and name, or be made of the place; rows without a title have no article."""

    def names(content: str) -> list[tuple[str, str]]:
        (tmp_path / "data").write_text(content)
        return [(gold.id, gold.article) for gold in squad.load(tmp_path / "data").golds]

    assert names(FORMS["SQuAD 1.1"]) == [("a", "Mill"), ("b", "Mill")]
    assert names(FORMS["Haystack"]) == [("901", "data[0]"), ("902", "data[0]")]
    assert names(FORMS["MRQA"]) == [("a", ""), ("b", "")]
    assert names(FORMS["lines of articles"]) == [("a", "line 1"), ("b", "line 2")]
    assert names(FORMS["Label Studio"]) == [("0", ""), ("1", "")]
    assert names(FORMS["CSV, text and start"]) == [("line-2", ""), ("line-3", "")]
    assert names(json.dumps([{**PARAGRAPH, "title": "Mill", "qas": [{**QAS[0], "id": None}]}])) == [
        ("[0].qas[0]", "Mill")
    ]
    kinds = [7, 8.0, 7.5, [1, "x"], True, "", None, float("nan")]
    rows = [{**ROWS[0], "id": name, "title": float("nan")} for name in kinds]
    rows.append({"context": CONTEXT, "question": WHO, "answers": [], "guid": "klue-1"})
    made = ["line-6", "line-7", "line-8"]
    assert [name for name, _ in names(lines(*rows))] == ["7", "8", "7.5", '[1, "x"]', "true", *made, "klue-1"]


def test_every_place_that_mrqa_detected_is_an_answer(tmp_path: Path) -> None:
    question = {
        "qid": "a",
        "question": "Which word occurs twice?",
        "answers": ["in", "Nowhere"],
        "detected_answers": [{"text": "in", "char_spans": [[47, 48], [71, 72]]}],
    }
    found = read(tmp_path / "data", lines({"context": CONTEXT, "qas": [question]}))
    assert found[0][2:] == (("in", "in", "Nowhere"), (47, 71, -1))


KEYS = [
    *("data", "paragraphs", "qas", "header", "question", "context", "id", "title", "is_impossible"),
    *("answers", "answer", "text", "answer_start", "detected_answers", "char_spans"),
    *("annotations", "completions", "annotation_id", "result", "value", "labels", "start", "end"),
]
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.sampled_from(["", "mill", "2", CONTEXT]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=40,
)


@given(st.lists(NESTED, max_size=3))
@settings(max_examples=500)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    for content in (lines(*values), json.dumps(values, indent=1), json.dumps({"data": values})):
        path.write_text(content)
        problems: list[str] = []
        try:
            golds = squad.load(path, skip=problems.append).golds
        except InputError:
            continue
        for gold in golds:
            assert {type(text) for text in (gold.id, gold.question, gold.context, gold.article)} == {str}
            assert len(gold.answers) == len(gold.answer_starts)
            assert all(map(str.strip, gold.answers))
        assert all(len(problem) < 500 for problem in problems)


@given(st.text(st.sampled_from("ab,;\t\"'[]{}:\n\r 1"), max_size=40), st.sampled_from(",;\t"))
def test_any_table_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, cells: str, delimiter: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_text(delimiter.join(["question", "context", "answers", "answer_start"]) + "\n" + cells)
    with contextlib.suppress(InputError):
        squad.load(path, skip=lambda _: None)


def test_what_mrqa_did_not_detect(tmp_path: Path) -> None:
    answers: list[Any] = [{"answers": ["Ida"]}, {}, {"answers": ["Marta Linden"]}]
    detected: list[Any] = [[], [{"text": "mill", "char_spans": [[4, 7]]}], [{"text": "Marta Linden"}]]
    qas = [
        {"question": "?", "detected_answers": places, **members}
        for places, members in zip(detected, answers, strict=True)
    ]
    found = read(tmp_path / "data", lines({"context": CONTEXT, "qas": qas}))
    assert [row[2:] for row in found] == [(("Ida",), (-1,)), (("mill",), (4,)), (("Marta Linden",), (-1,))]


@pytest.mark.parametrize("content", [b"PAR1 and more", b"\x28\xb5\x2f\xfd and more"])
def test_a_missing_package_is_named_with_the_pip_line(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "qa_onnx-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    extra = "Provides-Extra: data\nRequires-Dist: no-such-package; extra == 'data'\n"
    metadata.write_text("Metadata-Version: 2.1\nName: qa-onnx\nVersion: 1.0\n" + extra)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"no-such-package not installed: pip install 'qa-onnx\[data\]'"):
        read(tmp_path / "data", content)


def test_a_table_keeps_what_only_looks_like_a_list(tmp_path: Path) -> None:
    rows = [
        {"question": "?", "context": "see [1] the mill", "answer": answer} for answer in ("[1] the mill", "1874")
    ]
    assert [answers for *_, answers, _ in read(tmp_path / "data", table(*rows))] == [("[1] the mill",), ("1874",)]
