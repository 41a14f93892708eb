from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qa_onnx.data import squad
from qa_onnx.data.squad import DataSet, Gold, load
from qa_onnx.errors import InputError

SHARED = Path(__file__).parents[3] / "shared"
needs_shared_data = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="the SQuAD files of ../shared/data are absent"
)
CONTEXT = "The mill by the river grinds rye. It was built in 1802."
WHERE = {"id": "q1", "question": "Where is the mill?"}
WHERE_ANSWERS = [{"text": "by the river", "answer_start": 9}, {"text": "the river", "answer_start": 12}]

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
        {
            "id": "q2",
            "question": "Who built it?",
            "answers": [],
            "is_impossible": True,
            "plausible_answers": [],
        },
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
    assert not load(write(squad_json({**WHERE, "answers": WHERE_ANSWERS}))).has_unanswerable


def test_file_order_over_articles_and_paragraphs(write: Write) -> None:
    counter = iter(range(100))
    articles = [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [{**WHERE, "id": f"{next(counter)}", "answers": ["1802"]} for _ in "ab"],
                }
                for _ in range(2)
            ],
        }
        for _ in range(3)
    ]
    assert [gold.id for gold in load(write(json.dumps({"data": articles}))).golds] == [f"{n}" for n in range(12)]


@pytest.mark.parametrize(
    "answers",
    [
        WHERE_ANSWERS,
        {"text": ["by the river", "the river"], "answer_start": [9, 12]},
        {"text": ["by the river", "the river"]},
        ["by the river", "the river"],
        [{"text": "by the river"}, "the river"],
    ],
)
def test_forms_of_answers_in_both_formats(write: Write, answers: list[object] | dict[str, object]) -> None:
    starts = (9, 12) if "answer_start" in json.dumps(answers) else (-1, -1)
    expected = Gold("q1", "Where is the mill?", CONTEXT, ("by the river", "the river"), starts)
    assert load(write(squad_json({**WHERE, "answers": answers}))).golds == (expected,)
    assert load(write(line(id="q1", answers=answers))).golds == (expected,)


@pytest.mark.parametrize("empty", [[], {"text": [], "answer_start": []}, {"text": []}])
def test_no_answers_means_unanswerable(write: Write, empty: object) -> None:
    assert load(write(line(answers=empty))).has_unanswerable


def test_lines_without_ids_are_named_by_line_number(write: Write) -> None:
    data = load(write(f"\n{line()}\r\n \n{line(id='own')}\n{line()}"))
    assert [gold.id for gold in data.golds] == ["line-2", "own", "line-5"]


def test_one_line_is_json_lines(write: Write) -> None:
    assert len(load(write(line(data=[]))).golds) == 1


def test_separators_inside_json_strings_do_not_end_a_line(write: Write) -> None:
    context = "left\u2028right\u0085end\u2029"
    record = json.dumps({"question": "?", "context": context, "answers": []}, ensure_ascii=False)
    assert [gold.context for gold in load(write(f"{record}\n{record}\n")).golds] == [context, context]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_layout_byte_order_mark_and_gzip_change_nothing_but_the_hash(
    write: Write, indent: int | None, mark: str
) -> None:
    content = (mark + squad_json({**WHERE, "answers": ["1802"]}, indent=indent)).encode()
    plain = load(str(write(content)))
    packed_bytes = gzip.compress(content)
    packed = load(write(packed_bytes))
    assert plain.golds == packed.golds
    assert packed.sha256 == hashlib.sha256(packed_bytes).hexdigest() != plain.sha256


def test_unicode_is_kept_as_it_is(write: Write) -> None:
    context = "Zu\u0301rich \U0001f600 \u00a0 東京\t"
    assert load(write(line(context=context))).golds[0].context == context
    assert load(write(squad_json({**WHERE, "answers": []}, context=context))).golds[0].context == context


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


