"""A tokenizer.json that could harm the process is refused before the tokenizers library sees it."""

from __future__ import annotations

import base64
import json
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from qa_onnx import BundleError, InputError, Windower
from qa_onnx.tokens import encoder, tokenizer_file
from qa_onnx.tokens.encoder import TextEncoder
from qa_onnx.tokens.tokenizer_file import checked_tokenizer
from tests import tiny

if TYPE_CHECKING:
    from collections.abc import Callable

VOCABULARY = {"[UNK]": 0, "a": 1, "##a": 2, "[CLS]": 3, "[SEP]": 4, "b": 5}
WORDPIECE = {
    "type": "WordPiece",
    "unk_token": "[UNK]",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 100,
    "vocab": VOCABULARY,
}
BPE = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
UNIGRAM = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}


def file(**parts: Any) -> str:
    return json.dumps({"version": "1.0", "model": WORDPIECE} | parts)


def normalizer(*steps: dict[str, Any]) -> str:
    return file(normalizer={"type": "Sequence", "normalizers": [*steps]})


def replace(content: str, **pattern: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def split(**pattern: str) -> str:
    step = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return file(pre_tokenizer={"type": "Sequence", "pretokenizers": [step]})


def charsmap(*units: int, replacements: bytes = b"b\0", size: int | None = None) -> str:
    data = struct.pack(f"<I{len(units)}I", 4 * len(units) if size is None else size, *units) + replacements
    return normalizer({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(data).decode()})


def trie(value: int) -> tuple[int, ...]:
    """The units of a trie that maps "a" to a value."""
    units = [0] * 512
    units[0] = 256 << 10  # the children of the root lie at 256 ^ their byte
    units[256 ^ ord("a")] = (((256 ^ ord("a")) ^ 7) << 10) | 0x100 | ord("a")  # a leaf, whose value is unit 7
    units[7] = 0x80000000 | value
    return tuple(units)


def added(**token: Any) -> str:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return file(added_tokens=[{"id": 1, "content": "q"} | flags | token])


def template(pieces: int) -> dict[str, Any]:
    pair = [{"Sequence": {"id": "A", "type_id": 0}}] * pieces
    return {"type": "TemplateProcessing", "single": pair[:1], "pair": pair, "special_tokens": {}}


def nested(levels: int) -> dict[str, Any]:
    step: dict[str, Any] = {"type": "Lowercase"}
    for _ in range(levels):
        step = {"type": "Sequence", "normalizers": [step]}
    return step


HOSTILE = {
    "not JSON": ("{", "is damaged"),
    "not an object": ("[]", "Expected `object`, got `array`"),
    "nothing": ("", "is damaged"),
    "no model": ('{"version": "1.0"}', "missing required field `model`"),
    "too deep": (file()[:-1] + ', "x": ' + "[" * 200_000 + "]" * 200_000 + "}", "recursion"),
    "too deep, open": ('{"a":' * 200_000, "recursion"),
    "a number of 5,000 digits": (file()[:-1] + f', "x": {"9" * 5000}}}', "is damaged"),
    "not a number": (file()[:-1] + ', "x": NaN}', "is damaged"),
    "a key twice": (file()[:-1] + ', "normalizer": null, "normalizer": null}', "'normalizer' comes twice"),
    "a vocabulary twice": (file().replace('"vocab": {', '"vocab": {"a": 1}, "vocab": {'), "'vocab' comes twice"),
    "half a character": ('{"\ud800": 1}', "is damaged"),
    "unknown step": (normalizer({"type": "Shell"}), "type 'Shell', which is not known"),
    "step without type": (normalizer({"lowercase": True}), "which is not known"),
    "step of another component": (file(pre_tokenizer={"type": "Lowercase"}), "pre_tokenizer is type 'Lowercase'"),
    "a million steps": (normalizer(*[{"type": "Lowercase"}] * 100_000), "a list of at most 64 normalizers"),
    "many steps in sequences": (normalizer(*[nested(1)] * 64, nested(40)), "a list of at most 64"),
    "sequences within sequences": (file(normalizer=nested(70)), "a list of at most 64"),
    "40 doublings": (normalizer(*[replace("aa", String="a")] * 40), "1.1e\\+12 times as long; the limit is 16"),
    "one long replacement": (normalizer(replace("a" * 10**6, String="a")), "content is 'aaa.*at most 32"),
    "replacement of nothing": (normalizer(replace("aaaa", String="")), "the pattern is"),
    "replacement of any number": (normalizer(replace("aaaa", Regex="x*")), "'x\\*' is not one that surely"),
    "long text in front": (normalizer({"type": "Prepend", "prepend": "a" * 10**6}), "prepend is 'aaa"),
    "text in front, twice": (normalizer(*[{"type": "Prepend", "prepend": "a"}] * 2), "2 steps of type Prepend"),
    "bytes of bytes": (normalizer(*[{"type": "ByteLevel"}] * 40), "40 steps of type ByteLevel"),
    "zero-length chunks": (file(pre_tokenizer={"type": "FixedLength", "length": 0}), "length is 0"),
    "nested repeats": (split(Regex="(x+x+)+y"), "not one that surely takes linear time"),
    "two repeats": (split(Regex=r"\s+x"), "not one that surely takes linear time"),
    "many choices": (split(Regex="a?" * 30 + "a"), "not one that surely takes linear time"),
    "back reference": (split(Regex=r"(a)\1"), "not one that surely takes linear time"),
    "look-ahead": (split(Regex="a+(?=b)"), "not one that surely takes linear time"),
    "huge repeat": (split(Regex="a{1001}"), "not one that surely takes linear time"),
    "repeats that fill the memory": (split(Regex="((a{0,50}){0,50}){0,50}"), "not one that surely"),
    "long pattern": (split(Regex="ab" * 501), "not one that surely takes linear time"),
    "pattern of a decoder": (file(decoder=replace("", Regex="(a+)+$")), "decoder: the regular expression"),
    "pattern of another kind": (split(Glob="*"), "the pattern is {'Glob'"),
    "charsmap: not base 64": (normalizer({"type": "Precompiled", "precompiled_charsmap": "?"}), "not base 64"),
    "charsmap: a number": (normalizer({"type": "Precompiled", "precompiled_charsmap": 3}), "must be text"),
    "charsmap: empty": (normalizer({"type": "Precompiled", "precompiled_charsmap": ""}), "has 0 bytes"),
    "charsmap: large": (
        normalizer({"type": "Precompiled", "precompiled_charsmap": "A" * ((2 << 20) + 4)}),
        "the limit is 2097152",
    ),
    "charsmap: trie too large": (charsmap(1, size=4000), "too few for its trie of 4000"),
    "charsmap: no trie": (charsmap(), "too few for its trie of 0"),
    "charsmap: not UTF-8": (charsmap(*trie(0), replacements=b"\xff"), "not UTF-8"),
    "charsmap: out of the trie": (charsmap(0x3FFFFF00), "leads out of its 1 units"),
    "charsmap: out of the replacements": (charsmap(*trie(9)), "beyond its 2 bytes"),
    "charsmap: within a character": (charsmap(*trie(1), replacements="é\0".encode()), "within a character"),
    "charsmap: growth": (charsmap(*trie(0), replacements=b"b" * 65 + b"\0"), "65 bytes of a character"),
    "long template": (file(post_processor=template(65)), "at most 64 pieces"),
    "template without pieces": (file(post_processor=template(0) | {"single": 7}), "single is 7"),
    "unknown model": (file(model=WORDPIECE | {"type": "Magic"}), "a model of type 'Magic'"),
    "words without limit": (file(model=WORDPIECE | {"max_input_chars_per_word": 10**9}), "<= 200"),
    "no unknown token": (file(model=WORDPIECE | {"unk_token": "[X]"}), "no token '\\[X\\]'"),
    "id of 4 billion": (file(model=WORDPIECE | {"vocab": VOCABULARY | {"z": 2**32 - 1}}), "<= 16777215"),
    "id below 0": (file(model=WORDPIECE | {"vocab": VOCABULARY | {"z": -1}}), ">= 0"),
    "id that is text": (file(model=WORDPIECE | {"vocab": {"z": "1"}}), "Expected `int`, got `str`"),
    "long token": (file(model=WORDPIECE | {"vocab": VOCABULARY | {"z" * 513: 9}}), "length <= 512"),
    "long prefix": (file(model=WORDPIECE | {"continuing_subword_prefix": "#" * 17}), "length <= 16"),
    "long piece": (file(model=UNIGRAM | {"vocab": [["<unk>", 0.0], ["a" * 129, 0.0]]}), "length <= 128"),
    "huge score": (file(model=UNIGRAM | {"vocab": [["<unk>", 0.0], ["a", 1e300]]}), "<= 1000000"),
    "unknown piece beyond": (file(model=UNIGRAM | {"unk_id": 2}), "has 2 pieces, and the unknown one is number 2"),
    "merges of numbers": (file(model=BPE | {"merges": [1]}), "got `int`"),
    "added id": (added(id=2**32 - 1), "<= 16777215"),
    "empty added token": (added(content=""), "length >= 1"),
    "long added token": (added(content="q" * 513), "length <= 512"),
}  # fmt: skip


@pytest.fixture
def unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spy:
        @staticmethod
        def from_str(text: str) -> None:
            raise AssertionError(f"the library was given {text!r:.80}")

    monkeypatch.setattr(tokenizer_file, "Tokenizer", Spy)


@pytest.mark.usefixtures("unopened")
@pytest.mark.parametrize("kind", HOSTILE)
def test_what_could_do_harm_never_reaches_the_library(kind: str) -> None:
    text, message = HOSTILE[kind]
    with pytest.raises(BundleError, match=message) as caught:
        TextEncoder(text)
    assert len(str(caught.value)) < 500


@pytest.mark.usefixtures("unopened")
@pytest.mark.parametrize(
    ("limit", "message"),
    [("LARGEST_FILE", "characters; the limit is 9"), ("_MOST_COMMAS", "commas"), ("_MOST_BRACKETS", "brackets")],
)
def test_sizes_are_bounded_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, limit: str, message: str
) -> None:
    monkeypatch.setattr(tokenizer_file, limit, 9 if limit == "LARGEST_FILE" else 3)
    with pytest.raises(BundleError, match=message):
        TextEncoder(file())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (file(model=BPE | {"continuing_subword_prefix": "##"}), "not a tokenizer.json that"),  # a panic
        (file(version="2.0"), "Unknown tokenizer version"),
        (file(model={"merges": [], "vocab": [["a", 0.0]]}), "Expected `object`"),
    ],
)
def test_what_the_library_refuses_is_an_error_too(text: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        TextEncoder(text)


PATTERNS = (
    *(
        " {2,}",
        r"\s+",
        r"\d",
        r"\d{1,3}",
        r" ?\p{L}+| ?\p{N}+",
        r"[\r\n]+|[^\s\p{L}]",
        "[0-9]",
        r"\.",
        "ab+",
        ".+",
    ),
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_of_known_tokenizers_are_taken_and_end_on_long_runs(pattern: str) -> None:
    own = TextEncoder(split(Regex=pattern))
    for run in ("a", " ", "1", "!", "\n", " x", "a\u0301"):
        assert len(own.encode([run * 50_000])) == 1


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_tokenizers_of_all_architectures_are_loaded_as_they_are(kind: str) -> None:
    text = tiny._tokenizer(kind)[0].to_str()
    library, own = Tokenizer.from_str(text), checked_tokenizer(text)
    for sample in tiny._CORPUS:
        assert own.encode(sample).ids == library.encode(sample).ids
        assert own.encode(sample).offsets == library.encode(sample).offsets


def without_type(**model: Any) -> str:
    return file(model={key: value for key, value in model.items() if key != "type"})


@pytest.mark.parametrize(
    "text",
    [
        without_type(**WORDPIECE),
        without_type(**BPE, dropout=None, unk_token=None, continuing_subword_prefix="", end_of_word_suffix=""),
        without_type(**UNIGRAM),
        without_type(type="WordLevel", vocab=VOCABULARY, unk_token="[UNK]"),
        file(model=BPE | {"merges": [["a", "b"]]}),
        charsmap(*trie(0)),
        split(String=""),
        normalizer(replace('"', String="``"), replace(" ", Regex=" {2,}"), {"type": "NFKD"}),
    ],
)  # fmt: skip
def test_files_of_older_releases_and_other_forms_are_taken(text: str) -> None:
    assert len(checked_tokenizer(text).encode("a b").ids) >= 1


def test_a_large_vocabulary_is_read_like_a_small_one() -> None:
    vocabulary = VOCABULARY | {f"token {number}": number + 6 for number in range(1000)}
    text = file(model=WORDPIECE | {"vocab": vocabulary})
    assert checked_tokenizer(text).get_vocab() == vocabulary
    for twice in (text.replace('"vocab"', '"vocab": {}, "vocab"'), f'{text[:-1]}, "model": {{"vocab": {{}}}}}}'):
        with pytest.raises(BundleError, match="comes twice"):
            checked_tokenizer(twice)


class Panic(BaseException):
    """What pyo3 raises where Rust code panics; the class itself cannot be imported."""


Panic.__module__ = "pyo3_runtime"


class Panicking:
    """A tokenizer of the library that panics."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def encode_batch(self, texts: list[str], *, add_special_tokens: bool) -> None:
        raise self._error("search limit" * 1000)


@pytest.mark.parametrize(
    ("error", "expected"), [(Panic, BundleError), (Exception, BundleError), (KeyboardInterrupt, KeyboardInterrupt)]
)
def test_a_panic_over_a_text_is_an_error(error: type[BaseException], expected: type[BaseException]) -> None:
    own = TextEncoder(file())
    own.tokenizer = Panicking(error)  # type: ignore[assignment]
    with pytest.raises(expected) as caught:
        own.encode(["a"])
    assert expected is not BundleError or len(str(caught.value)) < 300


def test_a_text_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "LONGEST_TEXT", 5)
    own = TextEncoder(file())
    with pytest.raises(InputError, match="a text has 6 characters; the limit is 5"):
        own.encode(["a", "b" * 6])
    assert len(own.encode(["a", "b" * 5])) == 2


def bpe_without_words() -> str:
    return file(model=BPE)


def tokenizer_of(kind: str) -> str:
    return str(tiny._tokenizer(kind)[0].to_str())


def whitespace_wordlevel() -> str:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str()


TEXTS: dict[str, Callable[[], str]] = {
    **{kind: partial(tokenizer_of, kind) for kind in ("bert", "roberta", "xlm-roberta")},
    "bpe without words": bpe_without_words,
    "word level": whitespace_wordlevel,
    "gpt-4's pattern": lambda: split(Regex=PATTERNS[-1]),
}
PIECES = (
    *(
        "a" * 3000,
        "\u0301" * 500,
        "\u200d👨‍👩‍👧",
        "\u202e\u2066",
        "\0\x01\x7f",
        "\ud800",
        "\ufffe",
        "İ\ufdfa",
        "한\u1100" * 50,
    ),
    *(" " * 500, "\n" * 99, "[SEP]", "\u3000", "🇩" * 300, "東京" * 300, "-" * 500),
)


@pytest.mark.parametrize("kind", TEXTS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(parts=st.lists(st.one_of(st.text(max_size=20), st.sampled_from(PIECES)), max_size=8))
def test_no_text_raises_anything_and_all_places_lie_in_it(kind: str, parts: list[str]) -> None:
    text = "".join(parts)
    [encoding] = _encoder(kind).encode([text])
    assert len(encoding.ids) <= 4 * len(text) + 1  # a byte each at most, or a sign for a blank in front
    for token in {0, len(encoding.ids) // 2, len(encoding.ids) - 1} - {-1}:
        if len(encoding.ids):
            start, end = encoding.offsets[token].tolist()
            assert 0 <= start <= end <= len(text)


_ENCODERS: dict[str, TextEncoder] = {}


def _encoder(kind: str) -> TextEncoder:
    if kind not in _ENCODERS:
        _ENCODERS[kind] = TextEncoder(TEXTS[kind]())
    return _ENCODERS[kind]


def test_a_windower_names_a_tokenizer_without_pairs() -> None:
    with pytest.raises(BundleError, match=r"no special token before the question|pairs"):
        Windower(file())
