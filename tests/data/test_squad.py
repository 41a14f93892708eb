"""Loading a data set: what the report of a file holds, samples, and files that cannot be read."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qa_onnx.data import packed, tables
from qa_onnx.data.squad import DataSet, Gold, load
from qa_onnx.errors import InputError

SHARED = Path(__file__).parents[3] / "shared"
needs_shared_data = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="the SQuAD files of ../shared/data are absent"
)
CONTEXT = "The mill by the river grinds rye. It was built in 1802."
WHERE = {"id": "q1", "question": "Where is the mill?"}
WHERE_ANSWERS = [{"text": "by the river", "answer_start": 9}, {"text": "the river", "answer_start": 12}]
GOOD = {**WHERE, "answers": []}

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a data file and return its path."""

    def write_file(content: str | bytes) -> Path:
        path = tmp_path / "rivers.data"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def squad_json(*qas: object, context: object = CONTEXT, **dump: Any) -> str:
    return json.dumps({"version": "x", "data": [{"paragraphs": [{"context": context, "qas": qas}]}]}, **dump)


def line(**members: object) -> str:
    return json.dumps({"question": "Where is the mill?", "context": CONTEXT, "answers": [], **members})


def test_squad_1_and_2(write: Write) -> None:
    content = squad_json(
        {**WHERE, "answers": WHERE_ANSWERS},
        {"id": "q2", "question": "Who built it?", "answers": [], "is_impossible": True, "plausible_answers": []},
        {"id": "q3", "question": "When?", "answers": [{"text": "1802"}], "is_impossible": False},
    )
    data = load(write(content))
    assert data == DataSet(
        name="rivers.data",
        sha256=hashlib.sha256(content.encode()).hexdigest(),
        golds=(
            Gold("q1", "Where is the mill?", CONTEXT, ("by the river", "the river"), (9, 12)),
            Gold("q2", "Who built it?", CONTEXT, (), ()),
            Gold("q3", "When?", CONTEXT, ("1802",), (-1,)),
        ),
    )
    assert data.has_unanswerable
    assert not data.repairs
    assert not load(write(squad_json({**WHERE, "answers": WHERE_ANSWERS}))).has_unanswerable


def test_file_order_over_articles_and_paragraphs(write: Write) -> None:
    def questions(article: int, paragraph: int) -> list[dict[str, Any]]:
        return [{**WHERE, "id": f"{article}{paragraph}{n}", "answers": ["1802"]} for n in range(2)]

    articles = [
        {"title": "t", "paragraphs": [{"context": CONTEXT, "qas": questions(a, p)} for p in range(2)]}
        for a in range(3)
    ]
    ids = [gold.id for gold in load(write(json.dumps({"data": articles}))).golds]
    assert ids == [f"{a}{p}{n}" for a in range(3) for p in range(2) for n in range(2)]


def test_separators_inside_json_strings_do_not_end_a_line(write: Write) -> None:
    context = "left\u2028right\u0085end\u2029"
    record = json.dumps({"question": "?", "context": context, "answers": []}, ensure_ascii=False)
    assert [gold.context for gold in load(write(f"{record}\r\n \n{record}\n")).golds] == [context, context]


def test_a_row_may_have_a_field_of_any_other_form(write: Write) -> None:
    assert len(load(write(line(data=[], paragraphs="x", annotations=[], header="x"))).golds) == 1


def test_packing_changes_nothing_but_the_hash(write: Write) -> None:
    content = squad_json({**WHERE, "answers": ["1802"]}).encode()
    plain = load(str(write(content)))
    packed_bytes = gzip.compress(content, mtime=0)
    packed_data = load(write(packed_bytes))
    assert plain.golds == packed_data.golds
    assert packed_data.sha256 == hashlib.sha256(packed_bytes).hexdigest() != plain.sha256


def test_unicode_is_kept_as_it_is(write: Write) -> None:
    context = "Zu\u0301rich \U0001f600 \u00a0 東京\t"
    assert load(write(line(context=context))).golds[0].context == context
    assert load(write(squad_json(GOOD, context=context, ensure_ascii=False))).golds[0].context == context


def test_limit_takes_a_seeded_sample_in_file_order(write: Write) -> None:
    path = write("\n".join(line(id=f"{number:02}") for number in range(40)))
    everything = load(path).golds
    sample = load(path, limit=10, seed=1).golds
    assert len(sample) == 10
    assert sample == tuple(sorted(sample, key=lambda gold: gold.id))
    assert set(sample) < set(everything)
    assert sample != everything[:10]
    assert sample == load(path, limit=10, seed=1).golds != load(path, limit=10, seed=2).golds
    assert load(path, limit=40).golds == load(path, limit=41).golds == everything


