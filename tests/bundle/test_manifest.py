"""Manifest: writing and reading bundle.json, and every way in which it can be wrong."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx import Bundle, BundleError, BundleFormatError
from qa_onnx.bundle.files import MANIFEST
from qa_onnx.bundle.folder import default_bundle, read_manifest
from qa_onnx.bundle.manifest import Manifest
from tests.conftest import TINY, edit_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONTENT: dict[str, Any] = json.loads((TINY / MANIFEST).read_bytes())


def places(content: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths to every value in nested JSON."""
    if not isinstance(content, (dict, list)):
        return
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*path, key)
        yield from places(value, (*path, key))


FIELDS = [path for path in places(CONTENT) if isinstance(path[-1], str)]
# What a field is called by its content and not by the format: any name may be missing there.
OPEN = ("architecture", "versions", "fused_nodes", "graphs")
REQUIRED = [path for path in FIELDS if path[0] != "format" and (len(path) == 1 or path[-2] not in OPEN)]


def parent(content: Any, path: tuple[str | int, ...]) -> Any:
    for key in path[:-1]:
        content = content[key]
    return content


def setter(value: object, *path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        parent(content, path)[path[-1]] = value

    return change


def test_a_manifest_survives_writing_and_reading(tiny_bundle: Bundle, tmp_path: Path) -> None:
    manifest = dataclasses.replace(tiny_bundle.manifest, temperature=1.5, null_threshold=-2.25)
    (tmp_path / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize("folder", [default_bundle(), TINY], ids=["default", "tiny"])
def test_a_manifest_is_written_as_it_was_byte_for_byte(folder: Path) -> None:
    assert read_manifest(folder).to_json().encode() == (folder / MANIFEST).read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\xff", "is not JSON"),
        (b"[" * 100_000, "is damaged: "),
        (b"9" * 5000, "is damaged: Number out of range"),
        (b"[]", "is damaged: Expected `object`, got `array`"),
        (b"null", "is damaged: Expected `object`, got `null`"),
        (b'"qa-onnx bundle"', "is damaged: Expected `object`, got `str`"),
        (b'{"format": "another bundle", "format_version": "1.0"}', "does not say format 'qa-onnx bundle'"),
        (b'{"format_version": "1.0"}', "does not say format"),
        (
            b'{"format": "qa-onnx bundle", "format_version": "1.0"}',
            "is damaged: Object missing required field `source`",
        ),
        (b" " * ((4 << 20) + 1), "has 4,194,305 bytes; the limit is 4,194,304"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / MANIFEST).write_bytes(text)
    with pytest.raises(BundleError, match=message):
        read_manifest(tmp_path)


@pytest.mark.parametrize("version", ["1.3", "2.0", "1.9999", "10.0"])
def test_a_newer_format_asks_for_an_upgrade(tiny_copy: Path, version: str) -> None:
    edit_manifest(tiny_copy, setter(version, "format_version"))
    with pytest.raises(BundleFormatError, match=f"format {version}; this release reads up to 1.2: pip install"):
        read_manifest(tiny_copy)


@pytest.mark.parametrize(
    "version", [None, 1, 1.0, [1, 0], "", "1", "1.0.0", "v1.0", "1.0\n", "-1.0", "0.9", "99999.0"]
)
def test_a_damaged_format_version_is_refused(tiny_copy: Path, version: object) -> None:
    edit_manifest(tiny_copy, setter(version, "format_version"))
    with pytest.raises(BundleError, match="is damaged: format_version is") as caught:
        read_manifest(tiny_copy)
    assert caught.type is BundleError


@pytest.mark.parametrize("path", REQUIRED, ids=lambda path: ".".join(map(str, path)))
def test_a_missing_field_is_named(tiny_copy: Path, path: tuple[str, ...]) -> None:
    edit_manifest(tiny_copy, lambda content: parent(content, path).pop(path[-1]))
    with pytest.raises(BundleError, match=f"missing required field `{path[-1]}`|{path[-1]} is None"):
        read_manifest(tiny_copy)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("source",), "tiny-bert"),
        (("source", "name"), 3),
        (("source", "kind"), "pickle"),
        (("source", "revision"), 7),
        (("architecture",), 3),
        (("max_length",), "64"),
        (("max_length",), 64.0),
        (("max_length",), True),
        (("max_positions",), -1),
        (("inputs",), "input_ids"),
        (("inputs",), [1]),
        (("pad_id",), 1 << 63),
        (("tokenizer",), None),
        *((("tokenizer", "sha256"), text) for text in ("", "g" * 64, "F" * 64, "0" * 65, "0" * 64 + "\n")),
        (("tokenizer", "size"), "5633"),
        (("graphs",), {}),
        (("graphs", "fp32", "kind"), "fast"),
        (("graphs", "fp32", "fused_nodes", "Attention"), "two"),
        (("graphs", "fp32", "engines"), [None]),
        (("graphs", "fp32", "parity"), []),
        (("graphs", "fp32", "parity", "max_abs"), "small"),
        (("graphs", "fp32", "parity", "same_best_span"), None),
        (("temperature",), 0),
        (("temperature",), -1.0),
        (("temperature",), True),
        (("temperature",), 10**400),
        *((("temperature",), value) for value in (1e-320, 0.0009, 1001, 1e308)),
        (("null_threshold",), "1.0"),
        (("null_threshold",), float("nan")),
        (("versions", "numpy"), 2.4),
        (("created",), 20261124),
        (("graphs", "int4"), CONTENT["graphs"]["int8"]),
    ],
    ids=str,
)
def test_a_value_of_the_wrong_kind_is_refused(tiny_copy: Path, path: tuple[str, ...], value: object) -> None:
    edit_manifest(tiny_copy, setter(value, *path))
    with pytest.raises(BundleError, match=r"is damaged: |is not JSON: "):
        read_manifest(tiny_copy)


