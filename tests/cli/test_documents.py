"""Documents on the command line: `ask` of files, folders and an index, `index`, and `cite`."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from qa_onnx.answers import Answer, Prediction
from qa_onnx.cli import main, screen
from qa_onnx.cli.result import TextResult
from qa_onnx.documents import Document
from tests.documents.made import paragraph, pdf, word_archive

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

pytest.importorskip("pypdfium2", reason="needs qa-onnx[documents]")
pytest.importorskip("selectolax", reason="needs qa-onnx[documents]")
pytest.importorskip("bm25s", reason="needs qa-onnx[search]")
pytestmark = pytest.mark.slow

FILES = {
    "lease.pdf": pdf(
        "Lease agreement\n\nThe landlord is Mara Field.",
        "The monthly rent is 900 euros.\n\nThe deposit is 2,700 euros, due before the keys are handed over.",
    ),
    "harbour/ferry.html": b"<h1>Ferry</h1><p>The ferry to <b>Ormen</b> leaves at 7:40 from pier 3.</p>",
    "harbour/keeper.docx": word_archive(
        paragraph("The harbour master is Tove Lind.") + paragraph("She has a dog.")
    ),
    "harbour/hours.md": b"# Museum\n\n- It opens at **10:15** on weekdays.\n- On Sundays it is closed.\n",
    "crew.csv": b"name,role\nIda Holm,cook\nBo Brandt,engineer\n",
}
QUESTIONS = {
    "How high is the deposit?": ("2,700 euros", "lease.pdf"),
    "When does the ferry to Ormen leave?": ("7:40", "harbour/ferry.html"),
    "Who is the harbour master?": ("Tove Lind", "harbour/keeper.docx"),
    "When does the museum open on weekdays?": ("10:15", "harbour/hours.md"),
    "Who is the engineer?": ("Bo Brandt", "crew.csv"),
}


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, data in FILES.items():
        path = tmp_path / "papers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "papers"


def records(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def asked() -> list[str]:
    return [word for question in QUESTIONS for word in ("-q", question)]


def check(found: list[dict[str, Any]]) -> None:
    for record, (text, name) in zip(found, QUESTIONS.values(), strict=True):
        assert (record["answer"]["text"], record["answer"]["file"]) == (text, f"papers/{name}")
        assert text in record["answer"]["evidence"]["sentence"]["text"]
        assert record["read"] <= record["passages"]


def test_a_folder_and_its_index_answer_with_the_place(folder: Path) -> None:
    direct = records(run("ask", *asked(), "-c", "papers", "--json"))
    check(direct)
    assert direct[0]["answer"]["evidence"]["page"] == 2
    done = run("index", "papers", "--to", "papers.index")
    assert done.exit_code == 0, done.output
    assert "5 documents, 5 of them new or changed" in done.stdout
    shutil.rmtree(folder)
    indexed = records(run("ask", *asked(), "--index", "papers.index", "--json"))
    check(indexed)
    for one in (*direct, *indexed):
        del one["milliseconds"]
    assert indexed == direct


def test_an_index_is_brought_up_to_date(folder: Path) -> None:
    run("index", "papers", "--to", "i")
    assert "0 of them new or changed, nothing to write" in run("index", "papers", "--to", "i").stdout
    (folder / "crew.csv").unlink()
    (folder / "note.txt").write_text("The password of the safe is 4711.", encoding="utf-8")
    changed = run("index", "papers", "--to", "i").stdout
    assert "5 documents, 1 of them new or changed, 1 document left the index, " in changed
    size = sum(path.stat().st_size for path in folder.parent.glob("i/generation-*/*"))
    assert f" {size / 1000:.1f} kB written, " in changed
    [record] = records(run("ask", "-q", "What is the password of the safe?", "--index", "i", "--json"))
    assert record["answer"]["text"] == "4711"
    other = run("index", "papers/note.txt", "--to", "i").stdout
    assert other.startswith("i: 1 passage of 1 document, 0 of them new or changed, 4 documents left the index, ")


def test_what_is_not_there_is_missed_in_all_documents(folder: Path) -> None:
    question = "Who won the Nobel prize in 1911?"
    ask = ("ask", "-q", question, "--null-threshold", -99)
    assert f"no answer to {question!r} in 5 documents: the score" in run(*ask, "-c", "papers").stderr
    assert f"no answer to {question!r} in 5 documents (" in run(*ask, "-c", "papers", "--all").stderr
    two = [word for name in ("crew.csv", "lease.pdf") for word in ("-c", folder / name)]
    assert f"no answer to {question!r} in 2 documents: the score" in run(*ask, *two).stderr


def test_the_span_of_no_answer_that_is_shown_has_a_letter_or_digit() -> None:
    spans = tuple(Answer(text, 0, len(text), -score, 0.1) for score, text in enumerate(("**", "Bo Brandt"), 5))
    result = TextResult(
        "Who?", ((spans[0], Document("a", "**")),), Prediction(spans, 0.0, 0.5), null_threshold=0.0
    )
    said = screen._why_none(result)
    assert "the best span with a letter or digit, 'Bo Brandt', is 6.00 below the threshold for an answer (" in said
    marks_only = screen._why_none(replace(result, prediction=Prediction(spans[:1], 0.0, 0.5)))
    assert (
        "the best span, '**', is 5.00 below the threshold for an answer; --null-threshold off gives" in marks_only
    )


def test_an_index_inside_of_its_folder_is_no_document(folder: Path) -> None:
    for new in (5, 0):
        result = run("index", "papers", "--to", "papers/i")
        assert (result.exit_code, result.stderr) == (0, "")
        assert f"5 documents, {new} of them new" in result.stdout
    check(records(run("ask", *asked(), "-c", "papers", "--json")))
    asked_wrongly = run("ask", "-q", "Who?", "-c", "papers/i")
    assert asked_wrongly.exit_code == 2
    assert "papers/i is an index: ask it with --index, or name its documents" in asked_wrongly.stderr
    cited = run("cite", "-", "papers/i", stdin="Tove Lind")
    assert (cited.exit_code, cited.stderr) == (1, "Error: papers/i is an index: name its documents\n")


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_each_kind_is_read_as_a_whole(folder: Path, name: str) -> None:
    question, text = next((question, text) for question, (text, file) in QUESTIONS.items() if file == name)
    result = run("ask", "-q", question, "-c", folder / name)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{text}\n", "")


def test_the_table_of_several_documents_has_page_and_name(folder: Path) -> None:
    result = run("ask", "-q", "How high is the deposit?", "-c", "papers", "--n-best", 2)
    head, first, *_ = (line.split() for line in result.stdout.splitlines())
    assert head == ["#", "answer", "score", "probability", "characters", "page", "document"]
    assert (first[1:3], first[-2:]) == (["2,700", "euros"], ["2", "papers/lease.pdf"])


def test_a_damaged_file_of_a_folder_is_named_and_the_others_are_read(folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(FILES["lease.pdf"][:300])
    (folder / "noise.bin").write_bytes(bytes(range(256)) * 9)
    os.mkfifo(folder / "pipe")
    result = run("ask", *asked(), "-c", "papers", "--json")
    check(records(result))
    assert {line.split()[1].rstrip(":") for line in result.stderr.splitlines()} == {
        "papers/broken.pdf",
        "papers/noise.bin",
        "papers/pipe",
    }
    named = run("ask", "-q", "Who?", "-c", folder / "broken.pdf")
    assert named.exit_code == 1
    assert named.stderr.startswith("Error: ")
    assert "broken.pdf" in named.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("ask", "-q", "Who?", "-c", "{file}", "-c", "papers"),
        ("index", "{file}", "papers", "--to", "i"),
        ("cite", "quotes.txt", "{file}", "papers"),
    ],
)
@pytest.mark.parametrize("file", ["papers/broken.pdf", "./papers/broken.pdf", "papers//broken.pdf"])
def test_a_damaged_file_that_was_named_is_an_error_however_its_path_is_written(
    folder: Path, command: tuple[str, ...], file: str
) -> None:
    (folder / "broken.pdf").write_bytes(FILES["lease.pdf"][:300])
    (folder.parent / "quotes.txt").write_text("She has a dog.")
    result = run(*(word.format(file=file) for word in command))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert "broken.pdf" in result.stderr
    assert not (folder.parent / "i" / "index.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--index", "nowhere"], 1, "nowhere"),
        (["--index", "papers"], 1, "papers"),
        (["--index", "i", "-c", "papers"], 2, "--index has its own documents"),
        (["-c", "papers", "--context", "x"], 2, "take neither --context nor -c -"),
        (["-c", "papers", "--read", "0"], 2, "--read"),
        (["-c", "*.odt"], 1, "no file matches *.odt"),
        (["-c", "gone"], 2, "gone does not exist"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(
    folder: Path, arguments: list[str], code: int, message: str
) -> None:
    result = run("ask", "-q", "Who?", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_fewer_passages_are_read_when_asked_for(folder: Path) -> None:
    [record] = records(run("ask", "-q", "Who is the engineer?", "-c", "papers", "--read", 1, "--json"))
    assert record["read"] == 1
    assert record["answer"]["text"] == "Bo Brandt"


def test_quotes_are_exact_or_normalised_or_not_there(folder: Path) -> None:
    quotes = "\n".join(
        [
            "The monthly rent is 900 euros.",
            "the monthly RENT is  900 euros",
            "The monthly rent is 950 euros.",
            "Tove Lind",
            "nothing of this kind stands anywhere",
        ]
    )
    result = run("cite", "-", "papers", "--json", stdin=quotes)
    assert result.exit_code == 1
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["verdict"] for one in found] == ["exact", "normalised", "not found", "exact", "not found"]
    assert [one["document"] for one in found[:4]] == ["papers/lease.pdf"] * 3 + ["papers/harbour/keeper.docx"]
    assert found[0]["evidence"]["page"] == 2
    assert found[1]["match"]["changes"] == ["white space", "case"]
    assert [change["text"] for change in found[2]["nearest"]["differences"]] == ["900"]
    assert result.stderr == "3 of 5 quotes found\n"
    plain = run("cite", "-", "papers/lease.pdf", stdin=quotes.splitlines()[0])
    assert (plain.exit_code, plain.stderr) == (0, "1 of 1 quotes found\n")
    assert plain.stdout == (
        "exact       The monthly rent is 900 euros.\n"
        "            papers/lease.pdf, page 2, line 4, characters 46-76\n"
    )


def test_quotes_are_found_without_the_marks_of_a_list(folder: Path) -> None:
    quotes = "“The monthly rent is 900 euros.”\n- She has a dog.\n2. “The monthly rent is 950 euros”\n- It is free"
    (folder / "list.txt").write_text("- It is free", encoding="utf-8")
    found = [json.loads(line) for line in run("cite", "-", "papers", "--json", stdin=quotes).stdout.splitlines()]
    assert [one["verdict"] for one in found] == ["normalised", "normalised", "not found", "exact"]
    assert [one["match"] and one["match"]["changes"] for one in found] == [["marks"], ["marks"], None, []]
    assert found[2]["nearest"]["text"] == "The monthly rent is 900 euros"


def test_the_closest_passage_has_page_and_line_and_page_1_is_named(folder: Path) -> None:
    quotes = "The landlord is Mara Field\nThe monthly rent is 950 euros."
    lines = run("cite", "-", "papers/lease.pdf", stdin=quotes).stdout.splitlines()
    assert lines[1] == "            papers/lease.pdf, page 1, line 3, characters 17-43"
    assert lines[3] == (
        "            closest in papers/lease.pdf, page 2, line 4, characters 46-76: The monthly rent is 900 euros."
    )


def test_each_sentence_of_a_line_is_a_claim(folder: Path) -> None:
    line = "- “The monthly rent is 900 euros. The deposit is 2,900 euros.”"
    result = run("cite", "--claims", "-", "papers", "--json", stdin=f"{line}\nMr. J. Lind is nobody.")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["quote"] for one in found] == [
        "The monthly rent is 900 euros.",
        "The deposit is 2,900 euros.",
        "Mr. J. Lind is nobody.",
    ]
    assert [one["verdict"] for one in found[:2]] == ["exact", "differs"]
    assert result.stderr.endswith(" of 3 claims found or supported\n")


CLAIMS = [
    "The monthly rent is 900 euros.",
    "Tove Lind is the master of the harbour.",
    "The deposit is 2,900 euros.",
    "Marie Curie won two Nobel prizes.",
]


def test_claims_are_checked_with_the_model_when_asked_for(folder: Path) -> None:
    result = run("cite", "--claims", "-", "papers", "--json", stdin="\n".join(CLAIMS))
    assert (result.exit_code, result.stderr) == (1, "2 of 4 claims found or supported\n")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["verdict"] for one in found] == ["exact", "supported", "differs", "not found"]
    assert found[0]["support"] is None
    assert found[1]["support"]["answer"]["document"] == "papers/harbour/keeper.docx"
    assert found[1]["support"]["evidence"]["sentence"]["text"] == "The harbour master is Tove Lind."
    assert found[2]["support"]["answer"]["text"] == "2,700 euros"
    assert found[2]["support"]["evidence"]["page"] == 2
    assert found[3]["support"]["verdict"] == "not found"
    without = run("cite", "-", "papers", "--json", stdin="\n".join(CLAIMS))
    lines = [json.loads(line) for line in without.stdout.splitlines()]
    assert [one["verdict"] for one in lines] == ["exact", "not found", "not found", "not found"]
    assert all("support" not in one for one in lines)


def test_a_person_reads_what_supports_a_claim_and_what_differs(folder: Path) -> None:
    result = run("cite", "--claims", "-", "papers", stdin="\n".join(CLAIMS[1:3]))
    first, second = result.stdout.split("\ndiffers     ")
    assert first.startswith(
        "supported   Tove Lind is the master of the harbour.\n            papers/harbour/keeper.docx"
    )
    assert first.endswith("\n            The harbour master is Tove Lind.")
    assert "papers/lease.pdf, page 2, line 6" in second
    assert "2,700 euros, not 2,900: The deposit is 2,700 euros, due before" in second


def test_a_person_reads_of_a_not(folder: Path) -> None:
    claims = "Tove Lind is not the master of the harbour.\nThe deposit is not 2,900 euros."
    first, second = run("cite", "--claims", "-", "papers", stdin=claims).stdout.split("differs     ")[1:]
    assert 'only one of the two has a "not": The harbour master is Tove Lind.' in first
    assert "2,700 euros, not 2,900: The deposit" in second


def test_supported_claims_are_a_success(folder: Path) -> None:
    result = run("cite", "--claims", "-", "papers", "--read", 1, "--json", stdin=CLAIMS[1])
    assert (result.exit_code, result.stderr) == (0, "1 of 1 claims found or supported\n")
    assert json.loads(result.stdout)["support"]["read"] == 1


@pytest.mark.parametrize("option", [("--read", 1), ("--threads", 1), ("--allow-fallback",)])
def test_options_of_the_model_need_claims(folder: Path, option: tuple[object, ...]) -> None:
    wrong = run("cite", "-", "papers", *option, stdin=CLAIMS[1])
    assert wrong.exit_code == 2
    assert "need --claims: quotes are found without a model" in wrong.stderr
