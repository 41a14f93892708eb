"""`qa-onnx ask` as a user calls it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from qa_onnx import Example, Reader
from qa_onnx.cli import main
from tests.conftest import TINY

TOWER = (
    "The lighthouse was designed by Agnes Halloran. She chose granite. The lamp was lit on 3 March 1887.\r\n\r\n"
    "Today it is a museum 🏛."
)


def ask(*arguments: object, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(main, ["ask", *map(str, arguments)], input=stdin)


def ask_tiny(*arguments: object, stdin: str | bytes = "") -> Result:
    return ask("-b", TINY, "--precision", "fp32", *arguments, stdin=stdin)


@pytest.fixture
def article(tmp_path: Path) -> Path:
    path = tmp_path / "article.txt"
    path.write_bytes(TOWER.encode())
    return path


def test_the_answer_alone_is_on_stdout(article: Path) -> None:
    result = ask("-q", "Who designed the lighthouse?", "-c", article)
    assert result.exit_code == 0
    assert result.stdout == "Agnes Halloran\n"
    assert result.stderr == ""


@pytest.mark.parametrize("arguments", [["-c", "-"], ["--context", TOWER]])
def test_text_from_stdin_or_the_command_line(arguments: list[str]) -> None:
    result = ask("-q", "When was the lamp lit?", *arguments, stdin=TOWER.encode())
    assert result.stdout == "3 March 1887\n"


def test_several_questions_give_one_line_each(article: Path) -> None:
    result = ask("-q", "Who designed it?", "-q", "When was the lamp lit?", "-c", article)
    assert result.stdout.splitlines() == ["Agnes Halloran", "3 March 1887"]
    assert result.stderr.splitlines() == ["Who designed it?", "When was the lamp lit?"]


def test_json_has_every_field_and_offsets_into_the_file_as_it_is(article: Path) -> None:
    result = ask("-q", "What is it today?", "-c", article, "--json", "--n-best", 3)
    record = json.loads(result.stdout)
    rest = ["null_score", "null_probability", "warnings", "milliseconds"]
    assert list(record) == ["question", "state", "answer", "answers", *rest]
    assert record["state"] == "answer"
    assert list(record["answer"]) == ["text", "start", "end", "score", "probability", "evidence"]
    assert len(record["answers"]) == 3
    assert record["answers"][0] == record["answer"]
    for answer in record["answers"]:  # \r\n counts as two characters, as it does in the file
        assert TOWER[answer["start"] : answer["end"]] == answer["text"]
    assert record["milliseconds"] > 0


def test_best_answer_over_several_texts_names_its_file(article: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("The recipe needs flour, water and salt.", encoding="utf-8")
    result = ask("-q", "Who designed the lighthouse?", "-c", other, "-c", article, "--json", "--n-best", 400)
    record = json.loads(result.stdout)
    assert record["answer"]["text"] == "Agnes Halloran"
    assert record["answer"]["file"] == str(article)
    assert {answer["file"] for answer in record["answers"]} == {str(article), str(other)}
    scores = [answer["score"] for answer in record["answers"]]
    assert scores == sorted(scores, reverse=True)


def test_n_best_prints_a_table(article: Path) -> None:
    result = ask("-q", "Who designed the lighthouse?", "-c", article, "--n-best", 3)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["#", "answer", "score", "probability", "characters"]
    assert len(lines) == 4
    assert "Agnes Halloran" in lines[1]


LEASE = f"""The landlord of the flat is Mara Field.

{"The flat has three rooms and a kitchen. " * 30}

