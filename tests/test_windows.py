"""Windows: what the tokenizers library's own truncation gives, with exact offsets, for any text."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer

from qa_onnx import BundleError, Example, InputError, Options, Window, Windower, testing
from tests import tiny
from tests.conftest import TINY_TOKENIZER

if TYPE_CHECKING:
    from collections.abc import Callable

    from qa_onnx.windows import CutExample

TINY_JSON = TINY_TOKENIZER.read_text(encoding="utf-8")
WINDOWER = Windower(TINY_JSON, cls_id=2)
TOKENIZER = Tokenizer.from_str(TINY_JSON)
KINDS = ("roberta", "xlm-roberta", "mpnet", "deberta-v2")

WORDS = ["The", "footbridge", "hangs", "from", "a", "single", "mast", "café", "東京", "1987", "[SEP]", "🍮", "!?"]
TEXTS = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join),
    st.text(max_size=60),
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), max_size=40).map("".join),
)
QUESTIONS = st.one_of(st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join), st.text(max_size=5))
TEXT = "The door of the café is green, and the key hangs from a single mast of the footbridge."


@st.composite
def narrow_options(draw: st.DrawFn) -> Options:
    doc_stride = draw(st.integers(0, 20))
    return Options(
        max_length=24 + 4 + doc_stride + draw(st.integers(1, 20)), doc_stride=doc_stride, max_question_length=24
    )


@cache
def tokenizer_of(kind: str) -> str:
    return TINY_JSON if kind == "tiny" else str(tiny._tokenizer(kind)[0].to_str())


def cut(question: str, context: str, options: Options | None = None, *, by: Windower = WINDOWER) -> CutExample:
    [example] = by.cut([Example(question, context)], Options() if options is None else options)
    return example


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    """The tiny tokenizer.json, edited."""
    content = json.loads(TINY_JSON)
    change(content)
    return json.dumps(content)


def built_in(tokenizer_json: str, question: str, context: str, options: Options) -> list[Encoding]:
    """The windows that the tokenizers library makes by itself."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # in the texts; the template adds its own all the same
    tokenizer.enable_truncation(options.max_length, stride=options.doc_stride, strategy="only_second")
    first = tokenizer.encode(question, context)
    return [first, *first.overflowing]


def assert_same(windows: tuple[Window, ...], expected: list[Encoding]) -> None:
    assert len(windows) == len(expected)
    two_segments = any(expected[0].type_ids)
    for window, encoding in zip(windows, expected, strict=True):
        assert window.input_ids.tolist() == encoding.ids
        # All windows have the segments of the template. The library gives them to the first window alone and
        # 1 to the context in the others, which a model of one segment could not even look up.
        types = encoding.type_ids if two_segments else [0] * len(encoding)
        assert window.token_type_ids.tolist() == types
        context = [at for at, part in enumerate(encoding.sequence_ids) if part == 1]
        assert list(range(window.first, window.last + 1)) == context


@pytest.mark.parametrize("kind", ["tiny", *KINDS])
@given(
    question=QUESTIONS, context=TEXTS, options=narrow_options(), limited=st.booleans(), repeat=st.integers(1, 12)
)
def test_windows_equal_the_built_in_truncation(
    kind: str, question: str, context: str, options: Options, limited: bool, repeat: int
) -> None:
    tokenizer_json = tokenizer_of(kind)
    windower = WINDOWER if kind == "tiny" else Windower(tokenizer_json)
    if not limited:
        options, question = replace(options, max_question_length=None), question * repeat
    try:
        example = cut(question, context, options, by=windower)
    except InputError:
        # The library's own truncation cannot do it either: it raises an Exception, or panics.
        with pytest.raises(BaseException, match=r"must be strictly less than|too short"):
            built_in(tokenizer_json, question, context, options)
        return
    assume(not any("were used" in warning for warning in example.warnings))
    expected = built_in(tokenizer_json, question, context, options)
    assert_same(example.windows, expected)
    for window, encoding in zip(example.windows, expected if kind == "tiny" else (), strict=False):
        shown = range(window.last - window.first + 1)
        offsets = [window.context.characters(window.token_offset + i, window.token_offset + i) for i in shown]
        assert offsets == encoding.offsets[window.first : window.last + 1]


