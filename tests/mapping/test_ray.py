"""Map jobs on Ray: the same answers as here, also when workers die."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from qa_onnx.cli import main
from qa_onnx.machine.packages import version
from tests.conftest import TINY
from tests.mapping.jobs import output_of, rows, run, write
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("pyarrow", reason="needs qa-onnx[map]")
needs_ray = pytest.mark.skipif(version("ray") is None, reason="needs qa-onnx[ray]: ray is not installed")
pytestmark = pytest.mark.slow


def on_ray(source: Path, output: Path, part: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.mapping.ray_job", str(source), str(output), part],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=8 * PATIENCE_S,
        check=False,
    )


@needs_ray
def test_the_answers_are_those_of_this_machine_though_a_worker_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = rows(45)
    given[3]["context"] = None
    source = write(tmp_path / "rows.parquet", given)
    run([source], tmp_path / "here", patch=monkeypatch)
    done = on_ray(source, tmp_path / "there", "part-00002.parquet")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there.died").exists()
    assert done.stdout.splitlines()[-1] == "45 1"  # before it Ray says that a worker died
    assert not re.search("Traceback|Deprecat|core_worker|usage", done.stderr), done.stderr
    assert output_of(tmp_path / "there") == output_of(tmp_path / "here")


@pytest.mark.soak
@needs_ray
def test_a_worker_that_dies_each_time_ends_the_job_and_the_rest_stays(tmp_path: Path) -> None:
    source, out = write(tmp_path / "rows.jsonl", rows(30)), tmp_path / "out"
    done = on_ray(source, out, "!part-00001.jsonl")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "1 of 3 shards could not be answered, the others are written; the first: part-00001.jsonl ("
    )
    assert "its worker died 4 times; is there memory for so many?" in last
    assert len(list(out.glob("part-*"))) == 2
    assert not (out / "part-00001.jsonl").exists()
    assert on_ray(source, out, "").returncode == 0
    assert [row["id"] for row in output_of(out)] == [row["id"] for row in rows(30)]


def test_without_ray_the_command_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qa_onnx.errors import MissingExtraError

    def missing(extra: str) -> None:
        if extra == "ray":
            raise MissingExtraError("ray not installed", remedy="pip install 'qa-onnx[ray]'")

    monkeypatch.setattr("qa_onnx.cli.map_rows.require", missing)
    source = write(tmp_path / "rows.jsonl", rows(2))
    words = ["map", str(source), "--to", str(tmp_path / "out"), "-b", str(TINY)]
    result = CliRunner().invoke(main, [*words, "--engine", "ray"])
    assert (result.exit_code, result.stderr) == (1, "Error: ray not installed: pip install 'qa-onnx[ray]'\n")
    assert not (tmp_path / "out").exists()
    result = CliRunner().invoke(main, [*words, "--address", "auto"])
    assert result.exit_code == 2
    assert "--address is for --engine ray" in result.stderr
