"""`qa-onnx map` on many rows: speed, memory, and whether a job that is killed and goes on gives the same rows.

    python benchmarks/map_scale.py [--rows 2000 40000] [--engine local ray] [--workers 2] [--kills 3] [--bundle B]

Makes rows of mixed lengths, one of a thousand of which is bad, answers them once as a whole, and then with so
many kills of the job's first process (SIGKILL), each followed by --resume. The digest does not depend on the
order of the rows. Exits with 1 if the digests differ, or an id is missing or there twice. Memory is the peak of
one process: of the first one, whose memory must not grow with the rows, and of the largest worker. Needs Linux.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages import Page, finish, parser

if TYPE_CHECKING:
    from argparse import Namespace

ARTICLE = Path(__file__).parents[1] / "examples" / "lighthouse.txt"
QUESTIONS = ("Who designed the tower?", "How many steps are there?", "When?", "How far could it be seen?")
BAD_EVERY = 1000  # rows
LONGEST = 400  # words of a context
GROUP = 5000  # rows of a row group
QUICK = [500]


def make(path: Path, rows: int) -> None:
    """Write a Parquet file of so many rows, group by group."""
    import pyarrow as pa
    from pyarrow import parquet

    words = ARTICLE.read_text(encoding="utf-8").split()
    draw = random.Random(0)
    schema = pa.schema([("id", pa.int64()), ("question", pa.string()), ("context", pa.string())])
    with parquet.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, GROUP):
            group = []
            for number in range(first, min(rows, first + GROUP)):
                at, length = draw.randrange(len(words)), 3 + int(LONGEST * draw.random() ** 2)
                context = " ".join([str(number), *(words[(at + step) % len(words)] for step in range(length))])
                bad = number % BAD_EVERY == BAD_EVERY // 2
                group.append(
                    {"id": number, "question": draw.choice(QUESTIONS), "context": None if bad else context}
                )
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def digest(folder: Path, rows: int) -> str:
    """Return a hash of all rows that does not depend on their order, or what is wrong with their ids."""
    from pyarrow import parquet

    total, seen, count = 0, bytearray(rows), 0
    for part in sorted(folder.glob("part-*")):
        for row in parquet.read_table(part).to_pylist():
            seen[row["id"]] += 1
            count += 1
            total += int.from_bytes(hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest(), "big")
    if count != rows or any(one != 1 for one in seen):
        return f"{seen.count(0)} missing, {count - rows + seen.count(0)} twice"
    return f"{total % (1 << 256):064x}"[:16]


class Watched:
    """A job, and the most memory of its processes in bytes."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.driver = self.worker = 0

    def look(self) -> bool:
        """Look at the processes; return whether the job goes on."""
        self.driver = max(self.driver, _peak(self.process.pid))
        for folder in Path("/proc").glob("[0-9]*"):
            if _is_worker(folder, self.process.pid):
                self.worker = max(self.worker, _peak(int(folder.name)))
        time.sleep(0.1)
        return self.process.poll() is None


def _is_worker(folder: Path, job: int) -> bool:
    try:
        command = (folder / "cmdline").read_bytes()
        parent = int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return False
    return command.startswith(b"ray::MapWorker") or (parent == job and b"spawn_main" in command)


def _peak(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def whole(command: list[str]) -> tuple[Watched, float]:
    """Run a job to its end; return it and the seconds."""
    started = time.perf_counter()
    job = Watched(command)
    while job.look():
        pass
    seconds = time.perf_counter() - started
    if job.process.returncode:
        raise SystemExit(f"{' '.join(command)}: {job.process.communicate()[1]}")
    return job, seconds


def killed(command: list[str], output: Path, parts: int, kills: int) -> None:
    """Kill a job at random moments, so many times, and let it go on to its end."""
    draw = random.Random(1)
    for number in range(1, kills + 1):
        job = Watched([*command, "--resume"])
        wanted = number * parts // (kills + 1)
        while job.look() and len(list(output.glob("part-*"))) < wanted:
            pass
        time.sleep(draw.random())
        job.process.kill()
        job.process.communicate()
    whole([*command, "--resume"])


def measure(chosen: Namespace, folder: Path) -> tuple[Page, bool]:
    """Return the page, and whether all digests agree."""
    lines, good = [], True
    for rows in chosen.rows:
        source = folder / f"{rows}.parquet"
        make(source, rows)
        digests = set()
        for engine in chosen.engine:
            words = ["map", str(source), "--engine", engine, "--workers", str(chosen.workers)]
            words += ["--precision", chosen.precision] if chosen.precision else []
            words += ["--bundle", str(chosen.bundle)] if chosen.bundle else []
            once, again = folder / f"{engine}-{rows}", folder / f"{engine}-{rows}-killed"
            command = [sys.executable, "-m", "qa_onnx", *words, "--to"]
            job, seconds = whole([*command, str(once)])
            killed([*command, str(again)], again, len(list(once.glob("part-*"))), chosen.kills)
            pair = [digest(once, rows), digest(again, rows)]
            digests |= set(pair)
            memory = [f"{size / 1e6:.0f}" if size else "-" for size in (job.driver, job.worker)]
            lines.append((engine, f"{rows:,}", f"{rows / seconds:,.0f}", *memory, f"{chosen.kills}", *pair))
        good = good and len(digests) == 1
    head = ("engine", "rows", "rows/s", "driver MB", "worker MB", "kills", "digest", "digest after kills")
    notes = (
        f"{chosen.workers} workers of one thread; rows/s with start and end of the job; contexts of 3 to "
        f"{LONGEST + 2} words",
        "all digests of as many rows are the same" if good else "DIGESTS DIFFER",
    )
    return Page(title="map: speed, memory, kills", head=head, rows=tuple(lines), notes=notes), good


def main(arguments: Any = None) -> None:
    """Run the script."""
    cli = parser(__doc__)
    cli.add_argument("--rows", type=int, nargs="+", default=[2000, 40_000])
    cli.add_argument("--engine", nargs="+", choices=["local", "ray"], default=["local"])
    cli.add_argument("--workers", type=int, default=2)
    cli.add_argument("--kills", type=int, default=3)
    cli.add_argument("--bundle", type=Path)
    cli.add_argument("--precision")
    chosen = cli.parse_args(arguments)
    if min(chosen.rows) < 1 or chosen.workers < 1 or chosen.kills < 0:
        cli.error("--rows and --workers must be at least 1, --kills at least 0")
    if chosen.quick:
        chosen.rows, chosen.kills = QUICK, 1
    with tempfile.TemporaryDirectory() as folder:
        page, good = measure(chosen, Path(folder))
    finish(page, chosen.json)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
