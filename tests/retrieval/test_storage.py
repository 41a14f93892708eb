"""Folders that are damaged, or made to do harm: each is an error that says what to do, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx.errors import InputError
from qa_onnx.retrieval import PassageIndex, build_index, checks, content
from qa_onnx.retrieval.storage import FORMAT
from tests.retrieval.texts import make_documents

if TYPE_CHECKING:
    from collections.abc import Callable

ARRAYS = ["starts", "text_bounds", "terms", "term_bounds", "score_values", "score_passages", "score_columns"]
FILES = [*(f"{name}.npy" for name in ARRAYS), "documents.json", "vocabulary.txt", "texts.bin"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build_index(make_documents(3), folder)
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "index"))


def path_of(folder: Path, name: str) -> Path:
    return next(folder.glob(f"generation-*/{name}"))


def edit(folder: Path, **fields: Any) -> None:
    manifest = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**manifest, **fields}))


def trust(folder: Path, name: str, data: bytes) -> None:
    """Change a file and let the manifest agree, as one who wants to do harm would."""
    path_of(folder, name).write_bytes(data)
    files = json.loads((folder / "index.json").read_text())["files"]
    files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(folder, files=files)


def refused(folder: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        PassageIndex.open(folder)
    assert "build the index" in str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(folder: Path, name: str) -> None:
    path_of(folder, name).unlink()
    refused(folder, f"{name}: No such file")


@pytest.mark.parametrize("name", FILES)
def test_a_shorter_file(folder: Path, name: str) -> None:
    path = path_of(folder, name)
    os.truncate(path, path.stat().st_size // 2)
    refused(folder, f"{name} has .* bytes; the index says")


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte(folder: Path, name: str) -> None:
    data = bytearray(path_of(folder, name).read_bytes())
    data[len(data) // 2] ^= 1
    path_of(folder, name).write_bytes(data)
    refused(folder, f"{name} is damaged: its hash")


@pytest.mark.parametrize("name", FILES)
def test_a_shorter_file_with_its_hash(folder: Path, name: str) -> None:
    data = path_of(folder, name).read_bytes()
    for size in (0, 5, len(data) // 2, len(data) - 1):
        trust(folder, name, data[:size])
        refused(folder, "is damaged")


@pytest.mark.parametrize("name", FILES)
def test_a_longer_file_with_its_hash(folder: Path, name: str) -> None:
    trust(folder, name, path_of(folder, name).read_bytes() + b"\n12345678\n")
    refused(folder, "is damaged")


@pytest.mark.parametrize("kind", ["<f8", "<i2", ">i8", "<u8", "<U4", "?", "<m8[s]", [("a", "<i8")]])
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_another_type(folder: Path, name: str, kind: Any) -> None:
    trust(folder, f"{name}.npy", saved(np.zeros(np.load(path_of(folder, f"{name}.npy")).shape, kind)))
    refused(folder, rf"{name}\.npy is .*; it must be")


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_objects_is_not_unpickled(folder: Path, name: str) -> None:
    trust(folder, f"{name}.npy", saved(np.array([Explosive()], object), allow_pickle=True))
    refused(folder, rf"{name}\.npy is object")


class Explosive:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return pytest.fail, ("it was unpickled",)


def saved(array: np.ndarray[Any, Any], *, allow_pickle: bool = False) -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("starts", 0, 1),
        ("starts", 1, 0),
        ("starts", 1, -5),
        ("starts", 1, 1 << 62),
        ("text_bounds", 0, 1),
        ("text_bounds", 2, 0),
        ("text_bounds", 1, 1 << 62),
        ("text_bounds", -1, 1 << 62),
        ("text_bounds", 1, -1),
        ("terms", 3, (1 << 32) - 1),
        ("term_bounds", 0, -1),
        ("term_bounds", 1, 1 << 62),
        ("term_bounds", -1, 0),
        ("score_values", 0, np.nan),
        ("score_values", 0, np.inf),
        ("score_passages", 0, -1),
        ("score_passages", 0, 1 << 30),
        ("score_columns", 0, -1),
        ("score_columns", 1, 1 << 62),
        ("score_columns", -1, 1 << 62),
    ],
)
def test_offsets_out_of_range(folder: Path, name: str, place: int, value: float) -> None:
    array = np.load(path_of(folder, f"{name}.npy"))
    array[place] = value
    trust(folder, f"{name}.npy", saved(array))
    refused(folder, rf"damaged: {name}\.npy does not fit")


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_of_another_length(folder: Path, name: str) -> None:
    array = np.load(path_of(folder, f"{name}.npy"))
    for other in (array[:0], array[:-1], np.append(array, array[-1:]), array.reshape(1, -1)):
        trust(folder, f"{name}.npy", saved(other))
        refused(folder, "is damaged")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'[{"name": "a"}]',
        b'[{"name": "a", "sha256": "", "passages": -1}]',
        b'[{"name": "a", "sha256": "", "passages": 9223372036854775807}]',
        b'[{"name": "a", "sha256": "", "passages": 999999999999999999999}]',
        b'[{"name": 3, "sha256": "", "passages": 1}]',
        b'[{"name": "a", "sha256": "", "passages": 5}, {"name": "a", "sha256": "", "passages": 5}]',
        b"\xff\xfe",
    ],
)
def test_documents_that_are_none(folder: Path, data: bytes) -> None:
    trust(folder, "documents.json", data)
    refused(folder, "is damaged")


@pytest.mark.parametrize("data", [b"", b"a\na\n", b"\xff\n", b"a\nb"])
def test_vocabularies_that_are_none(folder: Path, data: bytes) -> None:
    trust(folder, "vocabulary.txt", data)
    refused(folder, "is damaged")


def test_texts_that_are_not_utf8_are_an_error_when_they_are_read(folder: Path) -> None:
    data = bytearray(path_of(folder, "texts.bin").read_bytes())
    data[0] = 0xFF
    trust(folder, "texts.bin", bytes(data))
    index = PassageIndex.open(folder)
    with pytest.raises(InputError, match=r"passage 0 of the index .* is damaged: .*: build the index again"):
        index.passage(0)
    data[0:2] = "é".encode()
    trust(folder, "texts.bin", bytes(data))
    with pytest.raises(InputError, match="its length is wrong"):
        PassageIndex.open(folder).passage(0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged"),
        (b"\x00" * 100, "damaged"),
        (b"[" * 60_000, "damaged"),
        (b" " * 100_000, "damaged: it has more than 65,536 bytes"),
        (b'{"format": 1}', "damaged"),
        (b'{"format": "1"}', "damaged"),
        (b'{"format": 2, "new": []}', "has the format 2, and this release reads 1"),
        (b'{"format": 0, "terms": 1, "generation": "x", "files": {}}', "damaged"),
    ],
)
def test_manifests_that_are_none(folder: Path, data: bytes, message: str) -> None:
    (folder / "index.json").write_bytes(data)
    refused(folder, message)


@pytest.mark.parametrize(
    "fields",
    [
        {"generation": "../../etc"},
        {"generation": "/etc"},
        {"generation": "generation-0123456789abcde\n"},
        {"generation": 3},
        {"files": {}},
        {"files": {"../texts.bin": {"bytes": 1, "sha256": ""}}},
        {"more": 1},
        {"format": 0},
        {"terms": 99},
        {"generation": "generation-0123456789abcdef"},
    ],
)
def test_edited_manifests(folder: Path, fields: dict[str, Any]) -> None:
    edit(folder, **fields)
    refused(folder, "generation|index")


@pytest.mark.parametrize("size", [-1, 0, 1 << 62, 1 << 80])
def test_sizes_that_the_files_do_not_have(folder: Path, size: int) -> None:
    files = json.loads((folder / "index.json").read_text())["files"]
    files["terms.npy"]["bytes"] = size
    edit(folder, files=files)
    refused(folder, "generation|index")


@pytest.mark.parametrize("limit", ["MOST_DOCUMENTS", "MOST_PASSAGES", "MOST_TERMS"])
def test_more_than_the_limits(folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(checks, limit, 2)
    refused(folder, "is damaged")
    monkeypatch.setattr(content, limit, 2)
    with pytest.raises(InputError, match=r"make more than 2 .*, the limit of an index: make several indexes"):
        PassageIndex.of(make_documents(3))


@pytest.mark.parametrize(
    "header", ["{'descr': '<i8'", "{[]: 1}", "(", " " * 100, "{'descr': '<i8', 'shape': (5L,)}"]
)
def test_headers_that_numpy_does_not_read(folder: Path, header: str) -> None:
    line = header.ljust(117).encode() + b"\n"
    trust(folder, "starts.npy", b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + bytes(40))
    refused(folder, r"starts\.npy has no header that NumPy reads")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_random_changes_with_their_hash(folder: Path, name: str) -> None:
    """Whatever is in a file, the index is refused, or it answers with what is in it."""
    whole, chance = path_of(folder, name).read_bytes(), random.Random(name)
    for _ in range(8):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 2, 20])):
            data[chance.randrange(min(len(data), chance.choice([130, 1 << 30])))] = chance.choice(
                [0, 1, 127, 255, 40]
            )
        changed = folder / "changed"
        shutil.copytree(folder, changed, ignore=shutil.ignore_patterns("changed"))
        trust(changed, name, bytes(data))
        try:
            index = PassageIndex.open(changed)
            index.search("ban dust lom", 5)
            index.search("Who?", len(index))
        except InputError:
            pass
        build_index(make_documents(4), changed)  # copies what is not changed, or nothing
        shutil.rmtree(changed)


def test_a_huge_file_with_holes_is_refused_by_its_size(folder: Path) -> None:
    files = json.loads((folder / "index.json").read_text())["files"]
    files["vocabulary.txt"]["bytes"] = 1 << 40
    edit(folder, files=files)
    os.truncate(path_of(folder, "vocabulary.txt"), 1 << 40)
    refused(folder, "and the limit is 268,435,456")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["index.json", "texts.bin", "terms.npy"])
def test_named_pipes_and_links_are_not_read(folder: Path, name: str) -> None:
    path = folder / name if name == "index.json" else path_of(folder, name)
    copy = path.rename(folder / "elsewhere")
    os.mkfifo(path)
    refused(folder, "named pipe")
    path.unlink()
    if name != "index.json":
        path.symlink_to(copy)
        refused(folder, "is a link")


def test_a_generation_is_no_link(folder: Path) -> None:
    home = path_of(folder, "texts.bin").parent
    home.rename(folder / "elsewhere")
    home.symlink_to(folder / "elsewhere")
    refused(folder, "is a link")


def test_an_empty_folder_is_no_index(tmp_path: Path) -> None:
    refused(tmp_path, r"cannot read .*index\.json: No such file.*: build the index first")


def test_the_format_is_pinned() -> None:
    """One that changes needs a new number; see `storage.FORMAT`."""
    assert FORMAT == 1
