"""Files of an untrusted folder -> their bytes, JSON and hash: regular files of that folder, of bounded size.

Nothing here waits for a named pipe, follows a link out of the folder, or reads without a limit. Left out: what the
files say (safetensors_header.py, clean_config.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import ExportError, quoted
from qa_onnx.machine.regular_files import (
    LinkError,
    NotRegularError,
    inside,
    kind_of,
    open_regular,
    read_exactly,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

TEXT_LIMIT = 256 << 20  # bytes of a tokenizer's file; the largest multilingual ones have some 35 MB
_DEPTH = 64  # of nested lists and objects
_DIGITS = 64  # of a number; the largest usual one is 10 ** 30
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


def check_entries(folder: Path) -> None:
    """Refuse a folder in which something is neither a file nor a folder nor a link.

    Raises:
        ExportError: names it.
    """
    for entry in sorted(folder.iterdir()):
        if not entry.is_symlink() and not entry.is_dir():
            _require_regular(entry, entry.lstat().st_mode)


def real_file(path: Path) -> Path | None:
    """Return the regular file of a folder at a path, with links resolved as `regular_files.inside` does.

    Returns:
        The file; None: there is none.

    Raises:
        ExportError: it is no regular file, or a link out of the folder.
    """
    try:
        target = inside(path.parent, path.name)
        _require_regular(path, target.lstat().st_mode)
    except FileNotFoundError as error:
        if not path.is_symlink():
            return None
        raise ExportError(f"{path} is a link to a file that does not exist") from error
    except LinkError as error:
        raise ExportError(
            f"{path} is a link out of the folder, to {quoted(str(error.target))}",
            remedy="if you trust it, put a copy of the file in the link's place",
        ) from error
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error}") from error
    return target


def _require_regular(path: Path, mode: int) -> None:
    """Raise an ExportError if a file is not a regular one."""
    if kind := kind_of(mode):
        raise _wrong_kind(path, kind)


def _wrong_kind(path: Path, kind: str) -> ExportError:
    return ExportError(f"{path} is {kind}; a checkpoint consists of regular files", remedy="remove it")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file; see `regular_files.open_regular`.

    Raises:
        ExportError: it cannot be opened or read, or was replaced by something else.
    """
    try:
        with open_regular(path) as found:
            yield found
    except NotRegularError as error:
        raise _wrong_kind(path, error.kind) from error
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or error}") from error


def read_bytes(path: Path, limit: int) -> bytes | None:
    """Return the content of a file; None if there is no such file.

    Args:
        path: the file, directly in its folder.
        limit: most bytes that it may have.

    Raises:
        ExportError: it is larger, no regular file, or cannot be read.
    """
    found = real_file(path)
    if found is None:
        return None
    with opened(found) as (file, size):
        if size > limit:
            raise ExportError(f"{path} has {size} bytes; the limit is {limit}")
        return read_exactly(file, size)


def files_sha256(paths: Iterable[Path]) -> str:
    """Return the SHA-256, in hexadecimal, of the digests of files, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def json_object(path: Path, data: bytes) -> dict[str, Any]:
    """Return the JSON object of a file's bytes.

    Raises:
        ExportError: it is no object, nested too deeply, or has numbers that no file of a checkpoint has.
    """
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > _DEPTH:
        raise ExportError(f"{path} is nested {deepest} levels deep; the limit is {_DEPTH}")
    try:
        content = json.loads(
            data.decode("utf-8-sig"), parse_int=_int, parse_float=_float, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise ExportError(f"{path} is not usable JSON: {error}") from error
    if not isinstance(content, dict):
        raise ExportError(f"{path} is not a JSON object")
    return content


def _int(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a number has {len(text)} digits, the limit is {_DIGITS}")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:_DIGITS]} is too large")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number in JSON")
