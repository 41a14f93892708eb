"""The text of a tokenizer.json -> a tokenizer, after a check of all that could harm the process.

The tokenizers library trusts its files. One can make it panic, run for hours over a word, or fill the memory: see
steps.py, patterns.py and charsmap.py. Here are the bounds of the file, its vocabulary and its added tokens.

A key that comes twice is refused, because this check and the library could read different ones. The vocabulary,
which is nearly all of a file, is cut out for that: msgspec reads it several times as fast as `json`.

Left out: whether the tokenizer suits question answering (special_tokens.py), and what its texts cost (encoder.py).
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from tokenizers import Tokenizer

from qa_onnx.errors import BundleError
from qa_onnx.tokens.panics import library_errors
from qa_onnx.tokens.steps import COMPONENTS, check_component

# One of the largest, Gemma's, has 35 million characters, some 1.3 million commas and 0.6 million brackets. Each
# item of a list or object takes a comma or a bracket, so these bound what reading takes: some 0.6 GB at worst.
LARGEST_FILE = 64 << 20  # characters
_MOST_COMMAS = 6 << 20
_MOST_BRACKETS = 2 << 20

MOST_TOKENS = 2 << 20
LONGEST_TOKEN = 512  # characters
LONGEST_PIECE = 128  # of Unigram, which compares all pieces that begin at a character; SentencePiece: 16
LONGEST_WORD = 200  # of WordPiece, whose time for a word grows with the cube of its length; BERT: 100
_MOST_ADDED = 100_000
_LONGEST_PREFIX = 16
_CUT_OUT = 4096  # bytes

_Id = Annotated[int, Meta(ge=0, lt=1 << 24)]
_Number = Annotated[float, Meta(ge=-1e6, le=1e6)]
_Token = Annotated[str, Meta(max_length=LONGEST_TOKEN)]
_Ids = Annotated[dict[_Token, _Id], Meta(max_length=MOST_TOKENS)]
_Pieces = Annotated[
    list[tuple[Annotated[str, Meta(max_length=LONGEST_PIECE)], _Number]], Meta(max_length=MOST_TOKENS)
]
_Merges = list[str | tuple[str, str]]  # msgspec 0.22 crashes where a text in such a union has limits


class _Model(msgspec.Struct):
    vocab: msgspec.Raw
    merges: msgspec.Raw = msgspec.Raw(b"[]")


class _Outline(msgspec.Struct):
    model: _Model


class _AddedToken(msgspec.Struct):
    id: _Id
    content: Annotated[str, Meta(min_length=1, max_length=LONGEST_TOKEN)]


class _Settings(msgspec.Struct):
    """What a model has beside its vocabulary; the library checks what is not here."""

    type: str | None = None
    unk_token: _Token | None = None
    unk_id: _Id | None = None
    continuing_subword_prefix: Annotated[str, Meta(max_length=_LONGEST_PREFIX)] | None = None
    end_of_word_suffix: Annotated[str, Meta(max_length=_LONGEST_PREFIX)] | None = None
    max_input_chars_per_word: Annotated[int, Meta(ge=1, le=LONGEST_WORD)] | None = None


def checked_tokenizer(text: str) -> Tokenizer:
    """Return the tokenizer of a tokenizer.json, without the padding and truncation of its training.

    Args:
        text: the content of the file.

    Raises:
        BundleError: it is not a tokenizer.json, its sizes are beyond the limits, or it might harm the process.
    """
    kind = _check(text)
    with library_errors("not a tokenizer.json that this tokenizers release reads"):
        tokenizer = Tokenizer.from_str(text)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if type(tokenizer.model).__name__ != kind:
            raise BundleError(f"tokenizer.json does not say which type its model has, and it is not {kind}")
        return tokenizer


def _check(text: str) -> str:
    """Check the text of a tokenizer.json; return the type of its model."""
    if len(text) > LARGEST_FILE:
        raise BundleError(f"tokenizer.json has {len(text)} characters; the limit is {LARGEST_FILE}")
    for name, characters, most in (("commas", ",", _MOST_COMMAS), ("brackets", "[{", _MOST_BRACKETS)):
        count = sum(map(text.count, characters)) if len(text) > most else 0
        if count > most:
            raise BundleError(f"tokenizer.json has {count} {name}; the limit is {most}")
    try:
        data = text.encode("utf-8")
        model = msgspec.json.decode(data, type=_Outline).model
        content = json.loads(
            _without(data, model.vocab, model.merges), object_pairs_hook=_unique, parse_constant=_refuse
        )
        settings = msgspec.convert(content["model"], _Settings)
        kind = _kind(settings, content["model"], bytes(model.vocab)[:1])
        _check_vocabulary(kind, settings, model)
        added = msgspec.convert(content.get("added_tokens") or [], list[_AddedToken])
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise BundleError(f"tokenizer.json is damaged: {error!s:.200}") from error
    if len(added) > _MOST_ADDED:
        raise BundleError(f"tokenizer.json has {len(added)} added tokens; the limit is {_MOST_ADDED}")
    for name in COMPONENTS:
        check_component(name, content.get(name))
    return kind


def _without(data: bytes, *parts: msgspec.Raw) -> bytes:
    """Return a JSON text with null in place of large parts of it; of several equal ones, in place of any."""
    for part in map(bytes, parts):
        if len(part) > _CUT_OUT:
            at = data.find(part[:_CUT_OUT])  # to look for all of it takes longer than to read it
            if data[at : at + len(part)] != part:
                at = data.find(part)
            data = data[:at] + b"null" + data[at + len(part) :]
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in content if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r:.80} comes twice")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _kind(settings: _Settings, model: dict[str, Any], opening: bytes) -> str:
    """Return the type of a model; files of before 2021 do not name it."""
    kind = settings.type
    if kind is None and "merges" in model:
        kind = "BPE"
    elif kind is None and opening == b"[":
        kind = "Unigram"
    elif kind is None:
        kind = "WordPiece" if "max_input_chars_per_word" in model else "WordLevel"
    if kind not in {"BPE", "Unigram", "WordLevel", "WordPiece"}:
        problem = f"tokenizer.json has a model of type {kind!r:.80}, which is not known"
        raise BundleError(problem, remedy="known are BPE, Unigram, WordLevel and WordPiece")
    return kind


def _check_vocabulary(kind: str, settings: _Settings, model: _Model) -> None:
    if kind == "Unigram":
        pieces = msgspec.json.decode(model.vocab, type=_Pieces)
        if settings.unk_id is not None and settings.unk_id >= len(pieces):
            problem = f"tokenizer.json has {len(pieces)} pieces, and the unknown one is number {settings.unk_id}"
            raise BundleError(problem)
        return
    ids = msgspec.json.decode(model.vocab, type=_Ids)
    if kind == "BPE":
        msgspec.json.decode(model.merges, type=_Merges)
    elif settings.unk_token is not None and settings.unk_token not in ids:
        raise BundleError(f"the vocabulary has no token {settings.unk_token!r:.80}, which is for unknown words")