def test_a_window_is_cls_question_sep_context_sep() -> None:
    [window] = cut("a mast", "the footbridge").windows
    tokens = [TOKENIZER.id_to_token(i) for i in window.input_ids.tolist()]
    separator = tokens.index("[SEP]")
    assert tokens[0] == "[CLS]"
    assert tokens[-1] == "[SEP]"
    assert (window.cls, window.first, window.last) == (0, separator + 1, len(tokens) - 2)
    assert window.token_type_ids.tolist() == [0] * (separator + 1) + [1] * (len(tokens) - separator - 1)
    assert tokens.count("[SEP]") == 2


def test_neighbours_share_doc_stride_tokens_and_the_last_ends_with_the_context() -> None:
    options = Options(max_length=30, doc_stride=5, max_question_length=4)
    windows = cut("a mast", TEXT * 3, options).windows
    for left, right in pairwise(windows):
        assert left.token_offset + (left.last - left.first + 1) - right.token_offset == 5
        assert left.input_ids[left.last - 4 : left.last + 1].tolist() == (
            right.input_ids[right.first : right.first + 5].tolist()
        )
        assert len(left.input_ids) == 30
    end = windows[-1].token_offset + windows[-1].last - windows[-1].first + 1
    assert end == len(windows[0].context.ids)


STRANGE = (
    "\x00\x00|\r\n\r\n|\u00e9\u0301a\u0308|שלום עליכם|\u202eabc\u202c|東京|👩‍👩‍👧|ﬁ ㎏ ½|"
    "\u200b\u2028\ufeff|\ud83d|\udc00\ud800x\udfff"
)


@pytest.mark.parametrize("strange", [*STRANGE.split("|"), "[SEP][CLS]"], ids=ascii)
@pytest.mark.parametrize("kind", ["bert", *KINDS])
def test_a_word_after_strange_characters_is_found_at_its_place(kind: str, strange: str) -> None:
    text = f"{strange} green {strange} green {strange}"
    context = cut("a", text, by=Windower(tokenizer_of(kind))).windows[0].context
    tokens = range(len(context.ids))
    spans = [context.characters(i, j) for i in tokens for j in tokens[i : i + 6]]
    found = {
        start + len(text[start:end]) - len(text[start:end].lstrip())
        for start, end in spans
        if text[start:end].strip() == "green"
    }
    assert found == {len(strange) + 1, 2 * len(strange) + 8}


BYTES = testing.fake_reader().steps.windower


def test_a_byte_level_word_keeps_its_first_letter() -> None:
    context = cut("a", TEXT, by=Windower(tokenizer_of("roberta"))).windows[0].context
    tokenizer = Tokenizer.from_str(tokenizer_of("roberta"))
    tokens = [tokenizer.id_to_token(token) or "" for token in context.ids.tolist()]
    for at, token in enumerate(tokens):
        start, end = context.characters(at, at)
        assert "é" in TEXT[start:end] or TEXT[start:end].strip() == token.removeprefix("Ġ")
    assert "Ġthe" in tokens


@given(text=st.text(st.characters(), max_size=30))
def test_every_byte_token_maps_to_its_whole_character(text: str) -> None:
    context = cut("a", text, Options(max_length=512), by=BYTES).windows[0].context
    expected = [
        (at, at + 1)
        for at, character in enumerate(text)
        for _ in character.encode("utf-8", "surrogatepass")  # a lone surrogate would take three bytes too
    ]
    assert [context.characters(i, i) for i in range(len(context.ids))] == expected


@pytest.mark.parametrize("blank", ["", " ", "\n\t \r\n", "\x00", "\u2003"])
def test_a_blank_context_has_one_window_without_context_tokens(blank: str) -> None:
    example = cut("Where?", blank)
    [window] = example.windows
    assert window.last == window.first - 1
    assert window.token_type_ids.tolist() == [0] * window.first + [1]
    assert example.warnings == ("the context is empty",)


def test_a_blank_question_is_warned_of() -> None:
    example = cut(" ", "the footbridge")
    assert example.warnings == ("the question is empty",)
    assert example.windows[0].first == 2


def test_an_overlong_question_is_cut_with_a_warning() -> None:
    options = Options(max_length=30, max_question_length=5, doc_stride=0)
    example = cut("the a the a the a the", TEXT, options)
    assert example.warnings == ("the question has 7 tokens; the first 5 were used (max_question_length)",)
    cut_by_hand = cut("the a the a the", TEXT, options)
    assert cut_by_hand.warnings == ()
    pairs = zip(example.windows, cut_by_hand.windows, strict=True)
    assert all(ours.input_ids.tolist() == theirs.input_ids.tolist() for ours, theirs in pairs)


