"""A process that runs one target on many inputs, and says on stdout what it does; see supervisor.py.

Its memory is limited, and the CPU time of each input, so that it dies rather than hurt the machine. The input that
it is at lies in a file, for the supervisor to find.
"""

from __future__ import annotations

import faulthandler
import functools
import itertools
import json
import os
import pkgutil
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from qa_onnx import QaOnnxError
from tests.fuzz.targets import TARGETS, BrokenPromiseError

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

CPU_S = 20  # of an input
MEMORY = 2 << 30  # bytes beyond what the worker has before its first input
MESSAGE = 500  # characters of an error's message
_CORPUS = 400  # inputs
_ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run inputs until a number or a time is reached; the arguments are JSON."""
    job = json.loads(sys.argv[1])
    folder = Path(job["folder"])
    _out()
    os.dup2(2, 1)  # what libraries print, also those in C, goes to stderr
    warnings.simplefilter("ignore")
    with (folder / "stack").open("w") as stack:
        faulthandler.enable(stack)
        faulthandler.register(signal.SIGPROF, stack, chain=True)
        name = job["target"]
        with (TARGETS.get(name) or pkgutil.resolve_name(name))(folder) as target:
            _limit_memory()
            if job["input"]:
                _try(target, Path(job["input"]).read_bytes(), job)
                return
            _check_seeds(target)
            _run(target, job)


def _check_seeds(target: Target) -> None:
    """Make sure that the target works: an unchanged seed must be accepted, or all findings would be of no use."""
    for seed in target.seeds if target.accepts_seeds else ():
        target.run(seed)


def _run(target: Target, job: dict[str, Any]) -> None:
    rng = random.Random(f"{job['target']} {job['seed']}")
    corpus, outcomes = list(target.seeds), set()
    stop = time.monotonic() + job["seconds"]
    for number in itertools.count(1):
        if number > job["executions"] or time.monotonic() > stop:
            break
        data = rng.choice(target.changes)(rng, rng.choice(corpus))
        outcome = _try(target, data, job)
        if outcome not in outcomes and len(corpus) < _CORPUS:
            outcomes.add(outcome)
            corpus.append(data)
        _say(execution=number, corpus=len(corpus))
    _say(done=True)


def _try(target: Target, data: bytes, job: dict[str, Any]) -> str:
    """Run one input, say what was found, and return where it ended."""
    Path(job["folder"], "input").write_bytes(data)
    _say(began=True)
    signal.setitimer(signal.ITIMER_PROF, job["cpu_s"])
    try:
        target.run(data)
    except QaOnnxError as error:
        place = _place(error)
        text = str(error)
        if len(text) > MESSAGE or not text.isprintable():
            problem = "its message is too long" if len(text) > MESSAGE else "its message has escapes"
            _found(f"{problem}, at {place}", f"{type(error).__name__}: {text[:2000]!r}", data)
        return place
    except BrokenPromiseError as error:
        _found(str(error), str(error), data)
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in Rust is not an Exception
        place = _place(error)
        _found(place, "".join(traceback.format_exception(error, limit=-12))[-4000:], data)
        return place
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "success"


def _place(error: BaseException) -> str:
    """The class of an error, and the last line of this project that it went through."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if _ROOT in Path(frame.filename).parents
    ]
    frame = frames[-1]
    return f"{type(error).__name__} at {Path(frame.filename).relative_to(_ROOT)}:{frame.lineno} in {frame.name}"


def _found(key: str, detail: str, data: bytes) -> None:
    _say(finding={"key": key, "detail": detail, "input": data.hex()})


def _say(**content: object) -> None:
    _out().write(json.dumps(content) + "\n")
    _out().flush()


@functools.cache
def _out() -> IO[str]:
    return os.fdopen(os.dup(1), "w")


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
