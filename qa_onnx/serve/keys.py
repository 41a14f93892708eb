"""API keys: a file of them -> their hashes; the header of a request -> whether it has a valid key.

Left out: which endpoints need a key (middleware.py).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import stat
from typing import TYPE_CHECKING

from qa_onnx.errors import InputError
from qa_onnx.machine.regular_files import NotRegularError, read_start

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)
_MAX_FILE = 1 << 20  # bytes
_KEY = re.compile(rb"[\x21-\x7e]{16,512}")


def read_keys(path: Path) -> tuple[bytes, ...]:
    """Read a file of keys, one a line; skip blank lines and lines that start with #.

    A warning is logged where others than the file's owner can read it.

    Returns:
        The SHA-256 of each, so that no key stays in memory and all have one length.

    Raises:
        InputError: the file cannot be read, is not a regular file, is too large or has no key, or a
            line is not a key.
    """
    hashes = []
    for number, line in enumerate(map(bytes.strip, _read(path).splitlines()), 1):
        if not line or line.startswith(b"#"):
            continue
        if not _KEY.fullmatch(line):
            raise InputError(
                f"line {number} of {path} is not an API key: it has {len(line)} bytes; a key has 16 to 512 ASCII "
                "characters without blanks. One way to make one: openssl rand -hex 32"
            )
        hashes.append(hashlib.sha256(line).digest())
    if not hashes:
        raise InputError(f"{path} has no API key: write one a line, or omit --api-key-file")
    return tuple(hashes)


def _read(path: Path) -> bytes:
    """Read a regular file; a fifo or a device would keep the server waiting for ever."""
    try:
        content, status = read_start(path, _MAX_FILE + 1)
    except NotRegularError as error:
        problem = f"cannot read the API keys: {path} is not a regular file; write the keys to one"
        raise InputError(problem) from error
    except OSError as error:
        raise InputError(f"cannot read the API keys: {error}") from error
    if len(content) > _MAX_FILE:
        raise InputError(f"{path} has more than {_MAX_FILE} bytes: give a file with one API key a line")
    mode = stat.S_IMODE(status.st_mode)
    if os.name == "posix" and mode & 0o077:
        _log.warning("%s has mode %04o, so others than its owner can read the API keys: chmod 600 it", path, mode)
    return content


def is_valid(authorization: str, hashes: Sequence[bytes]) -> bool:
    """Return whether a header "Authorization: Bearer KEY" has one of the keys, in constant time."""
    scheme, _, key = authorization.partition(" ")
    digest = hashlib.sha256(key.strip().encode("latin-1")).digest()
    matches = [secrets.compare_digest(digest, expected) for expected in hashes]
    return any(matches) and scheme.lower() == "bearer"
