"""Bundle: a folder is loaded only when it is whole and unchanged."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from qa_onnx import Bundle, BundleError, Reader
from qa_onnx.bundle import folder
from qa_onnx.bundle.folder import MANIFEST, default_bundle
from tests.conftest import TINY, edit_manifest

if TYPE_CHECKING:
    from pathlib import Path

NAMES = sorted(path.name for path in TINY.iterdir() if path.name != MANIFEST)


def test_a_whole_bundle_loads_from_a_path_or_its_text() -> None:
    loaded = Bundle.load(TINY)
    assert loaded == Bundle.load(str(TINY))
    assert loaded.path == TINY
    assert list(loaded.manifest.graphs) == ["fp32", "int8"]
    for entry in loaded.manifest.files():
        assert loaded.checked_path(entry) == TINY / entry.name


def test_text_is_the_content_of_a_file(tiny_bundle: Bundle) -> None:
    text = tiny_bundle.text(tiny_bundle.manifest.tokenizer)
    assert json.loads(text)["model"]["type"] == "WordPiece"


@pytest.mark.parametrize("precision", ["fp16", "int8-static"])
def test_a_precision_that_is_not_there_names_the_export_command(tiny_bundle: Bundle, precision: str) -> None:
    with pytest.raises(
        BundleError,
        match=f"fp32, int8, not {precision}: qa-onnx export CHECKPOINT --to .* --precision {precision} adds it",
    ):
        tiny_bundle.graph(precision)


@pytest.mark.parametrize("precision", ["int4", ""])
def test_a_name_that_is_no_precision_names_those_that_are(tiny_bundle: Bundle, precision: str) -> None:
    with pytest.raises(
        BundleError, match=f"precision is '{precision}'; it must be one of fp32, fp16, int8, int8-st"
    ):
        tiny_bundle.graph(precision)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nothing", "it does not exist: qa-onnx export CHECKPOINT --to"),
        ("file", "it is a file, and a bundle is a folder"),
        ("folder", "it has no bundle.json: qa-onnx export CHECKPOINT --to"),
    ],
)
def test_what_is_no_bundle_is_refused_with_the_reason(tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "mine"
    if kind == "file":
        path.touch()
    if kind == "folder":
        path.mkdir()
    with pytest.raises(BundleError, match=f"mine is not a bundle: {reason}"):
        Bundle.load(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(tiny_copy: Path, name: str) -> None:
    (tiny_copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Bundle.load(tiny_copy)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_in_place_of_a_file_is_missing(tiny_copy: Path, name: str) -> None:
    (tiny_copy / name).unlink()
    (tiny_copy / name).mkdir()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Bundle.load(tiny_copy)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, -1, 1])
def test_a_file_of_another_size_is_refused_on_loading(tiny_copy: Path, name: str, size: int) -> None:
    whole = (tiny_copy / name).read_bytes()
    (tiny_copy / name).write_bytes(b"" if size == 0 else whole[:-1] if size < 0 else whole + b" ")
    with pytest.raises(BundleError, match=f"{name} has .* bytes, bundle.json says {len(whole)}"):
        Bundle.load(tiny_copy)


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_is_found_when_the_file_is_read(tiny_copy: Path, name: str) -> None:
    content = bytearray((tiny_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tiny_copy / name).write_bytes(content)
    damaged = Bundle.load(tiny_copy)
    [entry] = [entry for entry in damaged.manifest.files() if entry.name == name]
    for read in (damaged.checked_path, damaged.text):
        with pytest.raises(BundleError, match=f"{name} was changed or damaged: its SHA-256 is"):
            read(entry)


def test_a_file_that_shrinks_after_loading_is_found(tiny_copy: Path) -> None:
    loaded = Bundle.load(tiny_copy)
    entry = loaded.manifest.tokenizer
    (tiny_copy / entry.name).write_bytes(b"{}")
    with pytest.raises(BundleError, match="has 2 bytes"):
        loaded.text(entry)


def test_two_files_of_a_bundle_that_changed_places_are_found(tiny_copy: Path) -> None:
    graphs = Bundle.load(tiny_copy).manifest.graphs
    first, second = (tiny_copy / graphs[name].golden.name for name in ("fp32", "int8"))
    size = max(path.stat().st_size for path in (first, second))
    for path in (first, second):  # to one size, so that only the hash tells them apart
        path.write_bytes(path.read_bytes().ljust(size))
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    edit_manifest(
        tiny_copy, lambda content: [graph["golden"].update(size=size) for graph in content["graphs"].values()]
    )
    swapped = Bundle.load(tiny_copy)
    for name in ("fp32", "int8"):
        with pytest.raises(BundleError, match="was changed or damaged"):
            swapped.text(swapped.graph(name).golden)


def test_a_text_file_beyond_the_limit_is_not_read(tiny_bundle: Bundle) -> None:
    huge = dataclasses.replace(tiny_bundle.manifest.tokenizer, size=(256 << 20) + 1)
    with pytest.raises(BundleError, match=r"has 268435457 bytes; the limit is 268435456"):
        tiny_bundle.text(huge)


def test_a_text_file_that_is_no_text_is_refused(tiny_bundle: Bundle) -> None:
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


@pytest.mark.parametrize("clone", [True, False], ids=["clone", "wheel"])
def test_what_the_default_bundle_lacks_is_made_in_a_clone(
    clone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "qa_onnx"
    shutil.copytree(TINY, package / "default_bundle")
    monkeypatch.setattr(folder, "_PACKAGE", package)
    checkpoint = tmp_path / "models" / "tiny-bert"
    if clone:
        checkpoint.mkdir(parents=True)
    with pytest.raises(BundleError) as refused:
        Reader.load(precision="int8-static")
    name = checkpoint if clone else "models/tiny-bert"
    command = f"qa-onnx export {name} --to another-folder --precision int8-static makes it"
    where = "" if clone else "the package holds no other; in a clone of the repository of qa-onnx, "
    assert str(refused.value).endswith(f"not int8-static: {where}{command}")


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


def test_a_file_and_a_model_of_the_hub_are_told_from_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(BundleError, match="it is a file, and a bundle is a folder"):
        Reader.load(tmp_path / "model.onnx")
    command = "qa-onnx export some/model --to exported/model makes a bundle of it, in exported/model"
    with pytest.raises(BundleError, match=f"it does not exist: if it is a model on the hub, {command}"):
        Reader.load("some/model")
