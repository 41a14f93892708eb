"""What the tests of map jobs share: rows, files of all forms, and jobs on the tiny model."""

from __future__ import annotations

import csv
import gzip
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from qa_onnx import Reader
from qa_onnx.mapping import Asked
from qa_onnx.mapping import plan as plans
from qa_onnx.mapping.job import MapTotals, plan_job
from qa_onnx.mapping.local import run_local
from tests.conftest import TINY

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from qa_onnx import Options

ASKED = Asked()
PEOPLE = ("Anna", "Otto", "Élodie", "Ngozi")


def rows(count: int) -> list[dict[str, Any]]:
    """So many rows, with short and longer texts."""
    return [
        {
            "id": f"r{number}",
            "question": f"What does {PEOPLE[number % 4]} have?",
            "context": f"{PEOPLE[number % 4]} has {number} bees. Nobody has a sail. " * (1 + number % 3),
        }
        for number in range(count)
    ]


def write(path: Path, content: list[dict[str, Any]], *, group: int = 7) -> Path:
    """Write rows in the form that the name of the file says."""
    name = path.name
    if name.endswith(".parquet"):
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(content), path, row_group_size=group)
        return path
    if ".jsonl" in name:
        text = "".join(json.dumps(row) + "\n" for row in content)
    else:
        import io

        stream = io.StringIO()
        table = csv.DictWriter(stream, list(content[0]), delimiter="\t" if ".tsv" in name else ",")
        table.writeheader()
        table.writerows(content)
        text = stream.getvalue()
    data = text.encode()
    if name.endswith(".gz"):
        data = gzip.compress(data)
    elif name.endswith(".zst"):
        import pyarrow as pa

        data = pa.compress(data, codec="zstd", asbytes=True)
    path.write_bytes(data)
    return path


def read_part(path: Path) -> list[dict[str, Any]]:
    """The rows of a part; all cells of a table are texts."""
    if path.suffix == ".parquet":
        from pyarrow import parquet

        found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return found
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def output_of(folder: Path) -> list[dict[str, Any]]:
    """All rows of an output, in the order of its parts."""
    return [row for part in sorted(folder.glob("part-*")) for row in read_part(part)]


def load(bundle: Path) -> tuple[Reader, Options]:
    """A reader of the tiny model."""
    reader = Reader.load(bundle, precision="fp32", threads=1)
    return reader, reader.options


def run(
    inputs: list[Path | str],
    output: Path | str,
    *,
    patch: pytest.MonkeyPatch,
    asked: Asked = ASKED,
    shard_rows: int = 10,
    workers: int = 1,
    **other: Any,
) -> MapTotals:
    """Run a job in this process, or in so many others."""
    patch.setattr(plans, "SHARD_ROWS", shard_rows)
    job = plan_job(
        list(map(str, inputs)),
        str(output),
        asked=asked,
        bundle=TINY,
        load=load,
        settings={"precision": "fp32"},
        **other,
    )
    totals = list(job.run(partial(run_local, workers=workers)))
    return totals[-1]