@pytest.mark.parametrize("limit", [0, -1, True, 2.5])
def test_limit_must_be_positive(write: Write, limit: int) -> None:
    with pytest.raises(InputError, match=f"limit is {limit}; it must be an integer of at least 1"):
        load(write(line()), limit=limit)


# What is repaired, and what is left out


def test_repairs_are_counted_and_logged_in_one_line(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "qa_onnx")
    moved = {"text": "1802", "answer_start": "0"}
    data = load(write("\n".join([line(answers=[moved]), line(answers=[""]), line(answers=["", moved])])))
    assert [(gold.answers, gold.answer_starts) for gold in data.golds] == [
        (("1802",), (50,)),
        ((), ()),
        (("1802",), (50,)),
    ]
    assert data.repairs.counts == {"moved": 2, "blank": 2, "numbers": 2}
    assert [record.getMessage() for record in caplog.records] == [
        "rivers.data was repaired: answers with a wrong answer_start, moved to the only place of their text: 2; "
        "blank answers, taken as none: 2; numbers written as floats or text: 2"
    ]


def test_what_cannot_be_used_is_left_out_if_the_caller_says_so(write: Write) -> None:
    problems: list[str] = []
    content = "\n".join([line(id="a"), "{broken", "[1]", line(id="a"), line(id=3, question=None)])
    data = load(write(content), skip=problems.append)
    assert [gold.id for gold in data.golds] == ["a", "a"]  # ids are looked up nowhere
    assert [problem.partition(":")[0] for problem in problems] == [
        "line 2",
        "line 3[0]",
        "line 5 (id '3')",
    ]


def test_ids_may_repeat_unless_they_are_looked_up(write: Write) -> None:
    rows = [line(id="x"), line(), line(id="y"), line(id="x", question="Why?"), line()]
    assert [gold.id for gold in load(write("\n".join(rows))).golds] == ["x", "line-2", "y", "x", "line-5"]
    with pytest.raises(
        InputError, match=r"rivers\.data: line 4 \(id 'x'\): duplicate question id 'x': ids must be uni"
    ):
        load(write("\n".join(rows)), unique_ids=True)
    problems: list[str] = []
    assert len(load(write("\n".join(rows)), skip=problems.append, unique_ids=True).golds) == 4
    assert len(problems) == 1


# What is refused

