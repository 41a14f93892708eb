"""Commands that are killed at random moments while they write: what was there before must stay whole.

    python -m tests.kills export --runs 50 --seed 1
    python -m tests.kills train --runs 50 --seed 1
    python -m tests.kills batch --runs 50 --seed 1

A run is a process of the command line on a tiny model. It is killed by SIGKILL at a random moment between its
first write and the time that a whole run takes, half of the runs near their end, where results are put in place.
After each kill the result is loaded, and is, byte for byte, the old one or the new one; at the end one more run
comes to its end and leaves nothing beside its result.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests import training_data
from tests.conftest import TINY
from tests.exports import check_files, checkpoint, snapshot

_TEMPORARY = (".export", "lock", "result.jsonl.partial")
_ROWS = 3000


class Victim:
    """A command that writes a result, and what must hold of that.

    Args:
        kind: "export", "train" or "batch".
        folder: for all files.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.result = folder / ("result.jsonl" if kind == "batch" else "result")
        self.work = {"export": self.result, "train": folder / "result.partial", "batch": folder}[kind]
        if kind == "export":
            options = ["--max-length", "64", "--precision", "fp32", "--precision", "int8"]
            self.command = ["export", str(checkpoint("bert")), "--to", str(self.result), *options]
        elif kind == "train":
            data = str(training_data.write(folder / "data.json"))
            options = ["--max-length", "96", "--epochs", "0.5", "--evaluations", "3", "--replace"]
            self.command = ["train", str(checkpoint("bert")), data, "--to", str(self.result), *options]
        else:
            questions, options = folder / "questions.jsonl", ["-b", str(TINY), "--output", str(self.result)]
            row = {"question": "What colour is the boat?", "context": "The boat is blue. It has a sail."}
            questions.write_text("".join(json.dumps({"id": n, **row}) + "\n" for n in range(_ROWS)))
            self.command = ["ask", "--input", str(questions), *options]

    def reset(self) -> None:
        """Put another result where the next one will be written, if one run's result is as the other's."""
        if self.kind == "batch":
            self.result.write_text('{"old": true}\n' * _ROWS)

    def start(self) -> subprocess.Popen[bytes]:
        """Start a run."""
        command = [sys.executable, "-m", "qa_onnx", *self.command]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def writes(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until a run begins to write; return False if it ended before."""
        while process.poll() is None:
            if any(path.name.startswith(_TEMPORARY) for path in self.work.glob("*")):
                return True
            time.sleep(0.005)
        return False

    def whole(self) -> dict[str, str]:
        """The files of the result with their hashes, after it was loaded."""
        if self.kind == "export":
            check_files(self.result)
        if self.kind == "batch":
            lines = self.result.read_text().splitlines()
            assert len([json.loads(line) for line in lines]) == _ROWS, "lines are missing"
            return {"": hashlib.sha256(self.result.read_bytes()).hexdigest()}
        files = snapshot(self.result)
        return {name: sha256 for name, sha256 in files.items() if not name.startswith(_TEMPORARY)}

    def leftovers(self) -> list[str]:
        """Names of what no run may leave."""
        inside = [path.name for path in self.result.glob(".*")] if self.result.is_dir() else []
        beside = [path.name for path in self.result.parent.glob("result.*") if path != self.result]
        return inside + beside


def kill(victim: Victim, runs: int, chance: random.Random) -> Counter[str]:
    """Kill so many runs; return how often the old result stayed and the new one was there."""
    whole_run = victim.start()
    victim.writes(whole_run)
    began = time.monotonic()
    assert whole_run.wait() == 0, "a run that is not killed failed"
    seconds = time.monotonic() - began
    victim.whole()
    outcomes: Counter[str] = Counter()
    for number in range(runs):
        victim.reset()
        before = victim.whole()
        process = victim.start()
        if victim.writes(process):
            time.sleep(chance.choice((chance.uniform(0, seconds), chance.uniform(0.9 * seconds, 1.1 * seconds))))
        process.kill()
        ended = process.wait() == 0
        after = victim.whole()
        if after == before:
            outcomes["old"] += 1
        else:
            kept = after.keys() & before.keys()
            assert ended or any(after[name] != before[name] for name in kept), "a file is missing"
            outcomes["new"] += 1
        sys.stdout.write(f"{number + 1}: {dict(outcomes)}\n")
        sys.stdout.flush()
    assert victim.start().wait() == 0, "the run after the kills failed"
    victim.whole()
    assert victim.leftovers() == [], "temporary files are left"
    return outcomes


def main() -> None:
    """Kill runs as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("kind", choices=("export", "train", "batch"))
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qa-onnx-kills-") as scratch:
        outcomes = kill(Victim(options.kind, Path(scratch)), options.runs, random.Random(options.seed))
    sys.stdout.write(f"{options.runs} kills: {dict(outcomes)}; every result whole, nothing left behind\n")


if __name__ == "__main__":
    main()
