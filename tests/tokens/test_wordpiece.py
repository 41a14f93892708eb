"""Tokens from remembered chunks and words: those of the tokenizers library, at the same places, or none at all."""

from __future__ import annotations

import json
import random
import threading
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from qa_onnx.tokens import character_table, wordpiece
from qa_onnx.tokens.encoder import TextEncoder
from qa_onnx.tokens.encoding import EncodedContext
from qa_onnx.tokens.wordpiece import WordPiece
from tests import tiny
from tests.conftest import TINY_TOKENIZER

TINY_JSON = TINY_TOKENIZER.read_text(encoding="utf-8")


def library(
    *, lowercase: bool = True, strip_accents: bool | None = None, clean_text: bool = True, ideograms: bool = True
) -> Tokenizer:
    """The tiny model's tokenizer, with this normalizer."""
    tokenizer = Tokenizer.from_str(TINY_JSON)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase,
        strip_accents=strip_accents,
        clean_text=clean_text,
        handle_chinese_chars=ideograms,
    )
    return tokenizer


KINDS = {
    "uncased": library(),
    "cased": library(lowercase=False),
    "uncased, with accents": library(strip_accents=False),
    "with control characters": library(clean_text=False),
    "with ideograms in words": library(ideograms=False),
}


def wordpiece_for(tokenizer: Tokenizer) -> WordPiece:
    found = WordPiece.of(tokenizer)
    assert found is not None
    return found


OWN = {kind: wordpiece_for(tokenizer) for kind, tokenizer in KINDS.items()}


def compare(own: Any, other: Any, text: str) -> None:
    """Compare all that is known of the tokens of a text with the library's encoding of it."""
    assert own.ids.tolist() == other.ids
    assert own.offsets.tolist() == [list(place) for place in other.offsets]
    context = EncodedContext(text, own.ids, own)
    for token, word in enumerate(other.word_ids):
        first, end = other.word_to_tokens(word)
        assert context.words(token, token) == (first, end - 1)
        assert own.opens[token] == (token == first)


def check(kind: str, text: str) -> bool:
    """Compare everything with the library; whether there was something to compare."""
    own, other = OWN[kind].encode(text), KINDS[kind].encode(text, add_special_tokens=False)
    if own is None:
        return False
    compare(own, other, text)
    return True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\r\n",
        "The lamp's keeper, Ida;came  by boat in 1887.\nWho(?) came?!",
        "Çà et là: \u201cÜber naïve Œuvre\u201d \u2013 5\u00a0€ ΣΑΣ",
        "[CLS] unaffable unwantedrunning [SEP] ##ing",
        "東京 and 京都、the footbridge",
    ],
)
def test_tokens_and_places_are_the_librarys(kind: str, text: str) -> None:
    assert check(kind, text)


def test_the_example_in_the_docstring_is_true() -> None:
    tokenizer = library()
    tokenizer.model = models.WordPiece(
        {token: at for at, token in enumerate(["[UNK]", "the", "lamp", "'", "s", "un", "##lit"])}
    )
    tokens = wordpiece_for(tokenizer).encode("The lamp's unlit")
    assert tokens is not None
    assert tokens.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert tokens.opens.tolist() == [True, True, True, True, True, False]
    assert tokens.offsets[[1, 5]].tolist() == [[4, 8], [13, 16]]


def test_a_letter_that_becomes_two_is_the_librarys() -> None:
    assert check("uncased", "İstanbul")
    assert not check("uncased, with accents", "İstanbul")


@pytest.mark.parametrize("kind", KINDS)
@given(
    parts=st.lists(
        st.one_of(st.text(max_size=6), st.sampled_from(["The Café", "[SEP]", " ", "mast's", "footbridge", "東京"]))
    )
)
def test_of_any_text(kind: str, parts: list[str]) -> None:
    text = "".join(parts).encode("utf-8", "replace").decode("utf-8")
    assert check(kind, "".join(character for character in text if OWN[kind].encode(character) is not None))


@pytest.mark.parametrize(
    "text", ["a\0b", "a\u200bb", "\ufffd", "e\u0301", "\u302e", "한", "\U0001d165", "x" * 101], ids=ascii
)
def test_what_words_and_characters_alone_do_not_tell_goes_to_the_library(text: str) -> None:
    assert OWN["uncased"].encode(f"The mast {text} hangs") is None
    assert OWN["uncased"].encode("The mast hangs") is not None
    [encoding] = TextEncoder(TINY_JSON).encode([f"The mast {text} hangs"])
    assert list(encoding.ids) == KINDS["uncased"].encode(f"The mast {text} hangs", add_special_tokens=False).ids


@pytest.mark.parametrize("kind", KINDS)
def test_no_character_is_another_beside_others(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(character_table, "_TABLE", 0x20000)
    other = KINDS[kind]
    own = wordpiece_for(other)
    every = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]  # beyond: ideograms
    kept = [character for character in every if own.encode(character) is not None]
    assert len(kept) > 50_000
    assert all(chr(code) in kept for code in range(32, 127))
    random.Random(0).shuffle(kept)
    for at in range(0, len(kept), 60):
        text = "".join(kept[at : at + 60])
        assert own.words(text) == [
            word for word, _ in other.pre_tokenizer.pre_tokenize_str(other.normalizer.normalize_str(text))
        ]


