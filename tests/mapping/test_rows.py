"""Cursors over files: any rows, in any order, are those that a slice of all rows has."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qa_onnx.errors import InputError
from qa_onnx.mapping import Asked
from tests.mapping.jobs import rows, write

pytest.importorskip("pyarrow", reason="needs qa-onnx[map]")
pytest.importorskip("fsspec", reason="needs qa-onnx[map]")

COUNT = 23
RANGES = st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(1, COUNT)), min_size=1, max_size=6)


@pytest.fixture(scope="module", params=["parquet", "jsonl.gz", "csv"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each form; of Parquet, with row groups of 5 rows."""
    return write(tmp_path_factory.mktemp("rows") / f"rows.{request.param}", rows(COUNT), group=5)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ranges=RANGES, batch_rows=st.integers(1, 9))
def test_a_cursor_takes_any_rows(path: Path, ranges: list[tuple[int, int]], batch_rows: int) -> None:
    from qa_onnx.mapping.forms import ending_of, rows_of

    expected = [row["context"] for row in rows(COUNT)]
    form = rows_of(str(ending_of(path.name)), Asked())
    assert form.survey(str(path))[0].rows == COUNT
    cursor = form.cursor(str(path))
    for first, wanted in ranges:
        count = min(wanted, COUNT - first)
        batches = list(cursor.take(first, count, batch_rows=batch_rows))
        assert max(batch.num_rows for batch in batches) <= batch_rows
        found = [text for batch in batches for text in batch.column("context").to_pylist()]
        assert found == expected[first : first + count]
    cursor.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_a_file_that_cannot_be_read_is_closed(name: str, tmp_path: Path) -> None:
    from qa_onnx.mapping.forms import ending_of, rows_of

    path = tmp_path / name
    path.write_bytes(b'question,"context\n')
    with pytest.raises(InputError, match=name) as error:
        rows_of(str(ending_of(name)), Asked()).cursor(str(path))
    assert str(path) not in {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}
    del error  # whose traceback has kept all that was not closed


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.parquet", "parquet"),
        ("A.JSONL", "jsonl"),
        ("a.ndjson.zst", "jsonl"),
        ("a.b.csv.gz", "csv"),
        ("s3://x/a.tsv", "tsv"),
        ("a.parquet.gz", None),
        ("a.json", None),
        ("csv", None),
    ],
)
def test_the_name_says_the_form(name: str, form: str | None) -> None:
    from qa_onnx.mapping.forms import ending_of

    assert ending_of(name) == form