def test_a_special_token_in_a_text_cannot_forge_the_border_of_a_window(windower: Windower) -> None:
    forged = windower.cut(
        [Example("a", "b [SEP] c [CLS]")], Options(max_length=64, max_question_length=8, doc_stride=9)
    )
    (window,) = forged[0].windows
    special = {2: "[CLS]", 3: "[SEP]"}
    assert [special[i] for i in window.input_ids.tolist() if i in special] == ["[CLS]", "[SEP]", "[SEP]"]
    assert window.context.characters(0, len(window.context.ids) - 1) == (0, 15)


def test_padding_and_truncation_of_the_tokenizer_file_are_switched_off() -> None:
    tokenizer = Tokenizer.from_str(TINY_JSON)
    tokenizer.enable_padding(length=300)
    tokenizer.enable_truncation(12)
    windows = cut("a mast", TEXT, by=Windower(tokenizer.to_str(), cls_id=2)).windows
    assert [window.input_ids.tolist() for window in windows] == [
        window.input_ids.tolist() for window in cut("a mast", TEXT).windows
    ]


def test_cls_is_the_named_token_or_else_the_first() -> None:
    def add_mask_in_front(content: dict[str, Any]) -> None:
        template = content["post_processor"]["processors"][0]
        template["pair"].insert(0, {"SpecialToken": {"id": "[MASK]", "type_id": 0}})
        template["special_tokens"]["[MASK]"] = {"id": "[MASK]", "ids": [4], "tokens": ["[MASK]"]}

    tokenizer_json = changed(add_mask_in_front)
    positions = {
        cls_id: cut("a", "b", by=Windower(tokenizer_json, cls_id=cls_id)).windows[0].cls for cls_id in (2, 4, None)
    }
    assert positions == {2: 1, 4: 0, None: 0}


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "no JSON", '{"version": "1.0"}', "\ud800"])
def test_what_is_no_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match=r"^tokenizer\.json is damaged: "):
        Windower(text)


def pair_template(pieces: list[tuple[str, str, int]]) -> str:
    def change(content: dict[str, Any]) -> None:
        content["post_processor"]["processors"][0]["pair"] = [
            {kind: {"id": name, "type_id": type_id}} for kind, name, type_id in pieces
        ]

    return changed(change)


@pytest.mark.parametrize(
    ("tokenizer_json", "message"),
    [
        (changed(lambda content: content.update(post_processor=None)), "no special token before the question"),
        (pair_template([("Sequence", "A", 0), ("Sequence", "B", 1)]), "no special token before the question"),
        (pair_template([("SpecialToken", "[CLS]", 0), ("Sequence", "A", 0)]), "does not encode pairs"),
        (
            pair_template([("SpecialToken", "[CLS]", 0), ("Sequence", "B", 0), ("Sequence", "A", 0)]),
            "puts the context before the question",
        ),
        (changed(lambda content: content["model"]["vocab"].clear()), "the vocabulary has no token"),
    ],
)
def test_a_tokenizer_that_makes_no_pairs_is_refused(tokenizer_json: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Windower(tokenizer_json)


def test_a_vocabulary_without_the_unknown_token_is_refused() -> None:
    def shrink(content: dict[str, Any]) -> None:
        vocabulary = content["model"]["vocab"]
        content["model"]["vocab"] = {token: vocabulary[token] for token in ("[CLS]", "[SEP]", "a", "b")}

    with pytest.raises(BundleError, match=r"the vocabulary has no token '\[UNK\]', which is for unknown words"):
        Windower(changed(shrink))


@pytest.mark.parametrize("bad", [None, b"bytes", 3, ["a"]])
@pytest.mark.parametrize("name", ["question", "context"])
def test_an_example_of_anything_but_text_is_refused(name: str, bad: Any) -> None:
    texts: dict[str, Any] = {"question": "a", "context": "b", name: bad}
    with pytest.raises(InputError, match=f"the {name} must be a str, got {type(bad).__name__}"):
        Example(**texts)


def test_the_id_of_an_example_is_the_callers_own() -> None:
    assert Example("a", "b", "mine").id == "mine"
    assert Example("a", "b").id == ""
