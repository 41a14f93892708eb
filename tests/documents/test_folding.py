"""Folding: what becomes equal, what never does, and that places lead back to the original."""

from __future__ import annotations

import sys
import unicodedata

import pytest
import regex
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from qa_onnx.documents import folding
from qa_onnx.documents.folding import CHANGES, FoldedText, fold

EQUAL = [
    ("two  \t blanks\r\nand lines", "two blanks and lines"),
    ("no\u00a0break\u3000wide", "no break wide"),
    ("wi\u00adnd\u00admill", "windmill"),
    ("wind-\nmill", "windmill"),
    ("wind\u2010 \r\n  mill", "windmill"),
    ("wind\u00ad\nmill", "windmill"),
    ("“a” ‘b’ «c» „d“", '"a" \'b\' "c" "d"'),
    ("a – b — c − d", "a - b - c - d"),
    ("wait…", "wait..."),
    ("oﬃce ﬁt", "office fit"),
    ("ＡＢＣ１２３", "abc123"),
    ("ﾊﾟｶﾞ", "パガ"),
    ("ｶﾞ", "ガ"),
    ("ﷲ", "الله"),
    ("cafe\u0301", "café"),
    ("ệ", "e\u0302\u0323"),
    ("각", "\u1100\u1161\u11a8"),
    ("ﾡￂ", "가"),
    ("ẛ", "\u017f\u0307"),
    ("J\u030c", "ǰ"),
    ("ΣΑΣ", "σας"),
    ("ЁЛКА", "ёлка"),
    ("STRAẞE", "straße"),
    ("今天\n天气", "今天天气"),
    ("これは。\r\n　あれ", "これは。あれ"),
]
DIFFERENT = [
    ("café", "cafe"),
    ("boat", "bout"),
    ("Straße", "Strasse"),
    ("5²", "52"),
    ("H₂O", "H2O"),
    ("2½", "21/2"),
    ("①", "1"),
    ("1,000", "1000"),
    ("well-known", "wellknown"),
    ("3-\n4", "34"),
    ("a b", "ab"),
    ("한국 어", "한국어"),
    ("word\n\nword", "wordword"),
    ("今天 天气", "今天天气"),
    ("it's", "its"),
    ("й", "и"),
    ("ガ", "カ"),
    ("क़", "क"),
    ("ا", "أ"),
    ("İ", "i"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_what_reads_the_same_is_equal(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_reads_differently_is_not(one: str, other: str) -> None:
    assert fold(one) != fold(other)
    assert fold(one, keep_hyphens=True) != fold(other, keep_hyphens=True)


def test_a_hyphen_at_a_line_end_may_be_kept() -> None:
    assert fold("well-\nknown", keep_hyphens=True) == "well-known"
    assert fold("wind\u00ad\nmill", keep_hyphens=True) == "windmill"


def test_each_change_alone() -> None:
    text = "“É\u00adcole”  Ｘe\u0301"
    alone = {change: fold(text, frozenset([change])) for change in CHANGES}
    assert alone == {
        "white space": "“É\u00adcole” Ｘe\u0301",
        "hyphenation": "“École”  Ｘe\u0301",
        "typography": '"É\u00adcole"  Ｘe\u0301',
        "compatibility": "“É\u00adcole”  Xe\u0301",
        "composition": "“É\u00adcole”  Ｘé",
        "case": "“é\u00adcole”  ｘe\u0301",
    }
    assert fold(text, frozenset()) == text


@pytest.mark.slow
def test_no_text_is_cut_where_unicode_composes() -> None:
    """Nothing is cut in front of any character that a composed one holds after its first."""
    composing = regex.compile(f"[{folding._COMPOSING}]")
    seconds = set()
    for code in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and parts[0][0] != "<":
            seconds.add(chr(int(parts[1], 16)))
    seconds |= {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}  # of Hangul
    assert [char for char in seconds if not composing.match(char)] == []
    for code in range(sys.maxunicode + 1):
        if unicodedata.normalize("NFKD", chr(code))[0] in seconds and not composing.match(chr(code)):
            # What is folded in plain form may begin with such a character.
            assert folding._compatible(chr(code)) == chr(code), hex(code)


PIECES = [
    *"aB éßſﬁ…“—-½²Ａ今あｶﾞＩıİΣ\n\r\t\u00ad\u0301\u0323\u0345\u1100\u1161\u11a8\u3000",
    "-\n",
    "e\u0301",
    "\r\n",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=40)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_composed_and_decomposed_texts_fold_alike(text: str) -> None:
    assume("\u00ad" not in text)  # between a letter and its mark it hides from the library that they are one
    assert fold(text) == fold(unicodedata.normalize("NFC", text)) == fold(unicodedata.normalize("NFD", text))


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_folding_twice_changes_nothing(text: str) -> None:
    assume("\u00ad" not in text)  # two runs of white space with nothing but one between them stay two
    once = fold(text)
    assert unicodedata.is_normalized("NFC", once)
    assert fold(once) == once


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.booleans())
@example("x\u0301" * 200, False)
@example("oﬃce\u00adoﬃce ﬃ\u0301", False)
def test_places_lead_back_to_the_original(text: str, keep_hyphens: bool) -> None:
    folded = FoldedText(text, keep_hyphens=keep_hyphens)
    assert folded.folded == fold(text, keep_hyphens=keep_hyphens)
    last_start = last_end = 0
    for at in range(len(folded.folded)):
        start, end = folded.cover(at, at + 1)
        assert last_start <= start < end <= len(text)
        assert start == last_start or start >= last_end
        assert folded.range(at, at + 1) in (None, (start, end, False), (start, end, True))
        last_start, last_end = start, end


def test_a_ligature_is_not_cut_and_a_mark_is_not_left_alone() -> None:
    assert FoldedText("oﬃce").range(0, 2) == (0, 2, True)
    assert FoldedText("oﬃce").range(1, 4) == (1, 2, False)
    assert FoldedText("ax\u0302").range(0, 2) is None
    assert FoldedText("x\u0302a").range(1, 3) is None
    assert FoldedText("x\u0302a").range(0, 2) == (0, 2, False)


@pytest.mark.parametrize(
    "unit", ["\u0301", "a\u0301\u0323", "\u0323\u0301", "\u00ad", "a-\n", "-", "ﷺ", " ", "\u1161"]
)
def test_hostile_texts_are_folded(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    folded = FoldedText(text)
    assert len(folded.folded) <= 3 * len(text)
    if folded.folded:
        assert folded.cover(0, len(folded.folded))[1] <= len(text)
