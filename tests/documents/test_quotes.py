"""Quotes: planted changes in many scripts, a search by brute force, omissions, and hostile texts."""

from __future__ import annotations

import json
import random
import threading
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_onnx.documents import prepared_text, quotes
from qa_onnx.documents.evidence import stands_alone
from qa_onnx.documents.folding import CHANGES, fold
from qa_onnx.documents.prepared_text import PreparedText
from qa_onnx.documents.quotes import LONGEST_GAP, LONGEST_QUOTE, QuoteMatch, find_quote, find_quotes
from qa_onnx.errors import InputError
from qa_onnx.tokens.boundaries import whole

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = {
    "Latin": "The office field flat café naïve Ångström Zoë résumé Dvořák coöperate",
    "Cyrillic": "Київ ёлка мост Йошкар улица зимой",
    "Greek": "Ἀθῆναι ψυχή σοφός άνθρωπος Ελλάς",
    "Devanagari": "दिल्ली हिन्दी क्षत्रिय भारत",
    "Hangul": "서울 부산 대한민국 안녕",
    "Arabic": "القاهرة كتاب مدرسة",
    "Han": "東京 北京大學 今天天氣",
    "Vietnamese": "Việt Nội đường phở",
}


def text_of(rng: random.Random) -> str:
    """A text without anything that folding changes but capitals; each word has a number, so none stands twice."""
    words = [f"{rng.choice(WORDS[rng.choice(list(WORDS))].split())}{number}" for number in range(100, 160)]
    return unicodedata.normalize("NFC", " ".join(words))


def planted(rng: random.Random, text: str, kind: str) -> str | None:
    """Return what stands in the text instead of a piece of it; None where the piece has nothing to change."""
    changes: dict[str, Callable[[], str]] = {
        "none": lambda: text,
        "white space": lambda: text.replace(" ", rng.choice(["  ", "\n", "\r\n", " \t ", "\u00a0", "\u3000"])),
        "hyphenation": lambda: regex.sub(r"(?<=[a-z])(?=[a-z])", rng.choice(["\u00ad", "-\n"]), text, count=1),
        "typography": lambda: text.replace("'", "’").replace("-", "–").replace("...", "…"),
        "compatibility": lambda: text.replace("ffi", "ﬃ").replace("fi", "ﬁ").replace("fl", "ﬂ").replace("1", "１"),
        "composition": lambda: unicodedata.normalize("NFD", text),
        "case": lambda: text.upper() if len(text.upper()) == len(text) else text,  # some capitals are decomposed
        "a letter": lambda: regex.sub(r"\p{L}(?!\p{M})", "q", text, count=1),
        "an accent": lambda: regex.sub(r"\p{Mn}", "", unicodedata.normalize("NFD", text), count=1),
        "a digit": lambda: regex.sub(r"1(?=\d\d)", "3", text, count=1),
        "a blank": lambda: text.replace(" ", "", 1),
    }
    changed = changes[kind]()
    if kind in ("a letter", "an accent", "a digit", "a blank"):
        return None if unicodedata.normalize("NFC", changed) == text else changed
    return None if changed == text and kind != "none" else changed


KINDS = ("none", *CHANGES, "a letter", "an accent", "a digit", "a blank")


def test_a_thousand_quotes_with_planted_changes() -> None:
    rng = random.Random(20260101)
    done = dict.fromkeys(KINDS, 0)
    while sum(done.values()) < 1_000:
        kind = KINDS[sum(done.values()) % len(KINDS)]
        words = text_of(rng).split(" ")
        first = rng.randrange(50)
        quote = " ".join(words[first : first + rng.randint(1, 8)])
        if kind == "typography":
            quote = f"it's so - {quote}..."
        changed = planted(rng, quote, kind)
        if changed is None:
            continue
        before, after = " ".join(words[:first]), " ".join(words[first + 8 :])
        text = f"{before} {changed} {after}"
        start = len(before) + 1 if before else 1
        match = find_quote(quote, text)
        if kind in KINDS[:7]:
            assert match is not None, (kind, quote, text)
            assert (match.start, match.end) == (start, start + len(changed)), (kind, quote, text)
            assert match.text == changed
            assert match.verdict == ("exact" if kind == "none" else "normalised")
            assert match.changes == (() if kind == "none" else (kind,)), (quote, changed)
            assert not match.widened
        else:
            assert match is None, (kind, quote, text)
        done[kind] += 1
    assert min(done.values()) >= 90


ALPHABET = [*"aA b.eé-\n’'ﬁfi…中文", "e\u0301", "\u0301", "\u00ad", "-\n", "  ", "Ａ", "ﬁ", "\r\n", "👩", "\u200d"]