GOOD = {**WHERE, "answers": []}
AT = r"data\[0\]\.paragraphs\[0\]\.qas\[0\]"
NAMED = AT + r" \(id 'q1'\)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; it must be SQuAD JSON.* or JSON Lines"),
        (b" \n\t\n", "the file is empty"),
        (b'{"data":\n "\xff"}', "line 2: invalid start byte at byte 11; save it as UTF-8"),
        ("id,question\n1,Where?", "line 1, column 1: not JSON .*; it must be SQuAD JSON"),
        ('{"data": [\n{"paragraphs" 1', "line 2, column 15: not JSON .Expecting ':' delimiter"),
        pytest.param("[" * 100_000, "line 1: not usable JSON .*recursion.*; it must be", id="too deep"),
        pytest.param("1" * 5000, "line 1: not usable JSON .*; it must be", id="huge number"),
        ("[1, 2]", r"the file starts with \[1, 2\]; it must be SQuAD JSON"),
        ("null", "the file starts with None; it must be SQuAD JSON"),
        (
            '{"rows": [], "version": 1}',
            r"the first object has only the keys \['rows', 'version'\]; it must be",
        ),
        ("{}", r"the first object has only the keys \[\]"),
        ('{"data": {}}', 'the first object: it must be an object with a list "data"'),
        ('{"data": []}', "the file holds no questions; it must be SQuAD JSON"),
        ('{"data": [{"paragraphs": []}]}', "the file holds no questions"),
        ('{"data": [7]}', r'data\[0\]: it must be an object with a list "paragraphs"'),
        ('{"data": [{}]}', r'data\[0\]: it must be an object with a list "paragraphs"'),
        (
            '{"data": [{"paragraphs": [{"qas": [{"id": 7}]}]}]}',
            AT + r" \(id 7\): Expected `str`, got `null` - at `\$\.context`",
        ),
        (
            '{"data": [{"paragraphs": [{"context": ""}]}]}',
            r'data\[0\]\.paragraphs\[0\]: it must be an object with a list "qas"',
        ),
        (squad_json(GOOD, context=None), NAMED + r": Expected `str`, got `null` - at `\$\.context`"),
        (squad_json(GOOD) + "\n{}", "the SQuAD object is followed by '{}'; remove that"),
        (squad_json("q"), AT + ": Expected `object`, got `str`"),
        (squad_json({"question": "?"}), AT + ": Object missing required field `id`"),
        (squad_json({**GOOD, "id": [5]}), AT + r" \(id \[5\]\): Expected `int \| str`, got `array` - at `\$\.id`"),
        (squad_json({"id": "q1", "answers": []}), NAMED + ": Object missing required field `question`"),
        (squad_json(WHERE), NAMED + ": Object missing required field `answers`"),
        (
            squad_json({**WHERE, "answers": "1802"}),
            NAMED + r": Expected `object \| array`, got `str` - at `\$\.answers`",
        ),
        (
            squad_json({**WHERE, "answers": None}),
            NAMED + r": Expected `object \| array`, got `null` - at `\$\.answers`",
        ),
        (
            squad_json({**WHERE, "answers": [1]}),
            NAMED + r": Expected `str \| object`, got `int` - at `\$\.answers\[0\]`",
        ),
        (
            squad_json({**WHERE, "answers": [{}]}),
            NAMED + r": Object missing required field `text` - at `\$\.answers\[0\]`",
        ),
        (
            squad_json({**WHERE, "answers": ["x", " "]}),
            NAMED + r': an answer is blank: remove it; "answers": \[\] stands for no answer',
        ),
        (
            squad_json({**WHERE, "answers": [{"text": "x", "answer_start": True}]}),
            NAMED + r": Expected `int`, got `bool` - at `\$\.answers\[0\]\.answer_start`",
        ),
        (
            squad_json({**WHERE, "answers": [{"text": "x", "answer_start": -2}]}),
            NAMED + r": Expected `int` >= -1 - at `\$\.answers\[0\]\.answer_start`",
        ),
        (
            squad_json({**WHERE, "answers": {"text": ["x", "y"], "answer_start": [0]}}),
            NAMED + ": 2 answer texts but 1 answer_start values: give one per text, or omit answer_start",
        ),
        (
            squad_json({**WHERE, "answers": {}}),
            NAMED + r": Object missing required field `text` - at `\$\.answers`",
        ),
        (
            squad_json({**GOOD, "is_impossible": "no"}),
            NAMED + r": Expected `bool \| null`, got `str` - at `\$\.is_impossible`",
        ),
        (
            squad_json({**GOOD, "is_impossible": False}),
            NAMED + ": is_impossible is False with 0 answers: change either",
        ),
        (
            squad_json({**WHERE, "answers": ["x"], "is_impossible": True}),
            NAMED + ": is_impossible is True with 1 answers: change either",
        ),
        (squad_json(GOOD, GOOD), AT[:-3] + r"1\] \(id 'q1'\): duplicate question id 'q1': ids must be unique"),
        (
            squad_json(GOOD, context="\ud83d"),
            NAMED + r": '\\ud83d' is half of a surrogate pair: write the whole character",
        ),
        (f"{line()}\n\n[1]\n", "line 3: Expected `object`, got `array`"),
        (f"{line()}\n{line()[:-1]}\n{line()}", "line 2, column .*: not JSON .*; it must be"),
        (f"{line()}\n{line()} {line()}", "line 2: .* follows the object: move it to a new line"),
        (
            f"{line()}\n" + '{"question": "?", "answers": []}',
            r"line 2 \(id 'line-2'\): Object missing required field `context`",
        ),
        (f"{line()}\n" + '{"question": "?", "context": ""}', "line 2.*: Object missing required field `answers`"),
        ('{"context": "", "answers": []}', "line 1.*: Object missing required field `question`"),
        (line(id=7.5), r"line 1 \(id 7\.5\): Expected `int \| str`, got `float` - at `\$\.id`"),
        (line(question=7), r"line 1 \(id 'line-1'\): Expected `str`, got `int` - at `\$\.question`"),
        (f"{line(id='x')}\n{line(id='x')}", r"line 2 \(id 'x'\): duplicate question id 'x': ids must be unique"),
        (gzip.compress(b"not json", mtime=0), "line 1, column 1: not JSON"),
    ],
)
def test_errors_name_file_place_fault_and_remedy(write: Write, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=rf"rivers\.data: (?s:{message})"):
        load(write(content))


