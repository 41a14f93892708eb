"""`python -m tests.mapping.runner GATE ROWS WORD...`: `qa-onnx map WORD...` with shards of so many rows.

GATE is a folder. Where it has a file `stop`, whose content is the name of a part, a worker that comes to that part
stands still before it is written, after it made the file `reached`; `stop-manifest` does so for the last manifest.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from qa_onnx.cli import main
from qa_onnx.mapping import plan
from qa_onnx.mapping.places import OutputFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

GATE = "QA_ONNX_TEST_GATE"
_whole = OutputFolder.whole


@contextmanager
def _gated(self: OutputFolder, name: str) -> Iterator[IO[bytes]]:
    gate = Path(os.environ[GATE])
    with _whole(self, name) as file:
        yield file
        stop = gate / "stop"
        if stop.exists() and stop.read_text(encoding="utf-8") == name and list(Path(self.name).glob("part-*")):
            file.flush()
            (gate / "reached").touch()
            time.sleep(3600)


if GATE in os.environ:  # in workers too, which import the main module again
    OutputFolder.whole = _gated  # type: ignore[method-assign]

if __name__ == "__main__":
    plan.SHARD_ROWS = int(sys.argv[1])
    main(sys.argv[2:], prog_name="qa-onnx")
