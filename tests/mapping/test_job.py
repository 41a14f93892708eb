"""Map jobs in one process: all forms of files, their answers, rows without one, and what is refused."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import InputError, MapError, Reader
from qa_onnx.errors import shown
from qa_onnx.mapping import Asked
from tests.mapping.jobs import output_of, read_part, rows, run, write

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("pyarrow", reason="needs qa-onnx[map]")
pytest.importorskip("fsspec", reason="needs qa-onnx[map]")

FORMS = ["parquet", "jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "tsv", "tsv.zst"]


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_have_the_answers_of_the_reader(
    form: str, tiny_reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = rows(25)
    path = write(tmp_path / f"rows.{form}", given)
    totals = run([path], tmp_path / "out", patch=monkeypatch)
    assert (totals.total, totals.rows, totals.failed) == (25, 25, 0)
    ending = form.partition(".")[0]
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == [
        "_map.json",
        *(f"part-0000{n}.{ending}" for n in range(3)),
    ]
    found = output_of(tmp_path / "out")
    predictions = tiny_reader.predict((row["question"], row["context"]) for row in given)
    assert [{name: row[name] for name in given[0]} for row in found] == given
    for row, prediction in zip(found, predictions, strict=True):
        answer = tiny_reader.choose(prediction)
        assert (row["answer_text"], int(row["answer_start"])) == (answer.text, answer.start)
        assert float(row["answer_probability"]) == pytest.approx(answer.probability, abs=1e-4)
        assert row["answer_error"] in (None, "")
    assert json.loads((tmp_path / "out" / "_map.json").read_text())["done"] == {"rows": 25}


def test_files_of_a_folder_a_pattern_and_a_url_come_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    given = rows(9)
    write(folder / "b.jsonl", given[3:6])
    write(folder / "a.jsonl.gz", given[:3])
    write(folder / "deep" / "c.ndjson.jsonl", given[6:])
    write(folder / "_hidden.jsonl", given)
    (folder / "notes.txt").write_text("no rows")
    run([folder, str(folder / "*.jsonl"), f"file://{folder}/b.jsonl"], tmp_path / "out", patch=monkeypatch)
    assert [row["id"] for row in output_of(tmp_path / "out")] == [row["id"] for row in given]


def test_files_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/in/rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows(12)).encode())
    run(["memory://in"], "memory://out", patch=monkeypatch)
    names = sorted(name.rpartition("/")[2] for name in memory.ls("/out", detail=False))
    assert names == ["_map.json", "part-00000.jsonl", "part-00001.jsonl"]
    assert len(memory.cat_file("/out/part-00001.jsonl").splitlines()) == 2
    memory.rm("/in", recursive=True)
    memory.rm("/out", recursive=True)


def test_questions_of_the_job_and_several_answers(
    tiny_reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "rows.csv", rows(4))
    asked = Asked(questions={"who": "Who?", "q2": "What?"}, n_best=2)
    run([path], tmp_path / "out", patch=monkeypatch, asked=asked)
    for row in output_of(tmp_path / "out"):
        assert row["who_text"] == tiny_reader.ask("Who?", row["context"]).text
        assert json.loads(row["q2_n_best"])[0]["text"] == row["q2_text"]


LINES = [
    b'\xef\xbb\xbf{"id": 1, "question": "Who?", "context": "Anna.", "big": 12345678901234567890123, "x": 1e400}',
    b'{"id": 2, "question": 5, "context": "Anna."}',
    b"",
    b'{"id": 3, "question": "Who?"}',
    b'{"id": 4, "question": "Who?", "context": "An',
    b"[1, 2]",
    b'{"id": 5, "question": "Who?", "context": "\\ud800"}',
    b'{"id": 6, "question": "Who?", "context": "Anna.", "answer_text": "kept"}',
    b'{"id": 7, "question": "Who?", "context": "\xff"}',
    b"{}",
    b'{"id": 8, "question": "Who?", "context": "Otto.", "note": {"answer_text": 1}} ',
]


def test_damaged_json_lines_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(LINES))
    totals = run([tmp_path / "rows.jsonl"], tmp_path / "out", patch=monkeypatch, id_column="id", shard_rows=4)
    assert (totals.rows, totals.failed) == (10, 8)
    name = shown(str(tmp_path / "rows.jsonl"))
    assert totals.first_failure == f'line 2 of {name} (id 2): "question" must be a text, not 5'
    found = output_of(tmp_path / "out")
    assert [row.get("id") for row in found] == [1, 2, 3, None, None, 5, 6, None, None, 8]
    assert [bool(row["answer_error"]) for row in found] == [False, *[True] * 8, False]
    assert found[3]["answer_error"].startswith("line 5, column ")
    assert found[4]["answer_error"] == "line 6: expected an object, not [1, 2]"
    assert "not Unicode" in found[5]["answer_error"]
    assert found[6]["answer_text"] == "kept"
    assert "UTF-8" in found[7]["answer_error"]
    assert found[9]["note"] == {"answer_text": 1}
    assert found[9]["answer_start"] is not None
    first = (tmp_path / "out" / "part-00000.jsonl").read_bytes().splitlines()[0]
    assert first.startswith(LINES[0].removeprefix(b"\xef\xbb\xbf")[:-1] + b', "answer_text": ')


def test_damaged_rows_of_a_table_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        b"id;question;context",
        b'1;Who?;"Anna; and',
        b'Otto."',
        b"2;Who?",
        b"",
        b'3;"Who"?;Anna.',
        b"4;Who?;Anna.;more",
        b"5;Who?;\xff",
        b"\xe9;Who?;Anna.",
    ]
    (tmp_path / "rows.csv").write_bytes(b"\r\n".join(lines))
    totals = run([tmp_path / "rows.csv"], tmp_path / "out", patch=monkeypatch, shard_rows=2)
    assert (totals.rows, totals.failed) == (6, 4)
    parts = [path.read_bytes().decode("latin-1") for path in sorted((tmp_path / "out").glob("part*"))]
    assert parts[0].startswith("id;question;context;answer_text;")
    assert 'Who?;"Anna; and\r\nOtto.";' in parts[0]
    assert "expected 3 cells, as in the header, not 2" in parts[0]
    assert "line 6: expected a row of a table, not '3;" in parts[1].replace('""', '"')
    assert "not 4: ['4', 'Who?', 'Anna.', 'more']" in parts[1]
    assert "the context is not Unicode text" in parts[2]
    assert "\xe9;Who?;Anna.;" in parts[2]


def test_the_tokens_of_a_job_are_those_that_the_model_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_reader: Reader
) -> None:
    given = rows(12)
    totals = run([write(tmp_path / "rows.jsonl", given)], tmp_path / "out", patch=monkeypatch, shard_rows=5)
    windows = tiny_reader.logits((row["question"], row["context"]) for row in given)
    assert totals.tokens == sum(len(one.window.input_ids) for one in windows)


def test_nulls_of_a_table_with_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = rows(12)
    given[3]["question"] = given[11]["context"] = None
    path = write(tmp_path / "rows.parquet", given, group=5)
    totals = run([path], tmp_path / "out", patch=monkeypatch, id_column="id", shard_rows=5)
    assert totals.first_failure == f"row 4 of {shown(str(path))} (id 'r3'): the question is null"
    found = output_of(tmp_path / "out")
    assert [row["id"] for row in found if row["answer_error"]] == ["r3", "r11"]


def test_a_job_of_which_no_row_can_be_answered_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "rows.jsonl", [{"frage": "Wer?", "context": "Anna."}])
    with pytest.raises(InputError, match=r'no row could be answered; line 1 of .*: no "question"'):
        run([path], tmp_path / "out", patch=monkeypatch)


# ---- what is refused


def refused(inputs: list[Any], output: Path, patch: pytest.MonkeyPatch, **other: Any) -> str:
    with pytest.raises((InputError, MapError)) as error:
        run(inputs, output, patch=patch, **other)
    assert len(str(error.value)) <= 500
    return str(error.value)


def test_inputs_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    good = write(tmp_path / "rows.parquet", rows(3))
    lines = write(tmp_path / "rows.jsonl", rows(3))
    numbers = write(tmp_path / "numbers.parquet", [{"question": 1, "context": "x"}])
    other = write(tmp_path / "other.parquet", [{**row, "id": 7} for row in rows(2)])
    less = write(tmp_path / "less.csv", [{"question": "Who?", "context": "x"}])
    more = write(tmp_path / "more.csv", [{"question": "Who?", "context": "x", "extra": "y"}])
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(good.read_bytes()[:-9])
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(good.read_bytes()[:-60] + b"\xff" * 52 + good.read_bytes()[-8:])
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"\n\n")
    packed = tmp_path / "cut.jsonl.gz"
    packed.write_bytes(write(tmp_path / "whole.jsonl.gz", rows(90)).read_bytes()[:-30])
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    cases: list[tuple[list[Any], str]] = [
        ([tmp_path / "none.csv"], "none.csv does not exist, or is no file"),
        ([tmp_path / "folder"], "folder holds no Parquet, JSON lines, CSV or TSV file"),
        ([tmp_path / "notes.txt"], "notes.txt has none of the endings that map reads: name files of Parquet"),
        ([good, lines], "rows.jsonl is jsonl and "),
        ([numbers], "numbers.parquet: the column 'question' is of type int64; it must hold text"),
        ([good, other], "'id' is string, not int64: write both alike"),
        ([less, more], "'extra' is new: write both alike"),
        ([cut], "cut.parquet is no Parquet file, or its end is missing"),
        ([bad], "bad.parquet: damaged Parquet ("),
        ([empty], "empty.jsonl holds no row"),
        ([packed], "cut.jsonl.gz: damaged gzip"),
        (["nothing://x/y.csv"], "'nothing://x/y.csv' is no name of a file"),
        (["\0.csv"], "characters that no path can have"),
    ]
    for inputs, message in cases:
        assert message in refused(inputs, out, monkeypatch)
        assert not out.exists()
    assert "has no column 'key' for --id-column" in refused([good], out, monkeypatch, id_column="key")
    assert "no column 'body'" in refused([good], out, monkeypatch, asked=Asked(context="body"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"question,context\rWho?,Anna.\r", "line 1: expected a row of a table, not 'question,context"),
        (b"question,context," + b"x" * 140_000 + b"\nWho?,Anna.,\n", "field larger than field limit (131072)"),
        (b'question,"context\n', "unexpected end of data"),
        (b"", "the file is empty"),
    ],
)
def test_a_header_that_cannot_be_read_is_named(
    content: bytes, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    message = refused([path], tmp_path / "out", monkeypatch)
    assert "rows.csv has no header: " in message
    assert problem in message


def test_a_header_may_have_several_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.csv").write_bytes(b'question;context;"two\nlines"\nWho?;Anna.;x\n')
    totals = run([tmp_path / "rows.csv"], tmp_path / "out", patch=monkeypatch)
    assert (totals.rows, totals.failed) == (1, 0)


def test_outputs_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = write(folder / "rows.csv", rows(3))
    assert "lies in the input" in refused([folder], folder / "out", monkeypatch)
    assert "lies in the output" in refused([path], folder, monkeypatch)
    assert "is a file: name a folder" in refused([path], write(tmp_path / "x.csv", rows(1)), monkeypatch)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "x").write_text("old")
    assert "is not empty: name another folder" in refused([folder], tmp_path / "old", monkeypatch)
    assert "it is no output of map" in refused([folder], tmp_path / "old", monkeypatch, resume=True)
    assert (tmp_path / "old" / "x").read_text() == "old"


def test_the_output_of_a_job_is_no_input_of_the_same_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for form in ("jsonl", "csv", "parquet"):
        run([write(tmp_path / f"rows.{form}", rows(3))], tmp_path / form, patch=monkeypatch)
    for form in ("csv", "parquet"):
        assert "a column 'answer_text' already" in refused([tmp_path / form], tmp_path / "again", monkeypatch)
    again = refused([tmp_path / "jsonl"], tmp_path / "again", monkeypatch)
    assert "it has a key 'answer_text' already, where an answer would go" in again


# ---- damage in the middle, and --resume


def test_a_damaged_page_costs_only_its_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import parquet

    path = write(tmp_path / "rows.parquet", rows(30), group=10)
    whole = path.read_bytes()
    column = parquet.read_metadata(path).row_group(1).column(2)
    start, size = column.dictionary_page_offset, column.total_compressed_size
    path.write_bytes(whole[: start + 40] + b"\xff" * (size - 80) + whole[start + size - 40 :])
    message = refused([path], tmp_path / "out", monkeypatch)
    assert (
        "1 of 3 shards could not be answered, the others are written; the first: part-00001.parquet (" in message
    )
    assert "damaged Parquet" in message
    assert len(list((tmp_path / "out").glob("part-*"))) == 2
    path.write_bytes(whole)
    totals = run([path], tmp_path / "out", patch=monkeypatch, resume=True)
    assert (totals.before, totals.rows) == (20, 10)
    assert [row["id"] for row in output_of(tmp_path / "out")] == [row["id"] for row in rows(30)]


def test_a_part_that_is_missing_is_done_again_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write(tmp_path / "rows.jsonl", rows(35)), tmp_path / "out"
    run([path], out, patch=monkeypatch)
    before = {part.name: part.read_bytes() for part in out.glob("part-*")}
    times = {part.name: part.stat().st_mtime_ns for part in out.glob("part-*")}
    (out / "part-00002.jsonl").unlink()
    (out / ".part-00002.jsonl.0123456789abcdef.partial").write_text("half")
    totals = run([path], out, patch=monkeypatch, resume=True)
    assert (totals.before, totals.rows) == (25, 10)
    assert {part.name: part.read_bytes() for part in out.glob("part-*")} == before
    changed = [name for name, time in times.items() if (out / name).stat().st_mtime_ns != time]
    assert changed == ["part-00002.jsonl"]
    assert not list(out.glob(".part*"))
    assert run([path], out, patch=monkeypatch, resume=True).rows == 0


def test_other_inputs_options_and_questions_are_refused_at_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write(tmp_path / "rows.jsonl", rows(12)), tmp_path / "out"
    run([path], out, patch=monkeypatch)
    (out / "part-00001.jsonl").unlink()
    assert "is not empty: go on with --resume, or name another folder" in refused([path], out, monkeypatch)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"asked": Asked(n_best=2)}, "other n_best: 1, and now they are 2"),
        ({"asked": Asked(questions={"a": "Who?"})}, "other questions: {}, and now they are {'a': 'Who?'}"),
        ({"shard_rows": 4}, "other shard_rows: 10, and now they are 4"),
    ]
    for other, message in cases:
        assert message in refused([path], out, monkeypatch, resume=True, **other)
    more = write(tmp_path / "more.jsonl", rows(2))
    assert "other inputs: 1 files, and now there are 2" in refused([path, more], out, monkeypatch, resume=True)
    write(path, rows(11))
    assert "other inputs: rows.jsonl has changed" in refused([path], out, monkeypatch, resume=True)
    assert not (out / "part-00001.jsonl").exists()
    (out / "_map.json").write_text("[]")
    assert "_map.json in " in refused([path], out, monkeypatch, resume=True)


def test_two_jobs_do_not_write_to_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qa_onnx.machine.locks import locked

    path = write(tmp_path / "rows.jsonl", rows(2))
    with locked(tmp_path / "out" / "_map.lock") as held:
        if held:
            message = refused([path], tmp_path / "out", monkeypatch)
            assert f"another process writes to {tmp_path}/out: process {os.getpid()}" in message
    assert run([path], tmp_path / "out", patch=monkeypatch).rows == 2
    assert read_part(tmp_path / "out" / "part-00000.jsonl")