AT = r"data\[0\]\.paragraphs\[0\]\.qas\[0\]"
NAMED = AT + r" \(id 'q1'\)"
EXPECTED = r'expected a row \{"question", "context", "answers"\}, .*, '
REFUSED: list[Any] = [
    (b"", 'the file is empty; it must be JSON or JSON lines, a row {"question".* or a CSV, TSV or Parquet table'),
    (b" \n\t\n", "it holds no questions"),
    (gzip.compress(b" \n", mtime=0), "it holds no questions; it must be"),
    (
        b'{"data":\n "\xff"}',
        r"line 2: invalid start byte at byte 11: expected UTF-8, not b'.*\\xff.*': save it as UTF-8",
    ),
    ("id,query\n1,Where?", "the file starts with 'id,query'; it must be JSON"),
    ('"question,context\nwho,x', "the file starts with '.question,context'; it must be JSON"),
    ('{"data": [\n{"paragraphs" 1', r"line 2, column 15: not JSON .Expecting ':' delimiter.* in .*; it must be"),
    pytest.param("[" * 100_000, "line 1: not usable JSON .*recursion.*; it must be", id="too deep"),
    pytest.param("[" + "1" * 5000 + "]", "line 1: not usable JSON .*; it must be", id="huge number"),
    ("[1, 2]", rf"\[0\]: {EXPECTED}not 1"),
    ("null", "the file starts with 'null'; it must be"),
    ('{"rows": [], "version": 1}', rf"the file: {EXPECTED}not an object with the keys \['rows', 'version'\]"),
    ('{"data": {}}', rf"the file: {EXPECTED}not an object with the keys \['data'\]"),
    ('{"data": []}', "it holds no questions; it must be"),
    ('{"data": [{"paragraphs": []}]}', "it holds no questions"),
    ('{"data": [7]}', rf"data\[0\]: {EXPECTED}not 7"),
    ('{"data": [{"title": "t"}]}', rf"data\[0\]: {EXPECTED}not an object with the keys \['title'\]"),
    (
        '{"data": [{"paragraphs": [{"qas": [{"id": 7, "question": "?"}]}]}]}',
        AT + r""" \(id '7'\): no "context": a text is expected; the keys are \['id', 'question', 'title'\]""",
    ),
    (squad_json(GOOD, context=5), NAMED + ': "context" must be a text, not 5'),
    (squad_json(GOOD) + "\n{}", rf"line 2: {EXPECTED}not an object with the keys \[\]"),
    (squad_json("q"), AT + """: expected a question, {"question", "answers"}, not 'q'"""),
    (squad_json({"id": "q1", "answers": []}), NAMED + ': no "question": a text is expected'),
    (
        squad_json(WHERE),
        NAMED + r': no "answers": a list of \{"text", "answer_start"\} is expected, \[\] if there is',
    ),
    (squad_json({**WHERE, "answers": None}), NAMED + ': no "answers"'),
    (squad_json({**WHERE, "answers": True}), NAMED + ': "answers" must be a list, .* or a text, not True'),
    (squad_json({**WHERE, "answers": {}}), NAMED + r': "answers" must be a list, .* or a text, not \{\}'),
    (squad_json({**WHERE, "answers": [1]}), NAMED + r': answers\[0\] must be a text or have a "text", not be 1'),
    (
        squad_json({**WHERE, "answers": [{}]}),
        NAMED + r': answers\[0\] must be a text or have a "text", not be \{\}',
    ),
    (squad_json({**WHERE, "answers": {"text": [1]}}), NAMED + ": the text of an answer must be a text, not 1"),
    *(
        (squad_json({**WHERE, "answers": [{"text": "x", "answer_start": start}]}), NAMED + message)
        for start, message in (
            (True, ': "answer_start" must be a whole number, not True'),
            (3.5, ': "answer_start" must be a whole number, not 3.5'),
            ("x" * 200, ": \"answer_start\" must be a whole number, not 'x{36,76}\\.\\.\\.x*'?$"),
        )
    ),
    (
        squad_json({**WHERE, "answers": {"text": ["x", "y"], "answer_start": [0]}}),
        NAMED + ": 2 answer texts but 1 answer_start values: give one per text, or omit answer_start",
    ),
    (squad_json({**GOOD, "is_impossible": "no"}), NAMED + """: "is_impossible" must be true or false, not 'no'"""),
    (
        squad_json({**GOOD, "is_impossible": False}),
        NAMED + ": is_impossible is False with 0 answers: change either",
    ),
    (
        squad_json({**WHERE, "answers": ["x"], "is_impossible": True}),
        NAMED + ": is_impossible is True with 1 answers: change either",
    ),
    (
        squad_json(GOOD, context="\ud83d"),
        NAMED + r": '\\ud83d' is half of a surrogate pair: write the whole character",
    ),
    (f"{line()}\n\n[1]\n", rf"line 3\[0\]: {EXPECTED}not 1"),
    (f"{line()}\n{line()[:-1]}\n{line()}", r"line 2: column 119: not JSON \(Expecting ',' delimiter\) in "),
    (f"{line()}\n{line()} {line()}", r"line 2: column 121: not JSON \(Extra data\) in "),
    ('{"question": }\n' + line(), "line 1: column 14: not JSON"),
    (f"{line()}\n".encode() + b'{"question": "\xff"}', r"line 2: invalid start byte at byte 14: expected UTF-8"),
    (gzip.compress(b"not json", mtime=0), "the file starts with 'not json'; it must be"),
    (
        '[{"data": {"text": "t", "question": "?"}, "annotations": []}]',
        r"\[0\]: no .answers.: a list of .* the keys are \['id', 'question'",
    ),
    (
        '[{"data": {"text": 1, "question": "?"}, "annotations": [{"result": [{"value": {"labels": ["A"]}}]}]}]',
        r'\[0\]: a label needs "text", or "start" and "end", not ',
    ),
    ("question,context,answers\nwho,x", r"line 2: expected 3 cells, as in the header, not 2: \['who', 'x'\]"),
    (
        'question,context,answers\n\nwho,x,"y"" z',
        "line 3: expected a row of a table, not .*unexpected end of data.*: double",
    ),
    (
        "question\tcontext\tanswers\nwho\tx\t[{'text'",
        """line 2: "answers": expected a list or an object, as JSON or""",
    ),
    (
        "question\tcontext\tanswers\nwho\tx\t['y' 'z']",
        """line 2: "answers": expected a list or an object, .*'y' 'z'""",
    ),
    (
        "question,context,answers\nwho,x,\"['y'\n 'z']\"",
        """line 2: "answers": expected a list or an object, .*'y'.n 'z'""",
    ),
    ("question\tcontext\tanswers\nwho\tx\t[open('y')]", """line 2: "answers": expected a list or an object"""),
    ("question,context\nwho,x", 'line 2: no "answers"'),
]


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_errors_name_file_place_expectation_and_value(write: Write, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=rf"rivers\.data: (?s:{message})") as refused:
        load(write(content))
    assert len(str(refused.value)) < 600


