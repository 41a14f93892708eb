"""API keys: a file of them -> their hashes; a request's header -> whether it brings one of them.

Left out: which endpoints ask for one (limits.py).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from qa_onnx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_KEY = re.compile(r"[\x21-\x7e]{16,512}")
_LIMIT = 1 << 20  # bytes of the file


def read(path: Path) -> tuple[bytes, ...]:
    """Read a file of keys, one a line; blank lines and lines that start with # are skipped.

    Returns:
        The SHA-256 of each, so that no key stays in memory and all have one length.

    Raises:
        InputError: it cannot be read, holds no key, or a line is no key.
    """
    try:
        with path.open("rb") as file:
            lines = file.read(_LIMIT + 1)
        text = lines.decode("ascii")
    except OSError as error:
        raise InputError(f"cannot read the API keys: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} holds other bytes than ASCII: a key has 16 to 512 of them, ! to ~") from error
    if len(lines) > _LIMIT:
        raise InputError(f"{path} is larger than {_LIMIT} bytes: it is no file of API keys")
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if not _KEY.fullmatch(key):
            raise InputError(
                f"line {number} of {path} is no API key: it has {len(key)} characters; a key has 16 to 512, ! "
                "to ~, without blanks. One way to make one: openssl rand -hex 32"
            )
        keys.append(hashlib.sha256(key.encode()).digest())
    if not keys:
        raise InputError(f"{path} holds no API key: write one a line, or leave out --api-key-file")
    return tuple(keys)


def accepted(authorization: bytes, keys: Sequence[bytes]) -> bool:
    """Whether an Authorization header brings one of the keys.

    The time it takes depends on how many keys there are, but not on how much of one is right.

    Args:
        authorization: the header's value, "Bearer KEY"; empty where there is none.
        keys: as `read` gives them.
    """
    scheme, _, key = authorization.partition(b" ")
    given = hashlib.sha256(key.strip()).digest()
    found = False
    for expected in keys:
        found |= hmac.compare_digest(given, expected)
    return found and scheme.lower() == b"bearer"
