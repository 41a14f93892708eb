"""Files -> questions: those read, left out, held out, and added as negatives."""

from __future__ import annotations

import dataclasses
import gzip
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import InputError
from qa_onnx.data import squad
from qa_onnx.data.squad import Gold
from qa_onnx.train import TrainSettings
from qa_onnx.train.corpus import MAX_CHARACTERS, Tally, load_corpus
from qa_onnx.train.questions import make_negatives, read_questions, split, to_lines
from tests import training_data
from tests.trained import make_job

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {"id": "1", "question": "Who?", "context": "Ida came.", "answers": ["Ida"]}


def corpus(*paths: Path) -> tuple[tuple[Gold, ...], Tally]:
    tally = Tally()
    return load_corpus(paths, tally)[1], tally


# What is read


def test_files_and_folders_of_all_forms(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "deep"
    folder.mkdir(parents=True)
    first = training_data.write(folder / "a.json", articles=2)
    other = training_data.write(tmp_path / "b.json", seed=8)
    (folder / "b.json.gz").write_bytes(gzip.compress(other.read_bytes()))
    training_data.lines(folder / "c.jsonl", GOOD)
    training_data.lines(folder / "d.ndjson", {**GOOD, "id": "d"})
    (folder / "e.csv").write_text("id,question,context,answers\ne,Who?,Ida came.,Ida\n")
    (folder / "folder.json").mkdir()
    (folder / "notes.txt").write_text("not data")
    tally = Tally()
    sources, golds = load_corpus([tmp_path / "data", first, other], tally)
    assert [(source.name, source.questions) for source in sources] == [
        ("a.json", 12),
        ("b.json.gz", 204),
        ("c.jsonl", 1),
        ("d.ndjson", 1),
        ("e.csv", 1),
        ("b.json", 0),  # all of it twice
    ]
    assert len(golds) == 219
    assert tally.counts == {"twice": 204}


# What is left out


def test_damaged_records_are_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    without = {key: value for key, value in GOOD.items() if key != "question"}
    records = [json.dumps(GOOD), json.dumps(without), '{"id": "3", "quest', json.dumps({**GOOD, "answers": [5]})]
    path.write_text("\n".join(records))
    golds, tally = corpus(path)
    assert [gold.id for gold in golds] == ["1"]
    assert tally.counts == {"damaged": 3}
    one, two, three = tally.named["damaged"]
    assert one.startswith(f"""{path.name}: line 2 (id '1'): no "question": a text is expected""")
    assert two.startswith(f"{path.name}: line 3: column 13: not JSON")
    assert "line 4 (id '1'): answers[0] must be a text" in three
    assert tally.lines() == [f"3 are damaged ({one}; {two}; {three})"]


def test_damaged_parts_of_a_squad_file_leave_the_rest(tmp_path: Path) -> None:
    question = {"id": "1", "question": "Who?", "answers": ["Ida"]}
    good = {"context": "Ida came.", "qas": [question, {"id": "2"}, question]}
    nameless = {"title": "y", "paragraphs": [{**good, "qas": [{**question, "question": 7}]}]}
    content = {"data": [{"title": "x"}, nameless, {"paragraphs": [{"qas": [{**question, "id": "4"}]}, good]}]}
    (tmp_path / "data.json").write_text(json.dumps(content))
    golds, tally = corpus(tmp_path / "data.json")
    assert golds == (Gold("1", "Who?", "Ida came.", ("Ida",), (-1,)),)
    assert golds[0].article == "data[2]"
    assert tally.counts == {"damaged": 4, "twice": 1}


def test_what_a_file_repairs_is_in_the_report(tmp_path: Path) -> None:
    """An id may occur with several questions, and a start far from the answer loses no question."""
    far = {**GOOD, "context": "Bo left. " * 50 + "Ida came.", "answers": [{"text": "Ida", "answer_start": "0"}]}
    rows = [far, {**GOOD, "question": "Why?", "answers": ""}, {**GOOD, "question": "When?", "is_impossible": True}]
    rows[2]["answers"] = [{"text": "", "answer_start": 0}]
    golds, tally = corpus(training_data.lines(tmp_path / "data.jsonl", *rows))
    assert [(gold.id, gold.answers, gold.answer_starts) for gold in golds] == [
        ("1", ("Ida",), (450,)),
        ("1", (), ()),
        ("1", (), ()),
    ]
    assert tally.counts == {"moved": 1, "blank": 2, "numbers": 1}
    assert tally.lines()[1:] == [
        "2 of their answers were blank: taken as none",
        "1 of their numbers were floats or text: read as whole numbers",
    ]


def test_a_line_of_ten_megabytes_is_counted_and_named(tmp_path: Path) -> None:
    long = {**GOOD, "id": "long", "context": "x" * 10_000_000}
    golds, tally = corpus(training_data.lines(tmp_path / "data.jsonl", long, GOOD))
    assert [gold.id for gold in golds] == ["1"]
    assert tally.named == {"too long": ["long"]}
    just = {**GOOD, "context": "Ida" + "x" * (MAX_CHARACTERS - 3)}
    assert len(corpus(training_data.lines(tmp_path / "data.jsonl", just))[0]) == 1


def test_only_the_first_few_are_named(tmp_path: Path) -> None:
    _, tally = corpus(training_data.lines(tmp_path / "data.jsonl", GOOD, *[{"id": str(n)} for n in range(2, 10)]))
    assert tally.counts["damaged"] == 8
    assert len(tally.named["damaged"]) == 5
    assert tally.lines()[0].endswith("; ...)")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ('{"data": []}', "no question is left to train on: the data is empty"),
        ('{"question": 1}', "no question is left to train on: 1 are damaged"),
        ("[1]", "no question is left to train on: 1 are damaged"),
        ("1", "the file starts with '1'; it must be"),
    ],
)
def test_nothing_usable_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(InputError, match=message):
        corpus(tmp_path / "data.json")


