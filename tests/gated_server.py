"""The command line with an engine that a test can hold: `python -m tests.gated_server FOLDER serve ...`.

A run waits while the file FOLDER/held exists and is empty, or has the id of a token of the batch; while one waits,
FOLDER/waiting exists. So a request takes as long as a test needs, on a machine of any speed. Runs end when
they are asked to, unless FOLDER/deaf exists.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx import OnnxSession
from qa_onnx.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.session import Arrays, Stop


def holds(folder: Path, ids: NDArray[np.int64]) -> bool:
    """Return whether a batch with these token ids must wait."""
    try:
        token = (folder / "held").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return not token or bool((ids == int(token)).any())


def gate(folder: Path) -> None:
    """Make every run of this process wait for the folder."""
    plain = OnnxSession.run

    def run(self: OnnxSession, inputs: Mapping[str, NDArray[np.int64]], *, stop: Stop | None = None) -> Arrays:
        while holds(folder, inputs["input_ids"]):
            (folder / "waiting").touch()
            if stop is not None and stop.requested and not (folder / "deaf").exists():
                break
            time.sleep(0.01)
        (folder / "waiting").unlink(missing_ok=True)
        return plain(self, inputs, stop=stop)

    OnnxSession.run = run  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    os.environ["QA_ONNX_TEST_GATE"] = sys.argv.pop(1)
if __name__ in {"__main__", "__mp_main__"}:  # multiprocessing's name for it in a worker
    gate(Path(os.environ["QA_ONNX_TEST_GATE"]))
if __name__ == "__main__":
    main(prog_name="qa-onnx")
