"""The public names, and what importing and reading may touch."""

from __future__ import annotations

import doctest
import inspect
import re

import pytest

import qa_onnx
from qa_onnx import QaOnnxError, errors
from tests.conftest import TINY
from tests.fresh import printed

HEAVY = ("torch", "transformers", "optimum", "onnx", "rich", "click", "fastapi", "matplotlib")


def test_all_is_sorted_and_every_name_is_there() -> None:
    assert qa_onnx.__all__ == sorted(qa_onnx.__all__)
    assert len(set(qa_onnx.__all__)) == len(qa_onnx.__all__)
    namespace: dict[str, object] = {}
    exec("from qa_onnx import *", namespace)
    assert set(qa_onnx.__all__) <= set(namespace)


def test_nothing_public_is_left_out_of_all() -> None:
    public = {name for name, value in vars(qa_onnx).items() if name[0] != "_" and not inspect.ismodule(value)}
    public -= {"Any", "TYPE_CHECKING"}
    assert public | {"AsyncReader"} == set(qa_onnx.__all__) - {"__version__"}


def test_asyncio_is_imported_with_what_needs_it() -> None:
    loaded = "print('asyncio' in sys.modules)"
    assert printed(f"import sys, qa_onnx; {loaded}; qa_onnx.AsyncReader; {loaded}").split() == ["False", "True"]
    with pytest.raises(AttributeError, match="module 'qa_onnx' has no attribute 'Nothing'"):
        qa_onnx.Nothing  # noqa: B018


def test_the_version_has_three_numbers() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", qa_onnx.__version__)


def test_the_example_in_the_docstring_is_true() -> None:
    outcome = doctest.testmod(qa_onnx)
    assert outcome.attempted == 3
    assert outcome.failed == 0


READ = f"""
reader = qa_onnx.Reader.load({str(TINY)!r}, threads=1)
reader.ask("Where is it?", "It is here.")
"""


@pytest.mark.parametrize("then", ["", READ], ids=["import", "load and ask"])
def test_reading_imports_nothing_of_exporting_training_or_the_command_line(then: str) -> None:
    loaded = set(
        printed(f"import sys, qa_onnx\n{then}\nprint(*{{name.partition('.')[0] for name in sys.modules}})").split()
    )
    assert not loaded & set(HEAVY)
    assert "tokenizers" in loaded
    assert ("onnxruntime" in loaded) is bool(then)


@pytest.mark.parametrize("then", ["", READ], ids=["import", "load and ask"])
def test_the_hosts_environment_logging_and_signals_stay_as_they_are(then: str) -> None:
    code = f"""
import logging, os, signal, warnings
import numpy, tokenizers
def state():
    handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
    filters = [*warnings.filters]
    return dict(os.environ), [*logging.root.handlers], logging.root.level, handlers, filters
before = state()
import qa_onnx
{then}
assert state() == before
"""
    assert printed(code) == ""


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn = {}
    above = {0: "Exception"}
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        if match := re.match(r"^([ │├└─]*)([A-Z]\w+(?:Error))\b", line):
            depth = len(match[1])
            above[depth] = match[2]
            also = re.search(r"\(also an? (\w+)\)", line)
            parent = max((at, name) for at, name in above.items() if at < depth)[1]
            drawn[match[2]] = [parent, also[1]] if also else [parent]
    classes = {
        name: [base.__name__ for base in value.__bases__]
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }
    assert drawn == classes
    assert all(name in qa_onnx.__all__ for name in classes)
    assert all(issubclass(getattr(errors, name), QaOnnxError) for name in classes)