def test_a_folder_without_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the folder holds no file that ends in \.json, \.jsonl"):
        corpus(tmp_path)


# What is held out


def test_whole_articles_are_held_out(tmp_path: Path) -> None:
    golds, _ = corpus(training_data.write(tmp_path / "data.json", articles=40))
    kept, held = split(golds, 12, seed=1)
    assert sorted({*kept, *held}, key=lambda gold: gold.id) == sorted(golds, key=lambda gold: gold.id)
    assert len(held) == 12
    assert not {gold.article for gold in kept} & {gold.article for gold in held}
    assert split(golds, 12, seed=1)[1] == held != split(golds, 12, seed=2)[1]


def test_of_few_articles_whole_contexts_are_held_out(tmp_path: Path) -> None:
    golds, _ = corpus(training_data.write(tmp_path / "data.json", articles=4, paragraphs=10))
    kept, held = split(golds, 1000, seed=0)
    assert 0 < len(held) <= 15  # a tenth, in whole contexts
    assert not {gold.context for gold in kept} & {gold.context for gold in held}
    assert {gold.article for gold in kept} >= {gold.article for gold in held}


def test_of_few_contexts_none_is_held_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = training_data.write(tmp_path / "data.json", articles=4)
    with caplog.at_level(logging.WARNING, "qa_onnx"):
        questions = read_questions([path], None, TrainSettings(), Tally())
    assert questions.held_out is None
    assert "too few texts to hold any out" in caplog.text


def test_a_huge_article_is_passed_over_for_small_ones(tmp_path: Path) -> None:
    golds, _ = corpus(training_data.write(tmp_path / "data.json", articles=40))
    huge = tuple(Gold(f"h{n}", "Who?", f"Ida {n}", ("Ida",), (0,), "huge") for n in range(1000))
    assert {len(split(golds + huge, 30, seed=seed)[1]) for seed in range(20)} == {30}


def test_no_text_is_on_both_sides(tmp_path: Path) -> None:
    golds, _ = corpus(training_data.write(tmp_path / "data.json", articles=40))
    again = tuple(dataclasses.replace(gold, id=f"again {gold.id}", article="") for gold in golds)
    kept, held = split(golds + again, 30, seed=0)
    assert held
    assert not {gold.context for gold in kept} & {gold.context for gold in held}
    assert len(kept) + len(held) == 2 * len(golds)


def test_ids_of_held_out_questions_are_unique(tmp_path: Path) -> None:
    for name in "ab":  # both get the ids of their lines
        records = [{"question": "Who?", "context": f"Ida {name} {n}.", "answers": ["Ida"]} for n in range(300)]
        training_data.lines(tmp_path / f"{name}.jsonl", *records)
    held_out = read_questions([tmp_path], None, TrainSettings(eval_limit=50), Tally()).held_out
    assert held_out
    (tmp_path / "held-out.jsonl").write_text(to_lines(held_out.golds))
    assert len(squad.load(tmp_path / "held-out.jsonl").golds) == len(held_out.golds)