def forms(text: str) -> set[str]:
    return {fold(text, keep_hyphens=keep).strip() for keep in (False, True)}


def by_brute_force(quote: str, text: str) -> set[tuple[int, int]]:
    """Ranges of whole characters that read like the quote, but for those that begin or end with what is left out.

    That is white space, a soft hyphen, and the hyphen of a line end.
    """
    ends = [0, *(match.end() for match in regex.finditer(r"\X", text))]
    wanted = forms(quote)
    line_end = regex.compile(r"(?<=\p{L}\p{M}*)- *(\r\n|\n|\r) *(?=\p{L})")
    return {
        (start, end)
        for start in ends
        for end in ends
        if start < end
        and text[start:end] == text[start:end].strip(" \n\r\u00ad")
        and not line_end.match(text, start)
        and forms(text[start:end]) & wanted
    }


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=14).map("".join),
    st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=4).map("".join),
    st.data(),
)
def test_matches_are_those_of_a_search_by_brute_force(text: str, quote: str, data: st.DataObject) -> None:
    if data.draw(st.booleans()):  # a piece of the text, perhaps folded
        start = data.draw(st.integers(0, len(text) - 1))
        quote = text[start : start + data.draw(st.integers(1, 5))]
        quote = fold(quote) if data.draw(st.booleans()) else quote
    quote = quote.strip()
    if not fold(quote).strip() or quote.strip("\u00ad") != quote or unicodedata.combining(quote[0]):
        return
    expected = by_brute_force(quote, text)
    matches = [match for match in find_quotes(quote, text) if match.verdict != "shortened"]
    plain = [match for match in matches if not match.widened]
    assert {(match.start, match.end) for match in plain if match.verdict == "normalised"} <= expected
    assert bool(matches) or not expected
    for match in plain:
        assert match.text == text[match.start : match.end]
        assert forms(match.text) & forms(quote)
        assert (match.verdict == "exact") == (match.text == quote) == (match.changes == ())
    for match in matches:
        assert any(form in other for form in forms(quote) for other in forms(match.text))
        assert match.whole_words == stands_alone(text, match.start, match.end)
    by_place = sorted((match.start, match.end) for match in matches)
    assert all(one[1] <= other[0] for one, other in pairwise(by_place))
    ends = {0, *(match.end() for match in regex.finditer(r"\X", text))}
    exact = [at for at in ends if text.startswith(quote, at) and at + len(quote) in ends]
    assert any(match.verdict == "exact" for match in matches) == bool(exact)
    best = find_quote(quote, text)
    assert best is None or not matches or best.verdict == matches[0].verdict


def one(quote: str, text: str) -> QuoteMatch:
    match = find_quote(quote, text)
    assert match is not None
    return match


def test_an_accent_is_never_ignored_however_it_is_written() -> None:
    for text in ("café", "cafe\u0301", "CAFÉ"):
        assert find_quote("cafe", text) is None
        assert find_quote("café", text) is not None
    assert find_quote("na", "nai\u0308ve") is not None
    assert find_quote("e", "ê e\u0302") is None
    assert find_quote("👩", "👩\u200d🚀") is None
    assert find_quote("\U0001f1ea", "\U0001f1e9\U0001f1ea") is None  # half of a flag


def test_half_of_a_ligature_is_widened() -> None:
    match = one("the of", "The oﬃce")
    assert (match.text, match.widened, match.changes) == ("The oﬃ", True, ("compatibility", "case"))
    assert not one("the offi", "The oﬃce").widened


def test_hyphens_at_line_ends_are_of_the_word_or_of_the_line() -> None:
    text = "It is a well-\nknown piece of infor-\nmation."
    assert one("well-known piece", text).changes == ("hyphenation",)
    assert one("of information", text).changes == ("hyphenation",)
    assert find_quote("wellknown piece of infor-mation", text) is None
    assert find_quote("well-known piece of information", text) is None  # one way for the whole quote
    assert one("well-\nknown", "It is well-known.").changes == ("hyphenation",)


def test_several_changes_are_all_named() -> None:
    match = one("“The café’s office”", '"THE\nCAFE\u0301\'S O\u00adﬃce"'.replace("ﬃ", "ﬃ"))
    assert match.changes == CHANGES


def test_whole_words_come_first() -> None:
    text = "Not 130 days, but 30 days."
    assert [match.whole_words for match in find_quotes("30 days", text)] == [False, True]
    assert one("30 days", text).start == text.rindex("30")
    assert one("0 days", text).start == text.index("0 days")


