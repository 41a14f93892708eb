"""API keys: a file of them -> their hashes; the header of a request -> whether it has a valid key.

Left out: which endpoints need a key (middleware.py).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_KEY = re.compile(rb"[\x21-\x7e]{16,512}")


def read_keys(path: Path) -> tuple[bytes, ...]:
    """Read a file of keys, one a line; skip blank lines and lines that start with #.

    Returns:
        The SHA-256 of each, so that no key stays in memory and all have one length.

    Raises:
        InputError: the file cannot be read or has no key, or a line is not a key.
    """
    try:
        lines = [line.strip() for line in path.read_bytes().splitlines()]
    except OSError as error:
        raise InputError(f"cannot read the API keys: {error}") from error
    hashes = []
    for number, line in enumerate(lines, 1):
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


def is_valid(authorization: str, hashes: Sequence[bytes]) -> bool:
    """Return whether a header "Authorization: Bearer KEY" has one of the keys, in constant time."""
    scheme, _, key = authorization.partition(" ")
    digest = hashlib.sha256(key.strip().encode("latin-1")).digest()
    matches = [secrets.compare_digest(digest, expected) for expected in hashes]
    return any(matches) and scheme.lower() == "bearer"