def test_held_out_questions_get_negatives_and_are_read_back(tmp_path: Path) -> None:
    path = training_data.write(tmp_path / "data.json", articles=40)
    tally = Tally()
    questions = read_questions([path], None, TrainSettings(eval_limit=20, negatives=0.5), tally)
    held_out = questions.held_out
    assert held_out
    assert questions.own
    assert sum(not gold.answers for gold in held_out.golds) == 12
    assert sum(tally.counts.values()) == 108
    assert tally.counts.keys() == {"negatives", "far negatives"}  # of those, the article answers the same question
    assert sum(not gold.answers for gold in questions.train) == 108
    assert not {gold.article for gold in questions.train} & {gold.article for gold in held_out.golds}
    (tmp_path / "held-out.jsonl").write_text(to_lines(held_out.golds), encoding="utf-8")
    again = squad.load(tmp_path / "held-out.jsonl")
    assert [(gold, gold.article) for gold in again.golds] == [(gold, gold.article) for gold in held_out.golds]
    assert again.sha256 == held_out.sha256


def test_evaluation_data_is_sampled_and_shared_texts_give_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = training_data.write(tmp_path / "data.json")
    with caplog.at_level(logging.WARNING, "qa_onnx"):
        questions = read_questions([path], path, TrainSettings(eval_limit=9, negatives=0.0), Tally())
    assert questions.held_out
    assert not questions.own
    assert len(questions.held_out.golds) == 9
    assert len(questions.train) == 204
    assert "9 of 9 questions of data.json are about texts of the training data" in caplog.text


# Negatives


def test_negatives_ask_another_paragraph_of_the_article_that_lacks_the_answers(tmp_path: Path) -> None:
    golds, _ = corpus(training_data.write(tmp_path / "data.json", articles=20, paragraphs=4))
    golds = tuple(dataclasses.replace(gold, question=gold.question + gold.id) for gold in golds)  # each asked once
    by_id = {gold.id: gold for gold in golds}
    negatives = make_negatives(golds, 0.25, seed=0)
    assert len(negatives) == 60
    assert len({gold.id for gold in negatives}) == 60
    for negative in negatives:
        source = by_id[negative.id.removesuffix("-negative")]
        assert negative.question == source.question
        assert negative.context != source.context
        assert negative.article == source.article
        others = {gold.context for gold in golds if gold.article == source.article} - {source.context}
        fit = {context for context in others if source.answers[0].casefold() not in context.casefold()}
        assert negative.context in fit or not fit  # only without one, a paragraph of another article
        assert source.answers[0].casefold() not in negative.context.casefold()
        assert not negative.answers
    assert make_negatives(golds, 0.25, seed=0) == negatives != make_negatives(golds, 0.25, seed=1)
    assert make_negatives(golds, 0.0, seed=0) == []


def test_case_and_blanks_do_not_hide_an_answer() -> None:
    golds = [
        Gold("1", "Where?", "In the mill.", ("the  Mill",), (3,)),
        Gold("2", "Where?", "At THE\nMILL.", (), ()),
        Gold("3", "Where?", "By the river.", (), ()),
    ]
    assert {gold.context for seed in range(9) for gold in make_negatives(golds, 1.0, seed)} == {"By the river."}


def test_an_article_of_one_paragraph_gets_a_paragraph_of_another_article(tmp_path: Path) -> None:
    golds, _ = corpus(training_data.write(tmp_path / "data.json", articles=30, paragraphs=1))
    contexts = {gold.article: gold.context for gold in golds}
    negatives = make_negatives(golds, 0.5, seed=0)
    assert len(negatives) == 45
    for negative in negatives:
        (source,) = (gold for gold in golds if f"{gold.id}-negative" == negative.id)
        assert negative.context != contexts[negative.article]
        assert negative.context in contexts.values()
        assert source.answers[0].casefold() not in negative.context.casefold()
    tally = Tally()
    read_questions([tmp_path / "data.json"], None, TrainSettings(eval_limit=0, negatives=0.5), tally)
    assert tally.counts == {"far negatives": 45}


def test_a_paragraph_that_answers_the_same_question_is_no_negative() -> None:
    """As in contracts, of which each is asked the same."""
    golds = [
        Gold("1", "When does it end?", "It ends in May.", ("May",), (11,), "a"),
        Gold("2", "when does  it end?", "It ends in June.", ("June",), (11,), "b"),
        Gold("3", "Who came?", "Ida came.", ("Ida",), (0,), "c"),
    ]
    drawn = [make_negatives(golds, 1.0, seed) for seed in range(9)]
    assert {gold.context for negatives in drawn for gold in negatives if "end" in gold.question} == {"Ida came."}


@pytest.mark.export
def test_a_run_without_a_question_without_an_answer_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = training_data.write(tmp_path / "data.json", articles=4, paragraphs=1)
    make_job(data, negatives=0.5)
    assert "no question without an answer" not in caplog.text
    make_job(data, negatives=0.0)
    assert "no question without an answer is trained on" in caplog.text
