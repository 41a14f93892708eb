"""Quotes of a list: marks of lists and quotation marks of many languages, and what only looks like them."""

from __future__ import annotations

import pytest

from qa_onnx.documents.listed_quotes import find_listed_quote, without_marks
from qa_onnx.documents.prepared_text import PreparedText
from qa_onnx.documents.quotes import find_quote

TEXT = "The captain is  Ida Moen.\n2. FC Union won on 4. Mai.\n(b) The tenant pays the rent in May."
SAID = "captain is Ida"

# How languages quote, by the Unicode Common Locale Data Repository: quotationStart, quotationEnd, alternates
QUOTED = "“{}” ‘{}’ „{}“ ‚{}‘ „{}” »{}« «{}» ‹{}› ”{}” ’{}’ 「{}」 『{}』".split()  # noqa: SIM905


@pytest.mark.parametrize("form", [*QUOTED, "«\u202f{}\u202f»", "« {} »", '"{}"', "'{}'", '"{}".', "“{}”,"])
@pytest.mark.parametrize("mark", ["", "- ", "• ", "* ", "1. ", "12) ", "(3) ", "a) "])
def test_marks_around_a_quote_are_left_out(form: str, mark: str) -> None:
    line = mark + form.format(SAID)
    assert without_marks(line) == SAID
    assert find_quote(line, TEXT) is None
    match = find_listed_quote(line, PreparedText(TEXT))
    assert match is not None
    assert (match.verdict, match.changes) == ("normalised", ("marks", "white space"))
    assert TEXT[match.start : match.end] == "captain is  Ida"


@pytest.mark.parametrize(
    "line", [SAID, "3. Mai", "“", "- ", "“one” and “two", "J. Moen", "IV. Moen", "3.5 million"]
)
def test_what_only_looks_like_marks_stays(line: str) -> None:
    assert without_marks(line) == line.strip()
    assert find_listed_quote(line, TEXT) is None


def test_a_shortened_quote_stays_one() -> None:
    match = find_listed_quote("“The captain … Moen”", TEXT)
    assert match is not None
    assert (match.verdict, match.changes) == ("shortened", ("marks",))


@pytest.mark.parametrize("line", ["1. FC Union won", "(a) The tenant pays", "1. “The tenant pays”"])
def test_a_number_is_not_left_out_where_another_one_stands(line: str) -> None:
    assert find_listed_quote(line, TEXT) is None
    assert find_listed_quote(line, f"{TEXT} {without_marks(line)}") is not None
