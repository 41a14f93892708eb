"""Boundaries: answers are whole letters and words, in every script and with every kind of tokenizer."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from qa_onnx import Example, Options, Reader, Windower
from qa_onnx.testing import FakeSession
from qa_onnx.tokens.boundaries import whole
from tests.fresh import printed

if TYPE_CHECKING:
    from collections.abc import Sequence

# Words of ten scripts, many with marks; emoji; and what stands between words.
SCRIPTS = {
    "Latin": [unicodedata.normalize("NFD", word) for word in ("Zoë", "José", "Hà", "Nội", "Ångström", "plain")],
    "Cyrillic": [unicodedata.normalize("NFD", word) for word in ("Київ", "Ёлка", "мост")],
    "Greek": [unicodedata.normalize("NFD", word) for word in ("Ἀθῆναι", "ψυχή")],
    "Arabic": ["مُحَمَّد", "القاهرة", "مي\u200cخواهم", "\u0600١٢"],
    "Hebrew": ["שָׁלוֹם", "ירושלים"],
    "Devanagari": ["दिल्ली", "क्षत्रिय", "हिन्दी"],
    "Tamil": ["தமிழ்", "கோயில்"],
    "Thai": ["กำแพง", "น้ำ"],
    "Hangul": ["서울에서", unicodedata.normalize("NFD", "서울"), "각"],
    "Han and Kana": ["東京", "か\u3099き", "葛\U000e0100城", "ﾊﾟ"],
    "emoji": ["👩‍👩‍👧", "🇩🇪🇫🇷", "👍🏽", "❤️", "🏴\U000e0067\U000e0062\U000e007f", "1️⃣"],
    "other": [" ", " ", "\n", "-", ".", "a", "7", " \u0301", " \u200c", "\u00ad", "x\u0301\u0302"],
}
WORDS = [word for words in SCRIPTS.values() for word in words]
SPECIAL = ["[UNK]", "[CLS]", "[SEP]"]
KINDS = ("WordPiece", "byte-level BPE", "SentencePiece Unigram", "Metaspace BPE", "characters")


def vocabulary(*pieces: str) -> dict[str, int]:
    return {piece: at for at, piece in enumerate(dict.fromkeys([*SPECIAL, *pieces]))}


@cache
def reader_of(kind: str) -> Reader:
    """A reader without a model over a tokenizer whose pieces are single characters, or bytes, and a few more."""
    characters = sorted({*"".join(WORDS), *unicodedata.normalize("NFKC", "".join(WORDS))} - {" ", "\n"})
    if kind == "WordPiece":
        pieces = vocabulary(*(mark + piece for mark in ("", "##") for piece in [*characters, "pla", "in"]))
        tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif kind == "byte-level BPE":
        tokenizer = Tokenizer(
            models.BPE(vocabulary(*sorted(pre_tokenizers.ByteLevel.alphabet()), "pl"), [("p", "l")])
        )
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif kind == "SentencePiece Unigram":
        scores = {piece: -float(at) for at, piece in enumerate(vocabulary("▁", *characters, "in"))}
        tokenizer = Tokenizer(models.Unigram([*scores.items()], unk_id=0))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    elif kind == "Metaspace BPE":
        pieces = vocabulary("▁", *characters, "▁p", "la")
        tokenizer = Tokenizer(models.BPE(pieces, [("▁", "p"), ("l", "a")], unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        tokenizer = Tokenizer(models.WordLevel(vocabulary(*characters), unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in SPECIAL[1:]],
    )
    options = Options(max_length=64, doc_stride=8, max_question_length=8, n_best=30)
    return Reader(session=FakeSession(), windower=Windower(tokenizer.to_str()), options=options)


def borders(text: str) -> set[int]:
    """Where clusters begin or end, counted from the beginning of the text."""
    return {0, *(match.end() for match in regex.finditer(r"\X", text))}


# Letters of scripts with blanks, as Unicode names scripts.
LETTERS = regex.compile(r"[\p{Latin}\p{Cyrillic}\p{Greek}\p{Arabic}\p{Hebrew}\p{Devanagari}\p{Tamil}]{2}")


def splits_a_word(text: str, at: int) -> bool:
    """Whether a position has letters of a script with blanks on both sides, not counting marks and joiners."""
    before = [char for char in text[:at] if unicodedata.category(char)[0] != "M" and char not in "\u00ad\u200c"]
    pair = "".join(before[-1:]) + text[at : at + 1]
    return pair.isalpha() and LETTERS.fullmatch(pair) is not None


def check(context: str, found: Sequence[tuple[int, int]], *, aligned: bool) -> None:
    edges = borders(context)
    assert len(set(found)) == len(found)
    for start, end in found:
        text = context[start:end]
        assert text
        assert text == text.strip()
        assert {start, end} <= edges, (text, context)
        if aligned:
            assert not splits_a_word(context, start), (text, context)
            assert not splits_a_word(context, end), (text, context)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=12),
    aligned=st.booleans(),
    max_answer_length=st.integers(1, 12),
)
def test_answers_are_whole_with_any_tokenizer_in_any_script(
    kind: str, words: list[str], aligned: bool, max_answer_length: int
) -> None:
    reader, context = reader_of(kind), "".join(words)
    options = replace(reader.options, align_to_words=aligned, max_answer_length=max_answer_length)
    [prediction] = reader.predict([Example("a", context)], options=options)
    assert all(context[answer.start : answer.end] == answer.text for answer in prediction.answers)
    check(context, [(answer.start, answer.end) for answer in prediction.answers], aligned=aligned)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_has_answers_with_each_tokenizer(kind: str, script: str) -> None:
    context = " ".join(SCRIPTS[script])
    reader = reader_of(kind)
    [prediction] = reader.predict([Example("a", context)], options=replace(reader.options, overlapping=True))
    assert len(prediction.answers) > 2
    check(context, [(answer.start, answer.end) for answer in prediction.answers], aligned=True)


@given(text=st.text(st.sampled_from([*"".join(WORDS)]), max_size=20), data=st.data())
def test_a_range_becomes_the_least_whole_one(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    edges = borders(text)
    found = whole(text, start, end, align_to_words=False)
    if found[0] < found[1]:
        check(text, [found], aligned=False)
    if start < end and not any(map(str.isspace, text)):
        assert found == (max(at for at in edges if at <= start), min(at for at in edges if at >= end))


@pytest.mark.parametrize(
    ("text", "part", "expected"),
    [
        ("by Agnes Halloran.", "oran", "Halloran"),
        ("by Agnes Halloran's", "Hall", "Halloran"),
        ("in 1987", "87", "1987"),
        ("state-of-the-art", "of", "of"),
        ("Zoe\u0308 left", "Zoe", "Zoe\u0308"),
        ("vu\u0308e", "vu", "vu\u0308e"),
        ("यह दिल्ली है", "दिल", "दिल्ली"),
        ("مي\u200cخواهم", "مي", "مي\u200cخواهم"),
        ("co\u00adoperate", "oper", "co\u00adoperate"),
        ("東京は大きい", "京", "京"),
        ("COVID疫情", "疫", "疫"),
        ("กำแพงเมือง", "กำ", "กำ"),
        ("서울에서", "서울", "서울"),
        (unicodedata.normalize("NFD", "서울에서"), "\u1109\u1165", unicodedata.normalize("NFD", "서")),
        ("👩‍👩‍👧!", "👩", "👩‍👩‍👧"),
        ("🇩🇪🇫🇷🇮🇹", "🇪🇫", "🇩🇪🇫🇷"),
        ("🇩" * 401, "🇩" * 401, "🇩" * 401),
        (" \n word \t", " \n word \t", "word"),
        ("x \u0301 y", " \u0301 y", "y"),
        ("x \u0301 y", "\u0301 y", "y"),
        ("x \u0301 y", "x ", "x"),
        (" \u0301", "\u0301", ""),
        ("  ", " ", ""),
        ("\u0600 x", "\u0600", ""),
        ("a" * 300, "a" * 10, "a" * 10),
    ],
)
def test_what_an_answer_takes_in(text: str, part: str, expected: str) -> None:
    at = text.index(part)
    start, end = whole(text, at, at + len(part), align_to_words=True)
    assert text[start:end] == expected


@pytest.mark.parametrize("long", ["a" + "\u0301" * 50_000, "🇩" * 50_001, "क\u094d" * 20_000, "👩\u200d" * 20_000])
def test_no_text_is_long_enough_to_wait_for(long: str) -> None:
    """It would take minutes, if more than the neighbours of an end were looked at."""
    for at in range(20_000, 20_100):
        start, end = whole(long, at, at + 1, align_to_words=True)
        assert start <= at < end


def test_english_does_without_the_package_for_clusters() -> None:
    code = """
import sys
from qa_onnx.testing import fake_reader
reader = fake_reader("blue")
for context in ("The boat is blue, and the sail is white.", "The boat is \\u00e8blue, ma ch\\u00e8re."):
    print(reader.ask("What colour is the boat?", context).text, "regex" in sys.modules)
"""
    assert printed(code) == "blue False\nblue True\n"