def test_texts_of_both_kinds_keep_their_order() -> None:
    texts = ["The mast", "a single e\u0301", "", "한국 mast", "The door"]
    encodings = TextEncoder(TINY_JSON).encode(texts)
    assert [OWN["uncased"].encode(text) is not None for text in texts] == [True, False, True, False, True]
    assert [list(encoding.ids) for encoding in encodings] == [
        KINDS["uncased"].encode(text, add_special_tokens=False).ids for text in texts
    ]


def test_a_token_that_is_looked_for_before_normalizing_is_still_found() -> None:
    content = json.loads(TINY_JSON)
    new = {"content": "KEEPER", "id": len(content["model"]["vocab"]), "special": False, "normalized": False}
    content["added_tokens"].append(new | dict.fromkeys(("single_word", "lstrip", "rstrip"), False))
    [encoding] = TextEncoder(json.dumps(content)).encode(["The KEEPER of the lamp"])
    assert new["id"] in encoding.ids


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "deberta-v2"])
def test_other_tokenizers_are_the_librarys(kind: str) -> None:
    tokenizer, _ = tiny._tokenizer(kind)
    tokenizer.encode_special_tokens = kind != "bert"  # of which texts are searched for special tokens first
    assert WordPiece.of(tokenizer) is None


def test_a_last_step_that_moves_places_is_the_librarys() -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "<s>": 1, "</s>": 2, "\u0120": 3, "##ob": 4}))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    [encoding] = TextEncoder(tokenizer.to_str()).encode(["\u0120ob"])
    assert tokenizer.encode("\u0120ob", add_special_tokens=False).offsets[0] == (0, 0)
    assert encoding.offsets[0].tolist() == [0, 0]
    tokenizer.encode_special_tokens = True
    tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    assert WordPiece.of(tokenizer) is not None


def test_what_is_remembered_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordpiece, "_MEMORY", 400)
    own = wordpiece_for(KINDS["uncased"])
    for number in range(200):
        text = f"mast, {number} door {number * 7} key"
        tokens = own.encode(text)
        assert tokens is not None
        assert tokens.ids.tolist() == KINDS["uncased"].encode(text, add_special_tokens=False).ids
        assert 0 < own._memory.characters <= 400
    kept = own._memory.characters
    text = " ".join(map(str, range(120)))
    tokens = own.encode(text)
    assert tokens is not None
    assert tokens.ids.tolist() == KINDS["uncased"].encode(text, add_special_tokens=False).ids
    assert own._memory.characters == kept  # too much at once is not remembered, and drives nothing out
    monkeypatch.setattr(character_table, "_TABLE", 0)
    assert own.encode("mast @") is None
    assert own.encode("mast 1") is not None


@pytest.mark.parametrize("piece", [1, 2, 7, 30])
def test_the_pieces_of_a_long_text_give_its_tokens(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(wordpiece, "_PIECE", piece)
    for text in (" ", "  the  mast ", "The lamp's keeper, Ida;came  by boat in 1887.\nWho(?) came?!", "door " * 9):
        assert check("uncased", text)


def test_the_words_of_a_long_text_come_to_the_library_few_at_a_time() -> None:
    text = " ".join(f"{number:x}" for number in range(100_000))
    tracemalloc.start()
    try:
        assert wordpiece_for(KINDS["uncased"]).encode(text) is not None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 * len(text)  # what is remembered included; all words at once take 156


def test_a_long_text_without_blanks_is_not_remembered_as_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordpiece, "_MEMORY", 1000)
    own = wordpiece_for(KINDS["uncased"])
    own.encode(" ".join(map(str, range(100, 200))))
    kept = own._memory.characters
    own.encode("door-key," * 50)
    assert own._memory.characters == kept + len("door-key,"), "it drives nothing out"
    assert check("uncased", f"the mast\n{'door-key,' * 20} \n  \n lamp")


def test_what_is_forgotten_is_learned_again() -> None:
    own = wordpiece_for(KINDS["uncased"])
    before = own.encode("the mast, the lamp")
    learned = own._memory.characters
    own.forget()
    assert own._memory.characters == 0
    after = own.encode("the mast, the lamp")
    assert own._memory.characters == learned > 0
    assert before is not None
    assert after is not None
    assert after.ids.tolist() == before.ids.tolist()


@pytest.mark.parametrize("on_demand", [False, True], ids=["when it is full", "on demand"])
def test_threads_share_it_while_it_forgets(monkeypatch: pytest.MonkeyPatch, *, on_demand: bool) -> None:
    monkeypatch.setattr(wordpiece, "_MEMORY", 300_000 if on_demand else 200)
    own = wordpiece_for(KINDS["uncased"])
    texts = [f"the mast {number} hangs from {number * 3} doors" for number in range(300)]
    expected = {text: KINDS["uncased"].encode(text, add_special_tokens=False).ids for text in texts}
    wrong: list[object] = []

    def work(seed: int) -> None:
        for text in random.Random(seed).sample(texts, len(texts)):
            try:
                if on_demand and seed == 0:
                    own.forget()
                tokens = own.encode(text)
                if tokens is None or tokens.ids.tolist() != expected[text]:
                    wrong.append(text)
            except Exception as error:  # noqa: BLE001  # it is what the test is about
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
