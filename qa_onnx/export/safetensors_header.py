"""Weights of a folder -> the files that hold them, and the shape of each tensor, from the headers alone.

    8 bytes: length n of the header | n bytes: JSON, name -> dtype, shape, data_offsets | the data, without holes

The format, with its promises, is that of https://github.com/huggingface/safetensors. No weight is read here.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import ExportError, quoted
from qa_onnx.export.untrusted_files import json_object, opened, read_bytes, real_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
_INDEX_LIMIT = 16 << 20  # bytes
_HEADER_LIMIT = 16 << 20  # bytes; a model with 10,000 tensors has 1 MB
_NAME_LIMIT = 512  # characters
_DIMENSIONS = 8
_SHARD = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """The weights of a checkpoint, as its headers tell.

    Attributes:
        files: name in the folder -> the regular file, links resolved.
        shapes: name of a tensor -> its shape.
        index: the bytes of the index of several files; None: there is one file.
        stamps: what `stat` says of each file, to tell whether it was replaced.
    """

    files: Mapping[str, Path]
    shapes: Mapping[str, tuple[int, ...]]
    index: bytes | None
    stamps: tuple[tuple[int, ...], ...]

    def count(self) -> int:
        """Return how many numbers are stored."""
        return sum(map(math.prod, self.shapes.values()))

    def changed(self) -> list[str]:
        """Return the names of the files that are not those whose headers were read."""
        pairs = zip(self.files.items(), self.stamps, strict=True)
        return [name for (name, path), stamp in pairs if _stamp(os.stat(path)) != stamp]  # noqa: PTH116


def read_headers(folder: Path) -> StoredWeights:
    """Read the headers of a checkpoint's weights.

    Raises:
        ExportError: the index names other files than safetensors of the folder, or a header is damaged.
    """
    index = None if real_file(folder / ONE_FILE) else read_bytes(folder / INDEX, _INDEX_LIMIT)
    shards = {} if index is None else _weight_map(folder / INDEX, index)
    names = [ONE_FILE] if index is None else sorted(set(shards.values()))
    files: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    stamps = []
    for name in names:
        path = real_file(folder / name)
        if path is None:
            by = "" if index is None else f", which {INDEX} names"
            raise ExportError(f"{folder} has no {name}{by}")
        found, stamp = _header(folder / name, path)
        for tensor in found:
            if index is not None and shards.get(tensor) != name:
                raise ExportError(f"{folder / name} holds {quoted(tensor)}, and {INDEX} does not say so")
        files[name] = path
        shapes |= found
        stamps.append(stamp)
    missing = next((tensor for tensor in shards if tensor not in shapes), None)
    if missing is not None:
        raise ExportError(f"{folder / INDEX} says that {shards[missing]} holds {quoted(missing)}; it does not")
    return StoredWeights(files, shapes, index, tuple(stamps))


def _weight_map(path: Path, data: bytes) -> dict[str, str]:
    """Return which file holds each tensor, as an index says."""
    names = json_object(path, data).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ExportError(f"{path} has no weight_map, which says in which file each tensor is")
    for name in names.values():
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise ExportError(
                f"{path} names {quoted(name)}; it may only name .safetensors files of its own folder",
                remedy="save the model again with model.save_pretrained(folder)",
            )
    return names


def _header(name: Path, path: Path) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
    """Return the shapes of a safetensors file's tensors, and the stamp of the file."""
    with opened(path) as (file, _):
        facts = os.fstat(file.fileno())
        start = file.read(8)
        if start == b"version ":
            raise ExportError(f"{name} is a pointer of Git LFS, not the file", remedy="run git lfs pull")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(_HEADER_LIMIT, facts.st_size - 8):
            raise ExportError(
                f"{name} is damaged: its header should have {length} bytes, the file has {facts.st_size} "
                f"and the limit is {_HEADER_LIMIT}"
            )
        header = json_object(name, file.read(length))
    notes = header.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise ExportError(f"{name} is damaged: its __metadata__ does not consist of texts")
    ends = []
    shapes = {}
    for tensor, entry in header.items():
        if len(tensor) > _NAME_LIMIT or not tensor.isprintable():
            raise ExportError(f"{name} names a tensor {quoted(tensor)}: control characters, or too long")
        shapes[tensor], span = _entry(name, tensor, entry)
        ends.append(span)
    at = 0
    for begin, end in sorted(ends):
        if begin != at:
            raise ExportError(f"{name} is damaged: its tensors overlap, or leave a hole, at byte {min(begin, at)}")
        at = end
    if at != facts.st_size - 8 - length:
        raise ExportError(
            f"{name} is damaged: its tensors have {at} bytes, the file holds {facts.st_size - 8 - length}"
        )
    return shapes, _stamp(facts)


def _entry(name: Path, tensor: str, entry: Any) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Return the shape of a tensor, and where its bytes begin and end."""
    where = f"{name}: tensor {quoted(tensor)}"
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise ExportError(f"{where} lacks dtype, shape or data_offsets") from error
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise ExportError(f"{where} has the unknown dtype {quoted(dtype)}")
    if not isinstance(shape, list) or len(shape) > _DIMENSIONS:
        raise ExportError(f"{where} has the shape {quoted(shape)}; at most {_DIMENSIONS} sizes are possible")
    if any(type(number) is not int or number < 0 for number in (*shape, begin, end)):
        raise ExportError(f"{where} has sizes or offsets that are not whole numbers from 0 on")
    size = math.prod(shape) * _BYTES[dtype]
    if end - begin != size:
        raise ExportError(f"{where} takes {size} bytes, its offsets {begin} and {end} leave it {end - begin}")
    return tuple(shape), (begin, end)


def _stamp(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
