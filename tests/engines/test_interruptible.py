"""Ctrl-C, and what other signal handlers raise, ends a run of the main thread."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from qa_onnx.engines.interruptible import interruptible
from tests.fresh import printed
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx import Windower
    from qa_onnx.session import Stop


def test_only_the_main_thread_has_a_helper() -> None:
    def name(_: Stop) -> str:
        return threading.current_thread().name

    assert interruptible(name) == interruptible(name) == "qa-onnx main run"
    with ThreadPoolExecutor(1, "other") as pool:
        assert pool.submit(interruptible, name).result(PATIENCE_S).startswith("other")


def test_errors_are_raised_where_the_run_was_called() -> None:
    def fail(_: Stop) -> None:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            interruptible(fail)


def test_a_signal_handler_may_run_something_itself_or_raise() -> None:
    ended, inside = threading.Event(), list[str]()

    def nested(*_: object) -> None:
        inside.append(interruptible(lambda _: "nested"))
        raise KeyboardInterrupt

    def hang(stop: Stop) -> None:
        with stop.ends(ended.set):
            threading.Timer(0, os.kill, (os.getpid(), signal.SIGINT)).start()
            assert ended.wait(PATIENCE_S)

    before = signal.signal(signal.SIGINT, nested)
    try:
        with pytest.raises(KeyboardInterrupt):
            interruptible(hang)
    finally:
        signal.signal(signal.SIGINT, before)
    assert inside == ["nested"]
    assert ended.is_set()
    assert interruptible(lambda _: "next") == "next"


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
from qa_onnx import OnnxSession, Reader, Windower
from tests.graphs import Unchecked
from tests.test_reader import SMALL

windower = Windower(Path(sys.argv[2]).read_text())
reader = Reader(session=OnnxSession(Unchecked(Path(sys.argv[1])), threads=1), windower=windower, options=SMALL)
expected = reader.predict([("a", "the a")])
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    reader.ask("boat", "the a")  # for ever
except KeyboardInterrupt:
    print("interrupted")
assert reader.predict([("a", "the a")]) == expected
"""


def test_ctrl_c_ends_a_run_that_would_go_on_for_ever(tmp_path: Path, windower: Windower) -> None:
    from tests import graphs
    from tests.conftest import TINY_TOKENIZER
    from tests.dynamic_batching.fakes import token

    path = graphs.endless_loop(tmp_path / "model.onnx", token(windower, "boat"))
    assert printed(INTERRUPTED, path, TINY_TOKENIZER) == "interrupted\n"
