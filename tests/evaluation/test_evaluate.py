"""Evaluation: the official definitions over whole data sets, and the commands that show it."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from qa_onnx import Example, InputError, Reader
from qa_onnx.cli import main, progress
from qa_onnx.data import squad
from qa_onnx.evaluation import metrics
from qa_onnx.evaluation.evaluate import Report, evaluate
from tests.conftest import TINY

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CONTEXTS = (
    "The mill at Oakford was built by Jane Rudd in 1802. It ground rye for the whole valley.",
    "Rooks nest in the elms. In 1911 the elms were felled, and the rooks moved to the church.",
    "The ferry leaves at nine. " * 40 + "On Sundays it leaves at ten.",
)
QUESTIONS: list[dict[str, Any]] = [
    {"id": "a", "question": "Who built the mill?", "context": CONTEXTS[0], "answers": ["Jane Rudd", "Rudd"]},
    {"id": "b", "question": "When were the elms felled?", "context": CONTEXTS[1], "answers": ["In 1911", "1911"]},
    {"id": "c", "question": "What is the miller's name?", "context": CONTEXTS[0], "answers": []},
    {
        "id": "d",
        "question": "When does it leave on Sundays?",
        "context": CONTEXTS[2],
        "answers": ["at ten", "ten"],
    },
    {"id": "e", "question": "Where do rooks nest?", "context": CONTEXTS[1], "answers": ["the elms"]},
    {"id": "f", "question": "How deep is the river?", "context": " ", "answers": []},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def default_reader() -> Reader:
    return Reader.load()


def oracle(predicted: str, golds: tuple[str, ...]) -> tuple[float, float]:
    """EM and F1 by a plain reading of the official script's rules."""

    def words(text: str) -> list[str]:
        kept = "".join(char for char in text.lower() if char not in string.punctuation)
        return [word for word in re.split(r"\s+", kept) if word and word not in {"a", "an", "the"}]

    scores = []
    for gold in golds or ("",):
        ours, theirs = words(predicted), words(gold)
        common = sum((Counter(ours) & Counter(theirs)).values())
        empty = not ours or not theirs
        f1 = float(ours == theirs) if empty else 2 * common / (len(ours) + len(theirs))
        scores.append((float(ours == theirs), f1))
    return max(em for em, _ in scores), max(f1 for _, f1 in scores)


def check_against_oracle(report: Report) -> None:
    scores = [oracle(outcome.answer.text, outcome.gold.answers) for outcome in report.outcomes]
    em, f1 = (100 * sum(column) / len(scores) for column in zip(*scores, strict=True))
    assert (report.em, report.f1) == pytest.approx((em, f1), abs=0.005)


@pytest.mark.parametrize("threshold", [None, 0.0, -100.0])
def test_scores_are_the_official_ones(default_reader: Reader, data: Path, threshold: float | None) -> None:
    options = replace(default_reader.options, null_threshold=threshold)
    report = evaluate(default_reader, squad.load(data), options=options)
    check_against_oracle(report)
    assert [outcome.gold.id for outcome in report.outcomes] == list("abcdef")
    assert report.n == 6
    assert report.em_interval[0] <= report.em <= report.em_interval[1]
    assert report.has_answer
    assert report.no_answer
    assert (report.has_answer.n, report.no_answer.n) == (4, 2)
    weighted = (4 * report.has_answer.f1 + 2 * report.no_answer.f1) / 6
    assert report.f1 == pytest.approx(weighted)
    assert report.no_answer.em == (50.0 if threshold is None else 100.0)  # one of the two contexts is blank


def test_the_best_null_threshold_gives_the_score_that_it_promises(default_reader: Reader, data: Path) -> None:
    questions = squad.load(data)
    first = evaluate(default_reader, questions)
    assert first.null_threshold
    for threshold, promised, name in (
        (first.null_threshold.best_f1_threshold, first.null_threshold.best_f1, "f1"),
        (first.null_threshold.best_em_threshold, first.null_threshold.best_em, "em"),
    ):
        options = replace(default_reader.options, null_threshold=threshold)
        again = evaluate(default_reader, questions, options=options)
        assert getattr(again, name) == pytest.approx(promised)
        assert getattr(again, name) >= getattr(first, name)