def test_damaged_gzip(write: Write) -> None:
    packed = gzip.compress(squad_json(GOOD).encode())
    flipped = bytearray(packed)
    flipped[-6] ^= 0xFF
    for damaged in (packed[:-12], bytes(flipped), packed + b"tail", packed[:10] + b"\xff" * 20, packed[:3]):
        with pytest.raises(InputError, match=r"rivers\.data: damaged gzip after \d+ bytes \(.+\); fetch it again"):
            load(write(damaged))


def test_gzip_that_unpacks_to_too_much(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squad, "MAX_UNPACKED_BYTES", 3 << 20)
    with pytest.raises(InputError, match=r"rivers\.data: it unpacks to more than 3145728 bytes; split the file"):
        load(write(gzip.compress(b" " * (4 << 20))))


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.json: No such file or directory; name a data file"):
        load(tmp_path / "absent.json")
    with pytest.raises(InputError, match="Is a directory; name a data file"):
        load(tmp_path)


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_must_be_positive(write: Write, limit: int) -> None:
    with pytest.raises(InputError, match=f"limit is {limit}; it must be at least 1"):
        load(write(line()), limit=limit)


@needs_shared_data
def test_counts_and_answers_of_the_shared_files() -> None:
    answerable = load(SHARED / "data" / "squad-dev-a.json.gz")
    both = load(SHARED / "data" / "squad-dev-a-v2.json.gz")
    assert (len(answerable.golds), answerable.has_unanswerable) == (5665, False)
    assert (len(both.golds), both.has_unanswerable) == (8469, True)
    assert sum(not gold.answers for gold in both.golds) == 2804
    for gold in (*answerable.golds, *both.golds):
        assert all(answer in gold.context for answer in gold.answers)


def test_ids_that_are_whole_numbers_become_text(write: Write) -> None:
    assert [gold.id for gold in load(write(f"{line(id=7)}\n{line(id=8)}")).golds] == ["7", "8"]