The landlord of the garage is Jonas Berg.
"""


def test_all_answers_are_printed_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "lease.txt"
    path.write_text(LEASE, encoding="utf-8")
    result = ask("--all", "-q", "Who is the landlord?", "-c", path)
    assert sorted(result.stdout.splitlines()) == ["Jonas Berg", "Mara Field"]
    assert ask("-q", "Who is the landlord?", "-c", path).stdout.count("\n") == 1


def test_all_answers_of_a_folder_name_their_files(tmp_path: Path) -> None:
    for name, text in (("a.txt", LEASE), ("b.txt", "The landlord of the boat is Lena Holm.")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    result = ask("--all", "-q", "Who is the landlord?", "-c", tmp_path, "--json")
    record = json.loads(result.stdout)
    found = {(Path(answer["file"]).name, answer["text"]) for answer in record["answers"]}
    assert found == {("a.txt", "Mara Field"), ("a.txt", "Jonas Berg"), ("b.txt", "Lena Holm")}
    for answer in record["answers"]:
        assert (tmp_path / answer["file"]).read_text(encoding="utf-8")[answer["start"] : answer["end"]] == answer[
            "text"
        ]
    one = ask("--all", "-q", "Who is the landlord?", "-c", tmp_path, "--read", 1, "--json")
    assert json.loads(one.stdout)["read"] == 1


@pytest.mark.parametrize("flags", [(), ("--all",)])
def test_reading_ends_when_the_seconds_are_over(tmp_path: Path, flags: tuple[str, ...]) -> None:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"{number} boats lay in the harbour. " * 40, encoding="utf-8")
    asked = ("-q", "Who painted the ferry?", "-c", tmp_path, "--json", *flags)
    some, more = (json.loads(ask(*asked, "--seconds", seconds).stdout) for seconds in (1e-6, 3600))
    assert (some["read"], some["stopped"]) == (4, "seconds")
    assert more["read"] > 4
    assert more["stopped"] != "seconds"


def test_the_least_probability_of_all_answers_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "lease.txt"
    path.write_text(LEASE, encoding="utf-8")
    options = ("--all", "-q", "Who is the landlord?", "-c", path, "--null-threshold", "off", "--json")
    some, more = (
        json.loads(ask(*options, "--min-probability", least).stdout)["answers"] for least in (0.5, 0.001)
    )
    assert all(answer["probability"] >= 0.5 for answer in some)
    assert len(some) < len(more)


def test_where_nothing_answers_all_answers_are_none(tmp_path: Path) -> None:
    path = tmp_path / "lease.txt"
    path.write_text(LEASE, encoding="utf-8")
    result = ask("--all", "-q", "When does the ferry leave?", "-c", path)
    assert result.stdout == "\n"
    assert "no answer to 'When does the ferry leave?' in the text (" in result.stderr


def test_reader_options_reach_the_reader(article: Path, tiny_reader: Reader) -> None:
    question = "Who chose granite?"
    asked = ask_tiny("-q", question, "-c", article, "--json", "--max-answer-length", 1, "--doc-stride", 3)
    answer = json.loads(asked.stdout)["answer"]
    options = replace(tiny_reader.options, max_answer_length=1, doc_stride=3)
    expected = tiny_reader.predict([Example(question, TOWER)], options=options)[0].choose(None)
    assert (answer["text"], answer["start"]) == (expected.text, expected.start)
    assert answer["score"] == pytest.approx(expected.score, abs=1e-4)


@pytest.mark.parametrize(("flag", "aligned"), [("--align-to-words", True), ("--no-align-to-words", False)])
def test_parts_of_words_are_answers_only_when_asked_for(article: Path, flag: str, aligned: bool) -> None:
    arguments = ("-q", "Who?", "-c", article, "--json", "--n-best", 50)
    found, default = (json.loads(ask_tiny(*arguments, *more).stdout)["answers"] for more in ([flag], []))
    edges = [TOWER[edge - 1 : edge + 1] for item in found for edge in (item["start"], item["end"]) if edge]
    assert any(len(pair) == 2 and pair.isalnum() for pair in edges) is not aligned
    assert (found == default) is aligned


def test_a_missing_answer_is_null_in_json_and_said_on_stderr(article: Path) -> None:
    arguments = ("-q", "Who?", "-c", article, "--null-threshold", -1000)
    record = json.loads(ask_tiny(*arguments, "--json").stdout)
    assert record["answer"] is None
    assert record["answers"]
    plain = ask_tiny(*arguments)
    assert plain.exit_code == 0
    assert plain.stdout == "\n"
    short = record["null_score"] - record["answers"][0]["score"] + 1000
    best = record["answers"][0]["text"]
    assert (
        f"no answer to 'Who?' in the text: the score of the best span, {best!r}, is {short:.2f} below the "
        "threshold for an answer; --null-threshold off gives it"
    ) in plain.stderr
    assert "probability" not in plain.stderr
    assert ask_tiny("-q", "Who?", "-c", article, "--null-threshold", "off").stdout.strip()


def test_an_empty_text_has_no_answer() -> None:
    result = ask_tiny("-q", "Who?", "-c", "-")
    assert result.exit_code == 0
    assert result.stdout == "\n"
    assert "the context is empty" in result.stderr
    assert "no answer to 'Who?': the text is blank" in result.stderr


def test_interactive_asks_until_the_input_ends(article: Path) -> None:
    result = ask("-i", "-c", article, stdin="Who designed it?\n\nWhen was the lamp lit?\n")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["Agnes Halloran", "3 March 1887"]
    assert "question: " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-q", "x"], "nothing to read"),
        (["-c", "-"], "give questions with -q"),
        (["-i", "-q", "x", "--context", "y"], "give questions with -q"),
        (["-i", "-c", "-"], "-i reads questions from stdin"),
        (["--input", "-", "-q", "x"], "--input has its own"),
        (["--output", "x.jsonl", "-q", "x", "--context", "y"], "--output needs --input"),
        (["-q", "x", "-c", "no-such-file"], "does not exist"),
        (["-q", "x", "--context", "y", "--null-threshold", "low"], "neither a number nor off"),
        (["-q", "x", "--context", "y", "--n-best", "0"], "--n-best"),
        (["-q", "x", "--context", "y", "--precision", "int4"], "int4"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], message: str) -> None:
    result = ask(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-b", "nowhere"], "nowhere is not a bundle: it does not exist"),
        (["--engine", "tensorrt", "--device", "cuda"], "none of which runs on tensorrt/cuda"),
        (["-b", str(TINY), "--device", "cuda"], "qa-onnx[gpu]"),
        (["--precision", "fp16"], "--precision fp16 makes it"),
        (["--doc-stride", "400"], "lower one of the other two"),
    ],
)
def test_failures_are_one_line_and_exit_with_1(arguments: list[str], message: str) -> None:
    result = ask("-q", "x", "--context", "y", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbfparis")
    record = json.loads(ask_tiny("-q", "x", "-c", path, "--json", "--n-best", 9).stdout)
    for answer in (record["answer"], *record["answers"]):
        assert "paris"[answer["start"] : answer["end"]] == answer["text"]


def test_control_characters_never_reach_the_terminal() -> None:
    result = ask_tiny("-q", "x", "--context", "red\x1b[31malert", "--n-best", 20)
    assert "\x1b" not in result.output
    assert result.exit_code == 0


def test_on_a_terminal_the_sentence_is_shown_with_the_answer_highlighted(article: Path) -> None:
    control, terminal = os.openpty()
    command = [sys.executable, "-m", "qa_onnx", "ask", "-q", "Who designed the lighthouse?", "-c", str(article)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, env=environment, check=True)
    os.close(terminal)
    shown = os.read(control, 100_000).decode()
    os.close(control)
    assert done.stdout == b"Agnes Halloran\n"
    assert "was designed by \x1b[1;7mAgnes Halloran\x1b[0m" in shown
    assert "She chose granite" not in shown  # the next sentence
    assert re.search(r"line 1, characters 31-45, probability [01]\.\d\d, \d+ ms", shown)


def test_on_a_terminal_each_of_all_answers_has_its_sentence() -> None:
    control, terminal = os.openpty()
    command = [sys.executable, "-m", "qa_onnx", "ask", "--all", "-q", "Who is the landlord?", "--context", LEASE]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    subprocess.run(command, stdout=terminal, stderr=terminal, env=environment, check=True)
    os.close(terminal)
    shown = re.sub(r"\x1b\[[\d;]*m", "", os.read(control, 100_000).decode())
    os.close(control)
    lines = shown.split("\r\n")
    assert lines[lines.index("Mara Field") + 1] == "The landlord of the flat is Mara Field."
    assert lines[lines.index("Jonas Berg") + 1] == "The landlord of the garage is Jonas Berg."
    assert re.fullmatch(r"2 answers, read (\d) of \1 passages, \d+ ms", lines[-2])


@pytest.mark.parametrize("arguments", [["-q", "x", "-c", "-"], ["--input", "-"]])
def test_a_closed_standard_input_is_said(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "qa_onnx", "ask", "-b", str(TINY), *arguments]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "Error: standard input cannot be read: it is closed\n"
