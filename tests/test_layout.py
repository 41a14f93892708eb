"""The layout of the package: what each file of the root and each room may import, and that names are unique."""

from __future__ import annotations

import ast
import builtins
import sys
from collections import Counter
from pathlib import Path

import pytest

import qa_onnx
from tests.shape import too_long

PACKAGE = Path(qa_onnx.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A box is a file of the root or a room. Each may import those boxes, for type checking included, and itself.
_PATH = {
    "errors",
    "options",
    "windows",
    "batches",
    "session",
    "spans",
    "probabilities",
    "groups",
    "answers",
    "steps",
}
_ALL = _PATH | {
    "reader",
    "tokens",
    "engines",
    "machine",
    "bundle",
    "dynamic_batching",
    "pipelines",
    "evaluation",
    "data",
    "mapping",
    "documents",
    "retrieval",
}
BOXES = {
    "errors": set(),
    "options": {"errors"},
    "tokens": {"errors"},
    "windows": {"errors", "options", "tokens"},
    "session": {"errors"},
    "batches": {"errors", "windows", "session"},
    "spans": {"windows"},
    "probabilities": {"errors", "spans"},
    "groups": {"options", "spans", "probabilities", "tokens"},
    "answers": {"errors", "options", "windows", "spans", "probabilities", "groups"},
    "machine": {"errors"},
    "data": {"errors", "machine"},
    "engines": {"errors", "options", "session", "machine"},
    "steps": (_PATH - {"steps"}) | {"engines"},
    "bundle": {"errors", "options", "windows", "session", "engines", "machine"},
    "reader": _PATH | {"engines", "bundle"},
    "evaluation": _PATH | {"reader", "engines", "bundle", "data"},
    "dynamic_batching": _PATH | {"reader"},
    "pipelines": _PATH | {"reader", "engines", "bundle", "export"},
    "mapping": _PATH | {"reader", "engines", "machine", "bundle", "data"},
    "documents": {"errors", "machine", "data", "tokens"},
    "retrieval": _PATH | {"reader", "machine", "documents", "data"},
    "client": {"errors", "options", "windows", "answers", "machine"},
    "testing": _PATH | {"reader", "tokens"},
    "__init__": _ALL - {"data", "evaluation", "mapping"},
    "doctor": _ALL | {"__init__"},
    "export": _ALL | {"__init__"},
    "appearance": set(),
    "serve": _ALL | {"__init__", "appearance"},
    "train": _ALL | {"__init__", "export", "appearance"},
    "bench": _ALL | {"__init__", "export", "doctor", "appearance"},
    "cli": _ALL | {"__init__", "export", "doctor", "serve", "train", "bench"},
    "__main__": {"cli"},
}
UPWARD = {("pipelines", "export")}  # a checkpoint that is handed to `pipeline` is exported first

# Which boxes may import a package that is not of the standard library; numpy: any.
RUN_TIME = {
    box for box in BOXES if box not in {"export", "serve", "appearance", "train", "bench", "cli", "__main__"}
}
PACKAGES = {
    "tokenizers": {"tokens", "testing"},
    "onnxruntime": {"engines", "machine"},
    "openvino": {"engines"},
    "httpx": {"client"},
    "msgspec": {"bundle", "data", "evaluation", "tokens", "retrieval", "client"},
    "huggingface_hub": {"bundle"},
    "cryptography": {"bundle"},  # imported where a bundle is signed, or its signature is checked
    "packaging": {"machine"},
    "pyarrow": {
        "data",
        "mapping",
    },  # imported where a Parquet or Zstandard file is read, and where rows are answered
    "fsspec": {"mapping"},  # imported where files of a map job are read and written
    "ray": {"mapping"},  # imported where a map job runs on a cluster
    "datasets": {"data"},  # imported where the name of a hub data set is read
    "regex": {"tokens", "documents", "retrieval"},
    "pypdfium2": {"documents"},  # these are imported in the process that takes the text out of a file
    "selectolax": {"documents"},
    "markdown_it": {"documents"},
    "bm25s": {"retrieval"},  # imported where terms are scored
}


def box_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of what a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def boxes_imported(path: Path) -> set[str]:
    parts = [name.split(".") for name in imported(path) if name.split(".")[0] == "qa_onnx"]
    return {part[1] if len(part) > 1 and part[1] in BOXES else "__init__" for part in parts} - {box_of(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_what_its_box_may(path: Path) -> None:
    assert boxes_imported(path) <= BOXES[box_of(path)]


def test_no_box_imports_one_above_it() -> None:
    above = [
        (box, other)
        for box, others in BOXES.items()
        for other in others
        if list(BOXES).index(other) >= list(BOXES).index(box)
    ]
    assert set(above) == UPWARD


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_run_time_imports_nothing_of_an_extra(path: Path) -> None:
    packages = {name.partition(".")[0] for name in imported(path)} - sys.stdlib_module_names - {"qa_onnx", "numpy"}
    if box_of(path) in RUN_TIME:
        assert {name for name in packages if box_of(path) not in PACKAGES.get(name, set())} == set()


def test_the_root_is_the_road_of_the_data() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == _PATH | {"reader", "testing", "__init__", "__main__"}


def test_a_room_says_what_it_is_for() -> None:
    for path in PACKAGE.glob("*/__init__.py"):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert text is not None
        assert "May import" in text or box_of(path) not in RUN_TIME
        assert "Left out:" in text


def test_no_file_hides_a_builtin_from_the_init_of_its_room() -> None:
    """Importing `room.map` sets the name `map` in `room/__init__.py`."""
    for path in PACKAGE.rglob("__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert used & set(dir(builtins)) & {other.stem for other in path.parent.iterdir()} == set()


def test_class_names_are_unique() -> None:
    names = Counter(
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_nothing_is_too_long() -> None:
    assert too_long(PACKAGE) == []
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.glob("*.py")}
    assert {name: count for name, count in lines.items() if count > 250} == {}
