"""Map jobs as commands: workers, kills and what is left of them, --resume, Ctrl-C, full disks."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx.errors import shown
from tests.conftest import TINY
from tests.mapping.jobs import output_of, rows, write
from tests.mapping.runner import GATE
from tests.waiting import PATIENCE_S, blocks, eventually, state_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("pyarrow", reason="needs qa-onnx[map]")
pytest.importorskip("fsspec", reason="needs qa-onnx[map]")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")]

COUNT = 90
SHARD = 10


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A folder for the signs by which a job is held."""
    (tmp_path / "gate").mkdir()
    return tmp_path / "gate"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of rows, one of which is bad."""
    given = rows(COUNT)
    given[13]["context"] = None
    return write(tmp_path / "rows.jsonl.gz", given)


def start(
    words: list[Any], gate: Path, *, shard: int = SHARD, prepare: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.mapping.runner", str(shard), "map", *map(str, words)]
    return subprocess.Popen(
        [*command, "-b", str(TINY), "--precision", "fp32"],
        env={**os.environ, GATE: str(gate), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509  # nothing here has threads
    )


def finished(process: subprocess.Popen[str], code: int = 0) -> str:
    out, errors = process.communicate(timeout=4 * PATIENCE_S)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert out == ""
    return errors


def digest(folder: Path) -> str:
    """A hash of all rows that does not depend on their order; each id must be there once."""
    found = output_of(folder)
    assert sorted(row["id"] for row in found) == sorted(row["id"] for row in rows(COUNT))
    lines = sorted(json.dumps(row, sort_keys=True) for row in found)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def workers_of(process: int) -> list[int]:
    """The processes that a process has started to work."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_job_that_is_killed_at_any_moment_goes_on(source: Path, gate: Path, tmp_path: Path) -> None:
    whole = finished(start([source, "--to", tmp_path / "whole", "--workers", "1"], gate))
    assert re.match(
        r"90 rows in .* written to .*/whole\n1 of 90 rows could not be answered, such as line 14 ", whole
    )
    out = tmp_path / "out"
    words = [source, "--to", out, "--workers", "2", "--resume"]
    for part, one_worker in (("part-00001.jsonl", True), ("part-00005.jsonl", False), ("_map.json", False)):
        (gate / "reached").unlink(missing_ok=True)
        (gate / "stop").write_text(part, encoding="utf-8")
        process = start(words if not one_worker else [*words[:-2], "1", "--resume"], gate)
        eventually((gate / "reached").exists, f"the job comes to {part}")
        workers = workers_of(process.pid)
        assert len(workers) == (0 if one_worker or part == "_map.json" else 2)
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        eventually(lambda: not any(state_of(one) not in {"", "Z"} for one in workers), "workers end with the job")  # noqa: B023
        assert list(out.glob(f".{part}.*.partial"))
        assert json.loads((out / "_map.json").read_text())["done"] is None
    (gate / "stop").unlink()
    end = finished(start(words, gate))
    assert "0 rows in" in end
    assert "; 90 rows were there before" in end
    assert digest(out) == digest(tmp_path / "whole")
    assert sorted(path.name for path in out.iterdir()) == sorted(p.name for p in (tmp_path / "whole").iterdir())


def test_a_worker_that_dies_is_named_with_its_shard(source: Path, gate: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (gate / "stop").write_text("part-00003.jsonl", encoding="utf-8")
    process = start([source, "--to", out, "--workers", "2"], gate)
    eventually((gate / "reached").exists, "the job comes to the part")
    eventually(lambda: len(list(out.glob("part-*"))) == COUNT // SHARD - 1, "the other worker does all others")
    held = [one for one in workers_of(process.pid) if _writes(one, "part-00003")]
    assert len(held) == 1
    os.kill(held[0], signal.SIGKILL)
    errors = finished(process, 1)
    assert errors.startswith("Error: the worker of part-00003.jsonl (rows 31 to 40 of ")
    assert "was killed by SIGKILL: is there memory for so many --workers?: go on with --resume" in errors
    (gate / "stop").unlink()
    finished(start([source, "--to", out, "--resume"], gate))
    digest(out)


def _writes(process: int, name: str) -> bool:
    links = list(Path(f"/proc/{process}/fd").iterdir())
    return any(name in str(link.readlink()) for link in links if link.is_symlink())


def test_ctrl_c_ends_all_workers_and_tells_how_to_go_on(source: Path, gate: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (gate / "stop").write_text("part-00002.jsonl", encoding="utf-8")
    process = start([source, "--to", out, "--workers", "2"], gate)
    eventually((gate / "reached").exists, "the job comes to the part")
    workers = workers_of(process.pid)
    assert len(workers) == 2
    assert all(blocks(one, signal.SIGINT) for one in workers)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    errors = finished(process, 130)
    assert errors == f"stopped: what is written stays in {out}; go on with --resume\n"
    assert not any(state_of(one) not in {"", "Z"} for one in workers)
    (gate / "stop").unlink()
    finished(start([source, "--to", out, "--resume"], gate))
    digest(out)


def _limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))


def test_a_full_disk(source: Path, gate: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = rows(COUNT)
    given[35]["context"] = "The sea is wide. " * 600
    write(source, given)
    errors = finished(start([source, "--to", out, "--workers", "1"], gate, prepare=_limit_files), 1)
    assert re.fullmatch(
        r"Error: part-00003.jsonl \(rows 31 to 40 of .*\): cannot write part-00003.jsonl in .*: File too large: "
        r"then go on with --resume\n",
        errors,
    )
    assert sorted(path.name for path in out.iterdir()) == ["_map.json", *(f"part-0000{n}.jsonl" for n in range(3))]
    finished(start([source, "--to", out, "--resume", "--workers", "1"], gate))
    digest(out)


def test_an_output_that_may_not_be_written(source: Path, gate: Path, tmp_path: Path) -> None:
    from tests.cli.test_faults import without_privileges

    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o555)
    for target in ("locked", "locked/new"):
        words = [source, "--to", tmp_path / target]
        errors = finished(start(words, gate, prepare=partial(without_privileges)), 1)
        name = re.escape(shown(str(tmp_path / target)))
        assert re.fullmatch(rf"Error: cannot write {name}: Permission denied.*\n", errors)