def test_a_long_cell_of_a_table_is_refused(write: Write) -> None:
    with pytest.raises(
        InputError, match=r"line 2: .*field larger than field limit.*write longer texts as JSON lines"
    ):
        load(write(f"question,context,answers\nwho,{'x' * 200_000},x\n"))


def test_damaged_gzip(write: Write) -> None:
    whole = gzip.compress(squad_json(GOOD).encode())
    flipped = bytearray(whole)
    flipped[-6] ^= 0xFF
    for damaged in (whole[:-12], bytes(flipped), whole + b"tail", whole[:10] + b"\xff" * 20, whole[:3]):
        with pytest.raises(InputError, match=r"rivers\.data: damaged gzip after \d+ bytes \(.+\): fetch it again"):
            load(write(damaged))


def test_damaged_zstandard_and_parquet(write: Write, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    whole = pyarrow.compress(squad_json(GOOD).encode(), codec="zstd", asbytes=True)
    with pytest.raises(InputError, match=r"rivers\.data: damaged Zstandard after 0 bytes \(.+\): fetch it again"):
        load(write(whole[:-5]))
    parquet.write_table(pyarrow.table({"question": ["?"], "passage": ["x"]}), tmp_path / "table")
    with pytest.raises(
        InputError, match=r"""columns "question" and "context", but the table has \['question', 'pass"""
    ):
        load(tmp_path / "table")
    with pytest.raises(InputError, match=r"rivers\.data: damaged Parquet \(.+\): fetch it again"):
        load(write((tmp_path / "table").read_bytes()[:-20]))


@pytest.mark.parametrize(
    ("old", "new"), [(b"notes", b"n\xa6tes"), (b"Who rows", b"Wh\xf2 rows")], ids=["name", "text"]
)
def test_parquet_whose_texts_are_not_utf8(tmp_path: Path, old: bytes, new: bytes) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs qa-onnx[data]")
    from pyarrow import parquet

    sink, row = io.BytesIO(), {"question": "Who rows?", "context": "Ida rows.", "notes": {"a": 1}}
    parquet.write_table(
        pyarrow.Table.from_pylist([row]),
        sink,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    )
    path = tmp_path / "rows.parquet"
    path.write_bytes(sink.getvalue().replace(old, new))
    with pytest.raises(InputError, match=r"rows\.parquet: damaged Parquet \(.*(utf-8|UTF8).*: fetch it again"):
        load(path)


def test_parquet_whose_dictionary_has_too_few_texts() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs qa-onnx[data]")
    damaged = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0, 5], "int32"), pyarrow.array(["Ida"]), safe=False
    )
    with pytest.raises(pyarrow.ArrowException):
        list(tables._values(pyarrow.chunked_array([damaged])))


def test_a_small_file_cannot_fill_the_memory(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "MAX_BYTES", 3 << 20)
    monkeypatch.setattr(tables, "MAX_BYTES", 3 << 20)
    too_much = r"rivers\.data: it unpacks to more than 3145728 bytes: split the file"
    for content in (b" " * (4 << 20), (line() + "\n").encode() * 40_000):
        with pytest.raises(InputError, match=too_much):
            load(write(gzip.compress(content, mtime=0)))
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    with pytest.raises(InputError, match=too_much):
        load(write(pyarrow.compress(b" " * (4 << 20), codec="zstd", asbytes=True)))
    parquet.write_table(pyarrow.table({"question": ["?"], "context": ["x" * (4 << 20)]}), tmp_path / "table")
    with pytest.raises(InputError, match=too_much):
        load(write((tmp_path / "table").read_bytes()))


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.json: cannot read the file: No such file"):
        load(tmp_path / "absent.json")
    with pytest.raises(InputError, match="cannot read the file: it is a folder"):
        load(tmp_path)


@needs_shared_data
def test_counts_and_answers_of_the_shared_files() -> None:
    answerable = load(SHARED / "data" / "squad-dev-a.json.gz")
    both = load(SHARED / "data" / "squad-dev-a-v2.json.gz")
    assert (len(answerable.golds), answerable.has_unanswerable) == (5665, False)
    assert (len(both.golds), both.has_unanswerable) == (8469, True)
    assert sum(not gold.answers for gold in both.golds) == 2804
    for gold in (*answerable.golds, *both.golds):
        assert all(answer in gold.context for answer in gold.answers)
    assert not answerable.repairs
    assert not both.repairs
