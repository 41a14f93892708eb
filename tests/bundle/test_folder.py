"""Bundle: a folder is loaded only when it is whole and unchanged."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qa_onnx import Bundle, BundleError, Reader
from qa_onnx.bundle import folder
from qa_onnx.bundle.files import MANIFEST
from qa_onnx.bundle.folder import default_bundle
from tests.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = sorted(path.name for path in TINY.iterdir() if path.name != MANIFEST)


def test_a_whole_bundle_loads_from_a_path_or_its_text() -> None:
    loaded = Bundle.load(TINY)
    assert loaded == Bundle.load(str(TINY))
    assert loaded.path == TINY
    assert list(loaded.manifest.graphs) == ["fp32", "int8"]
    for entry in loaded.manifest.files():
        assert loaded.read(entry) == (TINY / entry.name).read_bytes()


def test_a_precision_that_is_not_there_names_the_export_command(tiny_bundle: Bundle) -> None:
    with pytest.raises(
        BundleError, match=r"fp32, int8, not fp16: qa-onnx export CHECKPOINT --to .* --precision fp16 adds it"
    ):
        tiny_bundle.graph("fp16")
    with pytest.raises(BundleError, match="precision is 'int4'; it must be one of fp32, fp16, int8, int8-st"):
        tiny_bundle.graph("int4")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder, not a file"),
        (lambda path: path.write_bytes(b""), "has 0 bytes, bundle.json says"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "has .* bytes, bundle.json says"),
        (lambda path: path.write_bytes(path.read_bytes() + b" "), "has .* bytes, bundle.json says"),
    ],
    ids=["missing", "folder", "empty", "cut", "longer"],
)
def test_a_file_that_is_missing_or_of_another_size_is_named(
    tiny_copy: Path, name: str, harm: Callable[[Path], object], problem: str
) -> None:
    whole = Bundle.load(tiny_copy)
    [entry] = [entry for entry in whole.manifest.files() if entry.name == name]
    harm(tiny_copy / name)
    for read in (lambda: Bundle.load(tiny_copy), lambda: whole.text(entry)):
        with pytest.raises(BundleError, match=f"{name} {problem}"):
            read()


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_is_found_when_the_file_is_read(tiny_copy: Path, name: str) -> None:
    content = bytearray((tiny_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tiny_copy / name).write_bytes(content)
    damaged = Bundle.load(tiny_copy)
    [entry] = [entry for entry in damaged.manifest.files() if entry.name == name]
    for read in (damaged.check, damaged.read, damaged.text):
        with pytest.raises(BundleError, match=f"{name} was changed or damaged: its SHA-256 is"):
            read(entry)


def test_what_is_no_text_or_beyond_the_limit_is_refused(tiny_bundle: Bundle) -> None:
    huge = dataclasses.replace(tiny_bundle.manifest.tokenizer, size=(256 << 20) + 1)
    with pytest.raises(BundleError, match=r"has 268435457 bytes; the limit is 268435456"):
        tiny_bundle.text(huge)
    with pytest.raises(BundleError, match="is not UTF-8 text"):
        tiny_bundle.text(tiny_bundle.graph("fp32").file)


def test_the_default_bundle_is_the_shipped_one_or_else_the_checkouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "qa_onnx"
    package.mkdir()
    monkeypatch.setattr(folder, "_PACKAGE", package)
    assert default_bundle() == tmp_path / "exported" / "minilm-squad"
    with pytest.raises(BundleError, match="minilm-squad is not a bundle: it does not exist"):
        Bundle.load()
    shutil.copytree(TINY, tmp_path / "exported" / "minilm-squad")
    assert Bundle.load().path == tmp_path / "exported" / "minilm-squad"
    shutil.copytree(TINY, package / "default_bundle")
    assert default_bundle() == package / "default_bundle"
    assert Bundle.load() == Bundle.load(package / "default_bundle")
    command = "qa-onnx export models/tiny-bert --to another-folder --precision int8-static makes it"
    with pytest.raises(BundleError, match=f"not int8-static: in a clone of the repository of qa-onnx, {command}$"):
        Reader.load(precision="int8-static")


# What is no bundle


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("config.json", "model.safetensors"), "it is a checkpoint: qa-onnx export {folder} --to exported/some"),
        (("config.json", "pytorch_model.bin"), "it is a checkpoint: qa-onnx export {folder} --to exported/some"),
        (("model.onnx",), "it is a folder with a finished ONNX model: qa-onnx export {folder} --to exported/some"),
        (("onnx/model.onnx",), "it is a folder with a finished ONNX model: qa-onnx export {folder}"),
        (
            ("first/bundle.json", "second/bundle.json"),
            "it has no bundle.json, but folders in it are bundles: name one of first, second",
        ),
        (("notes.txt",), "it has no bundle.json: qa-onnx export CHECKPOINT --to {folder} makes one"),
    ],
)
def test_a_folder_that_is_no_bundle_is_named(files: tuple[str, ...], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    with pytest.raises(BundleError) as refused:
        Reader.load(folder)
    assert str(refused.value).startswith(f"{folder} is not a bundle: ")
    assert message.format(folder=folder) in str(refused.value)


def test_a_file_and_a_path_that_does_not_exist_are_told_from_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(BundleError, match="is no packed bundle: it does not end as a zip archive"):
        Reader.load(tmp_path / "model.onnx")
    for path in (tmp_path / "none", "./some/model", "some/model/there", Path("some/model")):  # no name on the hub
        with pytest.raises(BundleError, match=r"it does not exist: qa-onnx export CHECKPOINT --to .* makes one"):
            Reader.load(path)
