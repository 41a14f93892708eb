"""Builds: what is copied, what is replaced, what stays after a failure, and what is refused."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

import pytest

from qa_onnx.documents.document import Document
from qa_onnx.errors import InputError, MissingExtraError
from qa_onnx.machine.locks import locked
from qa_onnx.retrieval import LazyDocument, PassageIndex, build_index, content
from tests.retrieval.texts import make_documents

if TYPE_CHECKING:
    from pathlib import Path


def hashes(folder: Path) -> dict[str, str]:
    """The files of the current generation with their hashes, and what else lies beside it by name."""
    files = {path.name: path for path in folder.glob("generation-*/*")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def names(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in folder.iterdir())


def test_an_opened_index_answers_like_one_in_memory(tmp_path: Path) -> None:
    documents = make_documents(5)
    report = build_index(documents, tmp_path / "index")
    opened, made = PassageIndex.open(tmp_path / "index"), PassageIndex.of(documents)
    assert (report.documents, report.passages, report.copied) == (5, len(made), 0)
    assert report.bytes == sum(path.stat().st_size for path in tmp_path.glob("index/generation-*/*"))
    assert opened.documents == made.documents
    for question in ("ban bar", "dust lom?", "nothing of this"):
        assert opened.search(question, 100) == made.search(question, 100)


def test_a_build_with_copies_is_byte_for_byte_a_fresh_one(tmp_path: Path) -> None:
    first, second = make_documents(8), make_documents(8, seed=1)
    now = [second[7], *first[2:7], Document("new", first[0].text), second[0]]
    build_index(first, tmp_path / "changed")
    assert build_index(now, tmp_path / "changed").copied == 6
    build_index(now, tmp_path / "fresh")
    assert hashes(tmp_path / "changed") == hashes(tmp_path / "fresh")
    assert names(tmp_path / "changed") == ["generation", "index.json"]


def test_unchanged_documents_are_neither_read_nor_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = [
        LazyDocument(document.name, f"{number:064}", partial(str, document.text))
        for number, document in enumerate(make_documents(4))
    ]
    build_index(lazy, tmp_path)
    seen: list[str] = []

    def terms(text: str) -> list[str]:
        seen.append(text)
        return []

    monkeypatch.setattr(content, "terms_of", terms)
    unread = [LazyDocument(one.name, one.sha256, lambda: pytest.fail("it was read")) for one in lazy]
    assert build_index([*unread, Document("new", "A new one.")], tmp_path).copied == 4
    assert seen == ["A new one."]


def test_a_build_without_changes_writes_nothing(tmp_path: Path) -> None:
    build_index(make_documents(3), tmp_path)
    before = (tmp_path / "index.json").stat()
    assert build_index(make_documents(3), tmp_path).bytes == 0
    assert (tmp_path / "index.json").stat() == before


def test_documents_that_are_missing_leave_the_index(tmp_path: Path) -> None:
    documents = make_documents(4)
    build_index(documents, tmp_path)
    build_index(documents[1:3], tmp_path)
    assert PassageIndex.open(tmp_path).documents == ("text-1.txt", "text-2.txt")
    build_index([], tmp_path)
    assert len(PassageIndex.open(tmp_path)) == 0


def test_an_open_index_keeps_its_generation(tmp_path: Path) -> None:
    build_index(make_documents(4), tmp_path)
    opened = PassageIndex.open(tmp_path)
    before = opened.search("ban dust", 50)
    build_index(make_documents(4, seed=9), tmp_path)
    build_index([], tmp_path)
    assert opened.search("ban dust", 50) == before


def test_a_failed_build_leaves_the_old_index(tmp_path: Path) -> None:
    def fail() -> str:
        raise InputError("page 7 is damaged")

    build_index(make_documents(3), tmp_path)
    before = hashes(tmp_path)
    with pytest.raises(InputError, match="page 7"):
        build_index([*make_documents(4, seed=2), LazyDocument("bad", "1" * 64, fail)], tmp_path)
    assert hashes(tmp_path) == before
    assert names(tmp_path) == ["generation", "index.json"]


def test_a_document_that_cannot_be_read_keeps_its_error(tmp_path: Path) -> None:
    lost = LazyDocument("lost", "1" * 64, (tmp_path / "lost.txt").read_text)
    with pytest.raises(FileNotFoundError, match=r"lost\.txt"):
        build_index([lost], tmp_path / "index")
    assert names(tmp_path / "index") == []


def test_what_killed_builds_left_is_removed(tmp_path: Path) -> None:
    build_index(make_documents(2), tmp_path)
    (tmp_path / "generation-0123456789abcdef").mkdir()
    (tmp_path / "generation-0123456789abcdef" / "texts.bin").write_bytes(b"left")
    (tmp_path / ".build-left").mkdir()
    (tmp_path / ".build-left" / "lock").touch()
    (tmp_path / "lock").touch()
    build_index(make_documents(2), tmp_path)
    assert names(tmp_path) == ["generation", "index.json"]


def test_a_damaged_index_is_built_anew(tmp_path: Path) -> None:
    build_index(make_documents(3), tmp_path)
    before = hashes(tmp_path)
    next(tmp_path.glob("generation-*/texts.bin")).write_bytes(b"?")
    report = build_index(make_documents(3), tmp_path)
    assert report.copied == 0
    assert "texts.bin has 1 bytes" in report.warning
    assert hashes(tmp_path) == before


def test_one_build_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(InputError, match="is being built by process"):
        build_index([], tmp_path)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Ann")
    with pytest.raises(InputError, match=r"holds letter\.txt, and is no index: name a new or an empty folder"):
        build_index([], tmp_path)
    assert names(tmp_path) == ["letter.txt"]


@pytest.mark.parametrize(("folder", "message"), [(3, "the folder of an index is 3"), ("a\0b", "no path can have")])
def test_a_folder_is_a_path(folder: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_index([], folder)
    with pytest.raises(InputError, match=message):
        PassageIndex.open(folder)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write the index"):
        build_index([], tmp_path / "file")
    with pytest.raises(InputError, match="cannot read"):
        PassageIndex.open(tmp_path / "file")


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qa_onnx.retrieval import build, index

    def require(extra: str) -> None:
        raise MissingExtraError(f"bm25s of {extra}")

    for module in (build, index):
        monkeypatch.setattr(module, "require", require)
    for call in (
        lambda: build_index([], tmp_path),
        lambda: PassageIndex.of([]),
        lambda: PassageIndex.open(tmp_path),
    ):
        with pytest.raises(MissingExtraError, match="bm25s of search"):
            call()
