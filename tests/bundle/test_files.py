"""The files of a bundle: regular, inside of their folder, read once, and what was checked is what runs."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import Bundle, BundleError, Reader
from qa_onnx.bundle import files
from qa_onnx.bundle.files import LIMITS, MANIFEST
from qa_onnx.engines import onnx_cpu
from qa_onnx.machine.regular_files import read_exactly
from tests.conftest import TINY, edit_manifest
from tests.exports import graph_path

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE = ("Who lit the lamp?", "The keeper lit the lamp at dusk.")
NAMES = sorted(path.name for path in TINY.iterdir())
MODEL = graph_path(Bundle.load(TINY), "fp32").name


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):  # names of sockets are short
        server.bind(path.name)


def as_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def as_link_outside(path: Path) -> None:
    path.rename(path.parents[1] / path.name)
    path.symlink_to(path.parents[1] / path.name)


def as_link_upwards(path: Path) -> None:
    as_link_outside(path)
    path.unlink()
    path.symlink_to(Path("..", path.name))


def as_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", [MANIFEST, MODEL, next(name for name in NAMES if name.startswith("tok"))])
@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (as_fifo, "is a named pipe, not a file"),
        (as_folder, "is a folder, not a file"),
        (as_socket, "is a socket, not a file"),
        (as_device, "is a link to /dev/zero, outside of"),
        (as_link_outside, "is a link to .*, outside of .*: copy the file into the folder"),
        (as_link_upwards, "is a link to .*, outside of"),
        (as_loop, "is"),
    ],
)
def test_what_is_no_file_of_the_folder_is_never_opened(
    tiny_copy: Path, name: str, harm: Callable[[Path], None], problem: str
) -> None:
    harm(tiny_copy / name)
    with pytest.raises(BundleError, match=f"{name} {problem}|is not a bundle"):
        Reader.load(tiny_copy)


def test_a_link_inside_of_the_folder_is_followed(tiny_copy: Path) -> None:
    """So container platforms mount configuration."""
    (tiny_copy / "..2026").mkdir()
    for name in NAMES:
        (tiny_copy / name).rename(tiny_copy / "..2026" / name)
        (tiny_copy / name).symlink_to(Path("..2026", name))
    assert Reader.load(tiny_copy).ask(*EXAMPLE) == Reader.load(TINY).ask(*EXAMPLE)


@pytest.mark.parametrize(
    "target",
    ["../../blobs/{}", "../../../blobs/00/{}", "../../../{}", "../../../models--b/blobs/{}", "{root}/{}"],
)
def test_links_of_the_hubs_cache_stay_in_their_repository(tmp_path: Path, target: str) -> None:
    snapshot = tmp_path / "models--a" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    for name in NAMES:
        link = snapshot / name
        link.symlink_to((target if name == MODEL else "../../blobs/{}").format(name, root=tmp_path))
        content = Path(os.path.normpath(snapshot / link.readlink()))
        content.parent.mkdir(parents=True, exist_ok=True)
        content.write_bytes((TINY / name).read_bytes())
    if "blobs" in target and "--b" not in target:
        assert Reader.load(snapshot).ask(*EXAMPLE) == Reader.load(TINY).ask(*EXAMPLE)
    else:
        with pytest.raises(BundleError, match=f"{MODEL} is a link to .*, outside of {tmp_path}/models--a: copy"):
            Reader.load(snapshot)


@pytest.mark.parametrize(
    ("key", "kind"), [("tokenizer", "tokenizer"), ("file", "model"), ("golden", "golden"), ("data", "weights")]
)
def test_a_sparse_file_of_terabytes_is_refused_by_its_size(tiny_copy: Path, key: str, kind: str) -> None:
    name = f"{kind}-{0:016x}.{'data' if kind == 'weights' else 'json'}"
    with (tiny_copy / name).open("wb") as file:
        file.truncate(1 << 42)
    entry = {"name": name, "size": 1 << 42, "sha256": "0" * 64}

    def change(content: dict[str, Any]) -> None:
        (content if key == "tokenizer" else content["graphs"]["fp32"])[key] = entry

    edit_manifest(tiny_copy, change)
    with pytest.raises(BundleError, match=f"{name} has 4398046511104 bytes; the limit is {LIMITS[kind]}"):
        Reader.load(tiny_copy)


def test_what_was_checked_is_what_runs(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is exchanged after its hash was taken, right before the engine gets the graph."""
    expected = Reader.load(TINY, precision="fp32").ask(*EXAMPLE)
    load = onnx_cpu._load

    def exchange(onnxruntime: Any, model: bytes | Path, options: Any) -> Any:
        (tiny_copy / MODEL).write_bytes(b"exchanged")
        return load(onnxruntime, model, options)

    monkeypatch.setattr(onnx_cpu, "_load", exchange)
    reader = Reader.load(tiny_copy, precision="fp32")
    assert reader.ask(*EXAMPLE) == expected
    with pytest.raises(BundleError, match=r"has 9 bytes, bundle\.json says"):  # and the next process checks again
        pickle.loads(pickle.dumps(reader))
    with pytest.raises(BundleError, match=r"has 9 bytes, bundle\.json says"):
        pickle.loads(pickle.dumps(reader.steps.session))


def test_a_file_that_grows_or_shrinks_while_it_is_read(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, read = Bundle.load(tiny_copy), read_exactly
    entry = bundle.graph("fp32").file
    whole = (tiny_copy / MODEL).read_bytes()

    def change(content: bytes) -> Callable[..., bytes]:
        def run(file: Any, size: int) -> bytes:
            (tiny_copy / MODEL).write_bytes(content)
            return read(file, size)

        return run

    monkeypatch.setattr(files, "read_exactly", change(whole + b"more"))
    assert bundle.read(entry) == whole
    (tiny_copy / MODEL).write_bytes(whole)
    monkeypatch.setattr(files, "read_exactly", change(whole[:-1]))
    with pytest.raises(BundleError, match="cannot be read: it was cut while it was read"):
        bundle.read(entry)


def test_a_file_that_may_not_be_read_is_named(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    bundle = Bundle.load(tiny_copy)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(BundleError, match=f"{MODEL} cannot be read: Permission denied"):
        bundle.read(bundle.graph("fp32").file)
