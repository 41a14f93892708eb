"""What messages take from input: short, on one line, and harmless for a terminal."""

from __future__ import annotations

import pickle
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_onnx import errors
from qa_onnx.errors import LONGEST_MESSAGE, InputError, QaOnnxError, quoted, shown

FORBIDDEN = {"Cc", "Cs", "Zl", "Zp"}
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_harmless(text: str) -> bool:
    return not any(unicodedata.category(char) in FORBIDDEN or char in BIDI for char in text)


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\nlines\r\t\x00\x7f\x9b", r"two\nlines\r\t\x00\x7f\x9b"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("txt.\u202egpj.exe\u2066\u200e", r"txt.\u202egpj.exe\u2066\u200e"),
        ("\udce9 \ud83d", r"\udce9 \ud83d"),
        ("Zürich 東京\u3000می\u200cخواهم", "Zürich 東京\u3000می\u200cخواهم"),
        ("a" * 60 + "b" * 60, "a" * 52 + "..." + "b" * 25),
    ],
)
def test_text_is_shown_with_escapes(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.text(st.characters(), max_size=300), st.integers(10, 200))
def test_shown_text_is_short_and_harmless(text: str, limit: int) -> None:
    line = shown(text, limit)
    assert len(line) <= limit
    assert is_harmless(line)
    assert shown(line, limit) == line


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("it's", '"it\'s"'),
        (0.1, "0.1"),
        ("x" * 9_000_000, f"'{'x' * 37}...{'x' * 38}'"),
        (10**5000, "<int of 16,610 bits>"),  # which Python refuses to write
        ([10**5000], "[<int of 16,610 bits>]"),
        ([0] * 9_000_000, "[0, 0, 0, 0, 0, 0, ...]"),
        (Unprintable, "<class 'tests.test_errors.Unprintable'>"),
    ],
    ids=["text", "float", "megabytes", "large int", "list of it", "long list", "class"],
)
def test_values_are_quoted_as_python_writes_them(value: object, expected: str) -> None:
    assert quoted(value) == expected


def test_a_value_that_cannot_be_written_is_named_by_its_type() -> None:
    assert quoted(Unprintable()).startswith("<Unprintable")
    assert quoted(type("list", (), {})()) == "<list>"


@pytest.mark.parametrize(
    ("problem", "remedy"),
    [("x" * 10_000_000, ""), ("x" * 10_000_000, "y" * 10_000_000), ("x", "y" * 10_000), ("\x1b" * 499, "\t" * 99)],
)
def test_no_message_is_long(problem: str, remedy: str) -> None:
    error = InputError(problem, remedy=remedy)
    assert len(str(error)) <= LONGEST_MESSAGE
    assert is_harmless(str(error))
    assert str(error).endswith(remedy[-1:] if remedy.isprintable() else r"\t")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.remedy) == (InputError, str(error), error.remedy)


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, QaOnnxError)]
)
@pytest.mark.parametrize("message", ["", "a" * 400, "\x1b[2J" * 400])
def test_every_kind_of_error_keeps_the_limit(kind: Any, message: str) -> None:
    assert str(kind(message)) == shown(message, LONGEST_MESSAGE)
