"""The reader of a process: one for all threads and calls, also in a process that forks."""

from __future__ import annotations

import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from qa_onnx import BundleError
from qa_onnx.mapping import cached_reader
from tests.conftest import TINY
from tests.fresh import printed

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx import Reader

THREADS = 8
QUESTION, CONTEXT = "Who keeps the bees?", "Anna keeps the bees."


def test_a_bundle_and_its_arguments_have_one_reader(tiny_reader: Reader) -> None:
    one = cached_reader(TINY, precision="fp32", threads=1)
    assert cached_reader(TINY, precision="fp32", threads=1) is one
    assert cached_reader(TINY, precision="int8", threads=1).precision == "int8"
    assert one.ask(QUESTION, CONTEXT) == tiny_reader.ask(QUESTION, CONTEXT)


def test_threads_that_come_together_load_it_once(tiny_copy: Path) -> None:
    together = Barrier(THREADS)

    def load(_: int) -> Reader:
        together.wait()
        return cached_reader(tiny_copy, threads=1)

    with ThreadPoolExecutor(THREADS) as pool:
        assert len(set(pool.map(load, range(THREADS)))) == 1


def test_a_pickle_of_it_is_a_name() -> None:
    """An engine sends the function again for each part, and it must find the reader of the part before."""
    assert pickle.loads(pickle.dumps(cached_reader)) is cached_reader


def test_an_error_is_not_kept(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    with pytest.raises(BundleError):
        cached_reader(folder, threads=1)
    shutil.copytree(TINY, folder)
    assert cached_reader(folder, threads=1).ask(QUESTION, CONTEXT)


# A thread of the parent is inside of a load when it forks.
FORK = """
import os, sys
from threading import Event, Thread
from qa_onnx.mapping import cached, cached_reader

inside, go_on = Event(), Event()
load = cached._load
cached._load = lambda *a, **b: (inside.set(), go_on.wait(), load(*a, **b))[2]
thread = Thread(target=cached_reader, args=[sys.argv[1]], kwargs={"threads": 1, "precision": "fp32"})
thread.start()
inside.wait()
cached._load = load
process = os.fork()
if not process:
    reader = cached_reader(sys.argv[1], threads=1, precision="fp32")
    print(reader.ask("Who keeps the bees?", "Anna keeps the bees.").text, flush=True)
    os._exit(0)
go_on.set()
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks on Windows")
def test_a_process_that_forks_during_a_load_has_its_own(tiny_reader: Reader) -> None:
    expected = tiny_reader.ask(QUESTION, CONTEXT).text
    assert printed(FORK, TINY) == f"{expected}\n"
