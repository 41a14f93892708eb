"""Which files are found in folders, and by patterns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qa_onnx import InputError
from qa_onnx.documents import find_documents

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    for name in ("b.txt", "a.md", "sub/c.pdf", "sub/deep/d.html", ".hidden/e.txt", ".f.txt"):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    (tmp_path / "outside.txt").write_text("x", encoding="utf-8")
    return home


def names(folder: Path, found: object) -> list[str]:
    return [str(path.relative_to(folder)) for path in found]  # type: ignore[attr-defined]


def test_a_folder_is_walked_in_the_order_of_names(folder: Path) -> None:
    found = names(folder, find_documents(folder))
    assert found == ["a.md", "b.txt", "sub/c.pdf", "sub/deep/d.html"]
    walked = {
        os.path.relpath(os.path.join(root, file), folder)  # noqa: PTH118
        for root, _, files in os.walk(folder)
        for file in files
    }
    assert set(found) == {name for name in walked if not any(part.startswith(".") for part in name.split("/"))}


def test_files_are_named_once(folder: Path) -> None:
    paths: list[str | Path] = [folder / "b.txt", str(folder), folder / "sub" / ".." / "a.md", folder / ".f.txt"]
    found = names(folder, find_documents(paths))
    assert found == ["b.txt", "a.md", "sub/c.pdf", "sub/deep/d.html", ".f.txt"]


def test_patterns(folder: Path) -> None:
    assert names(folder, find_documents(str(folder / "*.txt"))) == ["b.txt"]
    assert names(folder, find_documents(str(folder / "**/*.html"))) == ["sub/deep/d.html"]
    assert names(folder, find_documents(str(folder / "s*"))) == ["sub/c.pdf", "sub/deep/d.html"]
    (folder / "[x].txt").write_text("x", encoding="utf-8")
    assert names(folder, find_documents(folder / "[x].txt")) == ["[x].txt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("none.txt", "does not exist"), ("*.none", "no file matches"), ("a\0", "no path can have")],
)
def test_what_is_named_must_be_there(folder: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_documents([folder, str(folder / name)])


@pytest.mark.parametrize("entries", [("index.json", "generation-0123456789abcdef"), ("lock", ".build-x1")])
def test_an_index_is_no_folder_of_documents(folder: Path, entries: tuple[str, str]) -> None:
    index = folder / "sub" / "idx"
    (index / entries[1]).mkdir(parents=True)
    (index / entries[0]).touch()
    (index / entries[1] / "texts.txt").touch()
    expected = ["a.md", "b.txt", "sub/c.pdf", "sub/deep/d.html"]
    assert names(folder, find_documents(folder)) == expected
    assert names(folder, find_documents(str(folder / "**"))) == expected
    assert names(folder, find_documents(str(folder / "**/*.txt"))) == ["b.txt"]
    assert names(folder, find_documents(str(folder / "sub/*"))) == ["sub/c.pdf", "sub/deep/d.html"]
    with pytest.raises(InputError, match="idx is an index: name its documents"):
        find_documents([folder, index])
    (index / entries[0]).unlink()
    (index / entries[1]).rename(index / "generation-1")
    assert "sub/idx/generation-1/texts.txt" in names(folder, find_documents(folder))


def test_links_out_of_the_folder_pipes_and_circles_are_problems(folder: Path) -> None:
    (folder / "in.txt").symlink_to(folder / "b.txt")
    (folder / "out.txt").symlink_to(folder.parent / "outside.txt")
    (folder / "circle").symlink_to(folder)
    (folder / "nowhere.txt").symlink_to(folder / "none")
    os.mkfifo(folder / "pipe.txt")
    problems: dict[str, str] = {}
    found = names(
        folder, find_documents(folder, on_problem=lambda path, error: problems.update({path.name: str(error)}))
    )
    assert found == ["a.md", "b.txt", "sub/c.pdf", "sub/deep/d.html"]
    assert set(problems) == {"out.txt", "circle", "nowhere.txt", "pipe.txt"}
    assert "outside of" in problems["out.txt"]
    assert "a named pipe" in problems["pipe.txt"]
    assert names(folder, find_documents(folder)) == found
    with pytest.raises(InputError, match="it is a named pipe"):
        find_documents(folder / "pipe.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_files_that_may_not_be_read_are_problems(folder: Path) -> None:
    (folder / "b.txt").chmod(0)
    problems: list[str] = []
    assert "b.txt" not in names(
        folder, find_documents(folder, on_problem=lambda path, _: problems.append(path.name))
    )
    assert problems == ["b.txt"]