def test_data_that_always_has_an_answer_has_no_null_threshold(tiny_reader: Reader, data: Path) -> None:
    questions = squad.load(data)
    answerable = replace(questions, golds=tuple(gold for gold in questions.golds if gold.answers))
    report = evaluate(tiny_reader, answerable)
    assert report.no_answer is None
    assert report.null_threshold is None


def test_lengths_partition_the_questions(tiny_reader: Reader, data: Path) -> None:
    parts = dict(evaluate(tiny_reader, squad.load(data)).by_length())
    assert {words: part.n for words, part in parts.items()} == {"1-50": 5, "201-300": 1}


def test_progress_counts_to_the_end(tiny_reader: Reader, data: Path) -> None:
    seen: list[int] = []
    evaluate(tiny_reader, squad.load(data), progress=seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_dev_a_scores_as_the_oracle_does(shared: Path, default_reader: Reader) -> None:
    report = evaluate(default_reader, squad.load(shared / "data" / "squad-dev-a.json.gz", limit=100))
    check_against_oracle(report)
    assert report.f1 > 72  # it is 83.3 over all 5,665, and 76.2 of these


CHINESE = {
    "question": "磨坊是哪一年被烧毁的？",
    "context": "奥恩河上的磨坊由林玛塔于1874年建造。磨坊于1901年被烧毁，再也没有重建。",
    "answers": ["1901年"],
}


def test_f1_of_a_text_without_blanks_is_that_of_characters(tiny_reader: Reader, tmp_path: Path) -> None:
    """Beside it, the scores of English questions are what they are alone, to the last digit."""
    (tmp_path / "english").write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    (tmp_path / "both").write_text("".join(json.dumps(question) + "\n" for question in [*QUESTIONS, CHINESE]))
    english = evaluate(tiny_reader, squad.load(tmp_path / "english"))
    both = evaluate(tiny_reader, squad.load(tmp_path / "both"))
    assert (english.by_characters, both.by_characters) == (0, 1)
    assert [(o.em, o.f1) for o in both.outcomes[:-1]] == [(o.em, o.f1) for o in english.outcomes]
    for outcome in english.outcomes:
        scores = oracle(outcome.answer.text, outcome.gold.answers)
        assert (outcome.em, outcome.f1) == scores
    last = both.outcomes[-1]
    assert last.f1 == metrics.f1(last.answer.text, ("1901年",), by_characters=True)
    assert dict(both.by_length())["1-50"].n == 6  # it has 36 tokens
    assert json.loads(run("eval", tmp_path / "both", "-b", TINY, "--json").stdout)["by_characters"] == 1
    shown = run("eval", tmp_path / "both", "-b", TINY).stdout
    assert "F1 by characters, as in MLQA's script, for 1 of 7 questions" in shown
    assert "characters" not in run("eval", tmp_path / "english", "-b", TINY).stdout


def test_no_english_text_is_scored_by_characters(shared: Path) -> None:
    golds = squad.load(shared / "data" / "squad-dev-a-v2.json.gz").golds
    assert not any(metrics.is_unspaced(gold.context) for gold in golds)
    assert any(not gold.context.isascii() for gold in golds)


def test_an_id_that_occurs_twice_is_refused_where_it_names_a_question(data: Path) -> None:
    data.write_text(data.read_text() + json.dumps(QUESTIONS[0]) + "\n")
    result = run("eval", data, "-b", TINY)
    assert result.exit_code == 1
    assert "line 7 (id 'a'): duplicate question id 'a': ids must be unique in a file" in result.stderr
    assert run("diff", TINY, TINY, data).exit_code == 0


def test_repairs_are_reported(tmp_path: Path) -> None:
    question = {**QUESTIONS[0], "answers": [{"text": "Jane Rudd", "answer_start": 3}]}
    (tmp_path / "moved.json").write_text(json.dumps([question]))
    result = run("eval", tmp_path / "moved.json", "-b", TINY, "--json")
    assert json.loads(result.stdout)["repairs"] == {"moved": 1}
    assert "moved.json was repaired: answers with a wrong answer_start, moved to the only place" in result.stderr
    assert result.stderr.count("was repaired") == 1


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_eval_prints_scores_and_writes_errors(data: Path, tmp_path: Path) -> None:
    errors = tmp_path / "errors.jsonl"
    result = run("eval", data, "--by-length", "--errors", errors, "--null-threshold", "off")
    assert result.exit_code == 0, result.output
    assert re.match(r"data\.jsonl: EM \d+\.\d\d \(.* to .*\), F1 \d+\.\d\d .* over 6 questions", result.stdout)
    for said in ("with an answer", "without", "context of 1-50 words", "probabilities are off by"):
        assert said in result.stdout
    assert f"not matched exactly: {errors}" in result.stderr
    wrong = [json.loads(line) for line in errors.read_text().splitlines()]
    assert "c" in {record["id"] for record in wrong}  # it has no answer, and one was given
    for record in wrong:
        assert oracle(record["predicted"], tuple(record["gold"]))[0] == 0.0


def test_eval_shows_more_or_less_as_it_is_told(data: Path, tmp_path: Path) -> None:
    details = ("--min-probability", "Brier score", "best null threshold")
    plain, verbose = run("eval", data, "-b", TINY), run("eval", data, "-b", TINY, "-v")
    assert [said in plain.stdout for said in details] == [False] * 3
    assert [said in verbose.stdout for said in details] == [True] * 3
    quiet = run("eval", data, "-b", TINY, "--errors", tmp_path / "errors.jsonl", "-q")
    assert re.match(r"data\.jsonl: EM \d+\.\d\d ", quiet.stdout)
    assert quiet.stderr == ""


def test_eval_as_json_agrees_with_python(data: Path, tiny_reader: Reader) -> None:
    result = run(
        "eval", data, "-b", TINY, "--precision", "fp32", "--json", "--by-length", "--limit", 4, "--seed", 3
    )
    record = json.loads(result.stdout)
    report = evaluate(tiny_reader, squad.load(data, limit=4, seed=3), seed=3)
    assert record["n"] == 4
    assert (record["em"], record["f1"]) == pytest.approx((report.em, report.f1))
    assert record["f1_interval"] == pytest.approx(list(report.f1_interval))
    assert sum(part["n"] for part in record["by_length"]) == 4
    assert record["sha256"] == report.sha256


def test_eval_reads_the_null_threshold(data: Path) -> None:
    withheld = json.loads(run("eval", data, "-b", TINY, "--null-threshold", -1000, "--json").stdout)
    assert withheld["no_answer"]["em"] == 100.0
    assert withheld["has_answer"]["em"] == 0.0


def test_eval_of_a_file_that_is_no_data(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    result = run("eval", path)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output


def test_diff_shows_what_flips(data: Path, tiny_reader: Reader) -> None:
    int8 = Reader.load(TINY, precision="int8", threads=1)
    examples = [Example(q["question"], q["context"]) for q in QUESTIONS]
    places = [
        [(answer.start, answer.end) for answer in map(reader.choose, reader.predict(examples))]
        for reader in (tiny_reader, int8)
    ]
    flipped = sum(old != new for old, new in zip(*places, strict=True))
    # With more threads windows run side by side, in other batches, and those of int8 have ranges of their own.
    record = json.loads(run("diff", f"{TINY}:fp32", f"{TINY}:int8", data, "--threads", 1, "--json").stdout)
    assert record["flipped"] == flipped == len(record["changes"])
    assert record["same"] == 6 - flipped
    nothing = run("diff", TINY, TINY, data)
    assert nothing.stdout.startswith("all 6 answers are the same\n")
    changed = run("diff", f"{TINY}:fp32", f"{TINY}:int8", data, "--threads", 1).stdout
    assert changed.startswith(
        f"{flipped} of 6 answers change" if flipped > 1 else ("1 of 6 answers changes", "all 6")
    )


def test_diff_of_two_models_prints_both_answers(data: Path) -> None:
    from qa_onnx.bundle.folder import default_bundle

    result = run("diff", default_bundle(), f"{TINY}:fp32", data, "--show", 1)
    assert result.exit_code == 0, result.output
    assert "  gold    " in result.stdout
    assert re.search(r"  first   .*\[score -?\d+\.\d\d, F1 \d+\]", result.stdout)
    assert re.search(r"  second  .*\[score -?\d+\.\d\d, F1 \d+\]", result.stdout)
    assert "more: --show N or --json" in result.stdout


def test_the_interval_of_a_change_is_that_of_the_differences_question_by_question(
    tiny_reader: Reader,
) -> None:
    generator = np.random.default_rng(3)
    before = generator.random(900)
    after = before + generator.normal(0.01, 0.05, 900)
    golds = tuple(squad.Gold(str(number), "Who?", "Ida came.", ("Ida",), (0,)) for number in range(900))
    report = evaluate(tiny_reader, squad.DataSet("many", "0" * 64, golds))

    def with_f1(values: NDArray[np.float64]) -> Report:
        pairs = zip(report.outcomes, values.tolist(), strict=True)
        return replace(report, outcomes=tuple(replace(outcome, f1=f1) for outcome, f1 in pairs))

    low, high = with_f1(after).f1_change_interval(with_f1(before), seed=1)
    difference = 100 * (after - before)
    error = 1.96 * difference.std(ddof=1) / 30  # the mean of 900 is nearly normal
    assert (low, high) == pytest.approx((difference.mean() - error, difference.mean() + error), abs=0.2 * error)
    with pytest.raises(InputError, match="not the same questions"):
        report.f1_change_interval(replace(report, outcomes=report.outcomes[::-1]))


def test_diff_says_how_much_f1_changes_and_whether_that_may_be_chance(data: Path) -> None:
    from qa_onnx.bundle.folder import default_bundle

    names = (default_bundle(), f"{TINY}:fp32", data)
    record = json.loads(run("diff", *names, "--json").stdout)
    low, high = record["f1_change_interval"]
    assert record["f1_change"] == pytest.approx(record["f1"][1] - record["f1"][0])
    assert low <= record["f1_change"] <= high
    said = run("diff", *names).stdout
    assert f"F1 changes by {record['f1_change']:+.2f} points (95 % interval {low:+.2f} to {high:+.2f})" in said
    assert ("this may be chance" in said) == (low <= 0 <= high)


def test_a_long_evaluation_says_how_far_it_is(
    data: Path, tiny_reader: Reader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    assert "\n5 of 6 questions\n" in run("eval", "-b", TINY, data).stderr
    assert "of 6 questions" not in run("eval", "-b", TINY, data, "-q").stderr
    monkeypatch.setattr("qa_onnx.evaluation.evaluate._LOG_EVERY_S", 0.0)
    caplog.set_level("INFO", "qa_onnx")
    evaluate(tiny_reader, squad.load(data))  # as an export does, and a training
    assert f"3 of 6 questions of {data.name} are answered" in caplog.messages


def test_diff_names_a_precision_that_is_not_there(data: Path) -> None:
    result = run("diff", f"{TINY}:fp16", TINY, data)
    assert result.exit_code == 1
    assert "not fp16" in result.stderr


def test_data_of_blank_contexts_has_no_null_threshold(tiny_reader: Reader) -> None:
    gold = squad.Gold("a", "Who?", " ", (), ())
    report = evaluate(tiny_reader, squad.DataSet("blank", "0" * 64, (gold,)))
    assert report.em == 100.0
    assert report.null_threshold is None


def test_an_empty_data_set_is_refused(tiny_reader: Reader) -> None:
    with pytest.raises(InputError, match=r"none\.json holds no questions"):
        evaluate(tiny_reader, squad.DataSet("none.json", "0" * 64, ()))


@pytest.mark.parametrize("command", ["eval", "diff"])
def test_a_negative_seed_is_wrong_usage(command: str, data: Path) -> None:
    bundles = [TINY, TINY] if command == "diff" else []
    result = run(command, *bundles, data, "--seed", -1)
    assert result.exit_code == 2
    assert "--seed" in result.stderr
