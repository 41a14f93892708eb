"""Values of a JSON file, checked one by one.

Each function returns its value in the type that it names, or raises TypeError or ValueError with the value in it;
whoever reads the file turns that into an error that names the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def string(value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} should be a string")
    return value


def strings(value: object) -> tuple[str, ...]:
    """A list of strings."""
    if not isinstance(value, list):
        raise TypeError(f"{value!r} should be a list of strings")
    return tuple(map(string, value))


def integer(value: object) -> int:
    """A non-negative integer of 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise TypeError(f"{value!r} should be a non-negative integer of 64 bits")
    return value


def number(value: object) -> float:
    """A finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1e300:
        raise TypeError(f"{value!r} should be a finite number")
    return float(value)


def positive(value: object) -> float:
    """A finite number above 0."""
    found = number(value)
    if found <= 0:
        raise ValueError(f"{value!r} should be a positive number")
    return found


def one_of(value: object, *allowed: str) -> str:
    """One of the allowed strings."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{value!r} should be one of {', '.join(allowed)}")
    return value


def pair(value: Sequence[object]) -> tuple[float, float]:
    """Two numbers."""
    low, high = map(number, value)
    return low, high
