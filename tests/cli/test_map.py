"""`qa-onnx map`: its options, what it says while it runs and at its end, and its exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from qa_onnx.cli import main, map_rows, progress
from qa_onnx.errors import shown
from tests.conftest import TINY
from tests.mapping.jobs import output_of, rows, write

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

pytest.importorskip("pyarrow", reason="needs qa-onnx[map]")
pytest.importorskip("fsspec", reason="needs qa-onnx[map]")


def mapped(*words: Any) -> Result:
    command = ["map", *map(str, words), "-b", str(TINY), "--precision", "fp32", "--workers", "1"]
    return CliRunner().invoke(main, command)


def test_a_job_says_what_it_did_and_bad_rows_are_no_failure(tmp_path: Path) -> None:
    given = rows(5)
    given[2]["context"] = None
    result = mapped(write(tmp_path / "rows.jsonl", given), "--to", tmp_path / "out", "--id-column", "id")
    assert (result.exit_code, result.stdout) == (0, "")
    first, second = result.stderr.splitlines()
    assert first.startswith("5 rows in ")
    assert first.endswith(f" tokens/s), written to {shown(str(tmp_path / 'out'))}")
    assert second.startswith("1 of 5 rows could not be answered, such as line 3 of ")
    assert "(id 'r2'): no \"context\"" in second
    assert len(output_of(tmp_path / "out")) == 5


def test_a_quiet_job_shows_no_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(map_rows, "show_rows")
    path = write(tmp_path / "rows.csv", rows(2))
    result = mapped(path, "--to", tmp_path / "out", "-q")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("2 rows in ")


def test_questions_with_and_without_names(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", [{"body": "Anna keeps bees."}])
    words = ["--context-column", "body", "--question", "Who?", "--question", "what=What is 1=1?", "--n-best", 2]
    assert mapped(path, "--to", tmp_path / "out", *words).exit_code == 0
    [row] = output_of(tmp_path / "out")
    assert [name for name in row if name.endswith("_text")] == ["q1_text", "what_text"]
    assert isinstance(json.loads(row["what_n_best"]), list)
    manifest = json.loads((tmp_path / "out" / "_map.json").read_text())
    assert manifest["plan"]["questions"] == {"q1": "Who?", "what": "What is 1=1?"}


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["--question", "a=Who?", "--question", "a=What?"], "two questions have the name a", 2),
        (["--question", "a= "], "the question a is empty", 2),
        (["--n-best", "0"], "--n-best", 2),
        (["--precision", "bf16"], "not bf16", 1),
        (["--context-column", "body"], "there is no column 'body'", 1),
        (["--id-column", "key"], "has no column 'key' for --id-column", 1),
    ],
)
def test_options_that_are_refused(words: list[str], message: str, code: int, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", rows(1))
    result = CliRunner().invoke(main, ["map", str(path), "--to", str(tmp_path / "out"), "-b", str(TINY), *words])
    assert result.exit_code == code
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_another_precision_or_option_is_refused_at_resume(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", rows(2))
    assert mapped(path, "--to", tmp_path / "out").exit_code == 0
    again = mapped(path, "--to", tmp_path / "out", "--resume", "--null-threshold", "off")
    assert "was begun with other null_threshold: 'bundle', and now they are None" in again.stderr
    words = ["map", str(path), "--to", str(tmp_path / "out"), "-b", str(TINY), "--resume", "--precision", "int8"]
    assert "other precision: 'fp32', and now they are 'int8'" in CliRunner().invoke(main, words).stderr


def test_a_log_gets_a_line_each_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with progress.rows(1000, 100, clock=lambda: now) as count:
        for step in range(1, 91):
            now = float(step)
            count(100 + 10 * step, step // 45, 2000 * step)
    assert capsys.readouterr().err.splitlines() == [
        "400 of 1,000 rows, 10 rows/s, 2,000 tokens/s, 0 failed, 1 minute to go",
        "700 of 1,000 rows, 10 rows/s, 2,000 tokens/s, 1 failed, 0 minutes to go",
    ]