def test_the_error_says_where_and_what_to_do(tiny_copy: Path) -> None:
    edit_manifest(tiny_copy, setter("5633", "graphs", "fp32", "file", "size"))
    with pytest.raises(BundleError) as caught:
        read_manifest(tiny_copy)
    problem = f"{tiny_copy / MANIFEST} is damaged: Expected `int`, got `str` - at `$.graphs[...].file.size`"
    assert caught.value.problem == problem
    assert caught.value.remedy == "export it again, or fetch it again"


@pytest.mark.parametrize(
    "name",
    [
        "../model-fcc6635377e176b7.onnx",
        "..",
        "/etc/model-fcc6635377e176b7.onnx",
        "sub/model-fcc6635377e176b7.onnx",
        "sub\\model-fcc6635377e176b7.onnx",
        "model-fcc6635377e176b7.onnx\n",
        "model-fcc6635377e176b7.onnx/..",
        "model-FCC6635377E176B7.onnx",
        "model-fcc6635377e176b7.pkl",
        "bundle.json",
        "",
    ],
)
@pytest.mark.parametrize(
    "path", [("tokenizer",), ("graphs", "fp32", "file"), ("graphs", "int8", "golden")], ids=str
)
def test_a_file_name_that_could_leave_the_bundle_is_refused(
    tiny_copy: Path, path: tuple[str, ...], name: str
) -> None:
    edit_manifest(tiny_copy, setter(name, *path, "name"))
    with pytest.raises(BundleError, match=r"matching regex .* at `.*\.name`"):
        read_manifest(tiny_copy)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifest")


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=4,
)


@given(path=st.sampled_from(FIELDS), value=ANY_JSON)
def test_any_value_anywhere_is_read_or_refused_as_a_bundle_error(
    folder: Path, path: tuple[str | int, ...], value: object
) -> None:
    content = json.loads(json.dumps(CONTENT))
    parent(content, path)[path[-1]] = value
    (folder / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
    try:
        found = read_manifest(folder)
    except BundleError:
        return
    assert isinstance(found, Manifest)
    assert found.files()
