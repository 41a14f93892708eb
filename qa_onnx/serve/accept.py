"""The Accept header -> the media type to answer with (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.serve.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

JSON = "application/json"
JSON_LINES = ("application/jsonl", "application/x-ndjson")


def choose(accept: str, offered: Sequence[str]) -> str:
    """The offered type that the client likes best; of equals the first.

    Args:
        accept: the header's value; empty: anything.
        offered: what the endpoint can write, lower case.

    Raises:
        Problem: 406, the client takes none of them.
    """
    if not accept.strip():
        return offered[0]
    ranges = [_parsed(part) for part in accept.split(",") if part.strip()]
    best = max(offered, key=lambda media: _quality(media, ranges))  # max keeps the first of equals
    if _quality(best, ranges) <= 0:
        raise Problem(406, f"this endpoint writes {', '.join(offered)}; the Accept header allows none of them")
    return best


def _parsed(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip() for piece in part.lower().split(";"))
    quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
    try:
        return media, min(1.0, max(0.0, float(quality)))
    except ValueError:
        return media, 1.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality that the most specific matching range gives."""
    for name in (media, media.partition("/")[0] + "/*", "*/*"):
        found = [quality for pattern, quality in ranges if pattern == name]
        if found:
            return max(found)
    return 0.0