def test_exact_comes_before_normalised() -> None:
    assert [(m.verdict, m.text) for m in find_quotes("a b", "A B, a b, a\nb")] == [
        ("exact", "a b"),
        ("normalised", "A B"),
        ("normalised", "a\nb"),
    ]


def test_what_a_quote_leaves_out() -> None:
    text = "The tenant shall, unless agreed otherwise, pay the rent. The landlord keeps the house dry."
    for mark in ("…", "...", "[...]", "[…]", "(...)", " [ … ] "):
        match = one(f"The tenant shall {mark} pay the rent", text)
        assert match.verdict == "shortened"
        assert match.text == "The tenant shall, unless agreed otherwise, pay the rent"
        assert [text[start:end] for start, end in match.parts] == ["The tenant shall", "pay the rent"]
    assert one("the TENANT … the house", text).changes == ("case",)
    assert find_quote("pay the rent … the tenant shall", text) is None  # another order
    assert find_quote("The tenant … pay the ren", text) is None  # a part of a word
    assert one("…pay the rent…", text).text == "pay the rent"
    assert one("pay...", "pay... pay").verdict == "exact"
    assert one("pay…", "pay... pay").changes == ("typography",)
    assert find_quote("…", text) is None


def test_parts_are_as_near_as_can_be_and_never_too_far() -> None:
    text = "one two one two three two three"
    assert [text[match.start : match.end] for match in find_quotes("one … three", text)] == ["one two three"]
    gap = "x" * (LONGEST_GAP - 2)
    assert find_quote("one … two", f"one {gap} two") is not None
    assert find_quote("one … two", f"one {gap}x two") is None
    # The first "two" cannot reach "three", and a later one can.
    text = f"one two {'x' * 500} two {'x' * 600} three"
    assert one("one … two … three", text).parts[1] == (text.rindex("two"), text.rindex("two") + 3)


@pytest.mark.parametrize(
    ("quote", "problem"),
    [
        ("", "nothing to look for"),
        (" \n", "nothing to look for"),
        ("\u00ad \u00ad", "nothing to look for"),
        ("a" * (LONGEST_QUOTE + 1), "10,001 characters"),
        ("a…" * 30, "leaves something out 29 times"),
        (7, "of type int"),
    ],
)
def test_quotes_that_cannot_be_looked_for_are_refused_at_once(quote: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        find_quotes(quote, "text")


def test_texts_that_cannot_be_searched_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="of type bytes"):
        find_quote("a", b"a")  # type: ignore[arg-type]
    monkeypatch.setattr(prepared_text, "LONGEST_TEXT", 3)
    with pytest.raises(InputError, match="a text of 4 characters"):
        PreparedText("four")


def test_a_prepared_text_is_folded_once_and_serves_threads() -> None:
    prepared = PreparedText("The boat is blue.\n" * 100)
    assert prepared.folded is prepared.folded
    found: list[int] = []

    def count() -> None:
        found.append(sum(1 for _ in find_quotes("the BOAT is", prepared)))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [100] * 4
    assert json.loads(json.dumps(one("the boat", "The boat").to_dict()))["changes"] == ["case"]


HOSTILE = {
    "a's": ("a" * 1_000_000, "a" * 9_999),
    "a's and a b": ("a" * 1_000_000, "a" * 9_999 + "b"),
    "a b and a's": ("a" * 1_000_000, "b" + "a" * 9_999),
    "marks": ("\u0301" * 1_000_000, "\u0301" * 9_999),
    "letters with marks": ("a\u0301" * 500_000, "a\u0301" * 4_000 + "a"),
    "blocks that end in a mark": (("a" * 999 + "\u0301") * 1_000, "a" * 500),
    "cases": ("aA" * 500_000, "Aa" * 4_000),
    "hyphens": ("a-\n" * 100_000, "a-a-" * 1_000),
    "omissions": ("a ... " * 100_000, "a ... " * 10),
    "ligatures": ("ﬃ" * 300_000, "f" * 5_000),
    "blanks": (" " * 1_000_000, "a"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "quote"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_are_searched_with_bounded_work(
    text: str, quote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = 0

    def counted(*args: object, **options: object) -> tuple[int, int]:
        nonlocal looked_at
        looked_at += 1
        return whole(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(quotes, "whole", counted)
    found = sum(match.end - match.start for match in find_quotes(quote, text))
    assert found <= 3 * len(text)
    of_parts = quotes.MOST_PARTS * quotes._MOST_PLACES
    assert looked_at <= 4 * (quotes._MOST_REFUSED + len(text) / len(quote)) + (of_parts if "..." in quote else 0)
