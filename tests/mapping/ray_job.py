"""`python -m tests.mapping.ray_job INPUT OUTPUT PART`: a job on a Ray of its own, whose worker dies at a part.

It dies once, before the part has its name. PART is "" for none, and "load" for the time that its reader is loaded;
after a "!" it dies each time.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from qa_onnx.errors import QaOnnxError
from qa_onnx.mapping import Asked
from qa_onnx.mapping import plan as plans
from qa_onnx.mapping.job import plan_job
from qa_onnx.mapping.on_ray import run_ray
from qa_onnx.mapping.places import OutputFolder
from tests.conftest import TINY
from tests.mapping.jobs import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qa_onnx import Options, Reader


def load_and_die(bundle: Path, *, part: str, mark: Path) -> tuple[Reader, Options]:
    """A reader, in a process that dies at a part."""
    whole = OutputFolder.whole

    def die(place: str) -> None:
        if place == part.removeprefix("!") and (part.startswith("!") or not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def dying(self: OutputFolder, name: str) -> Iterator[IO[bytes]]:
        with whole(self, name) as file:
            yield file
            file.flush()
            die(name)

    die("load")
    OutputFolder.whole = dying  # type: ignore[method-assign]
    return load(bundle)


if __name__ == "__main__":
    source, target, dying_part = sys.argv[1:]
    plans.SHARD_ROWS = 10
    job = plan_job(
        [source],
        target,
        asked=Asked(),
        bundle=TINY,
        load=partial(load_and_die, part=dying_part, mark=Path(f"{target}.died")),
        settings={},
        resume=True,
    )
    try:
        *_, last = job.run(partial(run_ray, workers=1, threads=1, on_gpu=False, address="local"))
    except QaOnnxError as error:
        sys.exit(str(error))
    print(last.rows, last.failed)  # noqa: T201
