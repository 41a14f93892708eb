"""Readers in other processes: forked from one that has used them, or sent there by pickle."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import Bundle, InputError, OnnxSession, Reader, Windower
from qa_onnx.testing import FakeSession
from tests.conftest import TINY, edit_manifest
from tests.exports import graph_path
from tests.fresh import printed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT = "The keeper lit the lamp at dusk. Ships saw it from afar."
BOTH = [
    "onnxruntime",
    pytest.param("openvino", marks=pytest.mark.skipif(not find_spec("openvino"), reason="extra")),
]

# A fresh interpreter with two threads a session: it runs, forks, and each child answers and ends by itself.
FORKING = f"""
import os, sys, time
from qa_onnx import Reader
TEXT = {TEXT!r}
reader = Reader.load(sys.argv[1], precision="fp32", engine=sys.argv[2], threads=2)
unused = Reader.load(sys.argv[1], precision="fp32", engine=sys.argv[2], threads=2)
expected = reader.ask("Where?", TEXT)
many = [("Where?", TEXT)] * 100  # enough for runs side by side
of_many = reader.predict(many)

def child(work):
    process = os.fork()
    if process == 0:
        sys.exit(work())
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(process, 9)
    return "it hangs"

def same():
    same = all(reader.ask("Where?", TEXT) == expected for _ in range(20))
    return 0 if same and reader.predict(many) == of_many else 1

print(child(same), child(lambda: 0), child(lambda: child(same)), reader.ask("Where?", TEXT) == expected)
"""


@pytest.fixture
def everywhere(tiny_copy: Path) -> Path:
    """A bundle whose fp32 graph runs in both engines."""
    places = ["onnxruntime/cpu", "openvino/cpu"]
    edit_manifest(tiny_copy, lambda content: content["graphs"]["fp32"].update(engines=places))
    return tiny_copy


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks on Windows")
@pytest.mark.parametrize("engine", BOTH)
def test_forked_processes_answer_and_end(everywhere: Path, engine: str) -> None:
    """Child, child that asks nothing, grandchild, and the parent afterwards."""
    assert printed(FORKING, everywhere, engine) == "0 0 0 True\n"


@pytest.mark.parametrize("engine", BOTH)
def test_a_reader_pickles_by_its_path_and_options(everywhere: Path, engine: Any) -> None:
    reader = Reader.load(everywhere, precision="fp32", engine=engine, threads=1)
    reader.options = replace(reader.options, n_best=3)
    pickled = pickle.dumps(reader)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert (str(again.backend), again.precision) == (f"{engine}/cpu", "fp32")
    assert again.options == reader.options
    assert again.ask("Where?", TEXT) == reader.ask("Where?", TEXT)


def test_every_argument_of_load_is_in_the_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader.load(TINY, precision="fp32", threads=1)
    names = inspect.signature(Reader.load).parameters.keys()
    pickled = pickle.dumps(reader)
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(Reader, "load", lambda bundle, **arguments: seen.append({"bundle": bundle, **arguments}))
    pickle.loads(pickled)
    assert seen[0].keys() == names - {"revision"}  # the path is that of the revision
    assert seen[0]["bundle"] == TINY.absolute()
    assert (seen[0]["precision"], seen[0]["threads"], seen[0]["allow_fallback"]) == ("fp32", 1, False)


def test_a_relative_path_is_the_same_bundle_in_another_folder(
    everywhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(everywhere.parent)
    pickled = [
        pickle.dumps(Reader.load(source, threads=1)) for source in (everywhere.name, Bundle.load(everywhere))
    ]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for data in pickled:
        assert pickle.loads(data).precision == "int8"


def test_the_default_bundle_is_that_of_the_other_machine() -> None:
    assert b"minilm" not in pickle.dumps(Reader.load(threads=1))


@pytest.mark.parametrize("do", [pickle.dumps, copy.deepcopy])
def test_a_reader_of_parts_says_why_it_does_not_pickle(windower: Windower, do: Callable[[Any], Any]) -> None:
    with pytest.raises(InputError, match=r"made of parts, and cannot be pickled: pickle one from Reader\.load"):
        do(Reader(session=FakeSession(), windower=windower))


def test_a_session_pickles_by_its_arguments(tiny_bundle: Bundle) -> None:
    session = OnnxSession(graph_path(tiny_bundle, "fp32"), threads=1)
    again = pickle.loads(pickle.dumps(session))
    inputs = {name: np.ones((1, 7), np.int64) for name in session.input_names}
    np.testing.assert_array_equal(np.stack(again.run(inputs)), np.stack(session.run(inputs)))
    assert pickle.dumps(again) == pickle.dumps(session)


def test_onnx_runtime_reports_nothing_to_its_maker(tmp_path: Path) -> None:
    code = f"""
import os, sys
before = dict(os.environ)
from qa_onnx import Reader
Reader.load({str(TINY)!r}, threads=1).ask("a", "b")
from pathlib import Path
print(os.environ == before, sorted(path.name for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*")))
"""
    assert printed(code, XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path)) == "True []\n"
