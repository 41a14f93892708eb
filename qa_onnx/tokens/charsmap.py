"""The character map of a Precompiled normalizer: every place that it points at lies inside of it.

SentencePiece writes one: the size of a trie in bytes, the trie as a double array of 32-bit units (Aoe, Morimoto
and Sato 1992, in the form of the Darts-clone library), and the replacements, each ended by a zero byte. A key is
the UTF-8 of some characters, its value the place where the replacement begins. The tokenizers library does not
check the places that such a map names, and panics at a wrong one.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_onnx.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST_REPLACEMENT = 64  # bytes; the longest of NFKC has 33
LARGEST_MAP = 2 << 20  # characters of base 64; SentencePiece's own have 330,000

_AT_ONCE = 4096  # nodes
_BYTES = np.arange(1, 256, dtype=np.uint32)  # a key ends before a zero byte


def check_charsmap(text: str, place: str) -> None:
    """Check a character map.

    Args:
        text: it, in base 64.
        place: where it is, for the message.

    Raises:
        BundleError: it is not a character map, or leads out of its trie or its replacements.
    """
    if len(text) > LARGEST_MAP:
        raise BundleError(f"{place}: the character map has {len(text)} characters; the limit is {LARGEST_MAP}")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BundleError(f"{place}: the character map is not base 64: {error}") from error
    size = int.from_bytes(data[:4], "little")
    if len(data) < 8 or size % 4 or not 4 <= size <= len(data) - 4:
        raise BundleError(f"{place}: the character map has {len(data)} bytes, too few for its trie of {size}")
    replacements = data[4 + size :]
    try:
        replacements.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{place}: the replacements of the character map are not UTF-8: {error}") from error
    values = _values(np.frombuffer(data, "<u4", size // 4, 4).astype(np.uint32), place)
    _check_replacements(values, np.frombuffer(replacements, np.uint8), place)


def _values(units: NDArray[np.uint32], place: str) -> NDArray[np.uint32]:
    """Return the values of all keys of a trie, uint32 (N,), going through all nodes that a key can reach."""
    offsets = (units >> 10) << ((units & 0x200) >> 6)
    seen = np.zeros(len(units), np.bool_)
    nodes = offsets[:1]  # of each node, the place from which its children are counted
    values = [nodes[:0]]
    while len(nodes):
        some, nodes = nodes[:_AT_ONCE], nodes[_AT_ONCE:]
        children = (some[:, None] ^ _BYTES).ravel()
        _check_inside(children, units, place)
        match = (units[children] & 0x800000FF) == np.tile(_BYTES, len(some))
        found = np.unique(children[match])
        found = found[~seen[found]]  # a damaged trie can have circles
        seen[found] = True
        new = found ^ offsets[found]
        leaves = new[(units[found] >> 8) & 1 == 1]
        _check_inside(leaves, units, place)
        values.append(units[leaves] & 0x7FFFFFFF)
        nodes = np.concatenate((nodes, new))
    return np.unique(np.concatenate(values))


def _check_inside(places: NDArray[Any], units: NDArray[np.uint32], place: str) -> None:
    if len(places) and places.max() >= len(units):
        raise BundleError(f"{place}: the trie of the character map leads out of its {len(units)} units")


def _check_replacements(values: NDArray[np.uint32], replacements: NDArray[np.uint8], place: str) -> None:
    """Check that each value is where a replacement of sensible length begins."""
    if (values > len(replacements)).any():
        raise BundleError(f"{place}: the character map names a replacement beyond its {len(replacements)} bytes")
    inside = values[values < len(replacements)]
    if (replacements[inside] & 0xC0 == 0x80).any():
        raise BundleError(f"{place}: the character map names a replacement that begins within a character")
    ends = np.append(np.flatnonzero(replacements == 0), len(replacements))
    longest = int((ends[np.searchsorted(ends, values)] - values).max(initial=0))
    if longest > LONGEST_REPLACEMENT:
        problem = f"{place}: the character map makes {longest} bytes of a character"
        raise BundleError(f"{problem}; the limit is {LONGEST_REPLACEMENT}")
