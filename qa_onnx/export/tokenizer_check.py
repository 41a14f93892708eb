"""tokenizer.json -> its text, and whether transformers splits text as that file does.

transformers 5 does not use all of a checkpoint's tokenizer.json. It takes the vocabulary from that file, but for
most tokenizers the rules (normalizer, pre-tokenizer) are those of the class that tokenizer_config.json or
config.json names. transformers 4 took nearly all of them from the file. So the file is what a bundle keeps, and
other tokens are a warning, not a refusal: a model that was trained with transformers 5 and a file of other rules
was trained with the class.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from qa_onnx.errors import BundleError, ExportError
from qa_onnx.export.texts import ENGLISH_TEXTS, TOKENIZER_TEXTS
from qa_onnx.tokens.panics import library_errors
from qa_onnx.tokens.tokenizer_file import checked_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tokenizers import Tokenizer

    Sample: TypeAlias = str | tuple[str, str]
    Splitter: TypeAlias = Callable[[Sample], tuple[list[int], list[str]]]

_LOG = logging.getLogger(__name__)

TOKENIZER = "tokenizer.json"

# Share of unknown tokens in plain English. A vocabulary of English has 0 to 0.3 %; one of lower-case words has 7 %
# where capitals are not lowered.
UNKNOWN_LIMIT = 0.02
_SHOWN = 8  # tokens around a difference
SAMPLES: tuple[Sample, ...] = (*TOKENIZER_TEXTS, ("Who came?", "Nobody did."))


def read_tokenizer(path: Path, data: bytes) -> tuple[str, Tokenizer]:
    """Return the text of a tokenizer.json as it is, and its tokenizer.

    Args:
        path: of the file, for errors.
        data: its content.

    Raises:
        ExportError: it is not the file of a tokenizer.
    """
    try:
        text = data.decode("utf-8")
        return text, checked_tokenizer(text)
    except (ValueError, BundleError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from error


def same_tokenizer(one: str, other: str) -> bool:
    """Tell whether two texts of tokenizer.json hold the same tokenizer."""
    return one == other or checked_tokenizer(one).to_str() == checked_tokenizer(other).to_str()


@dataclass(frozen=True, slots=True)
class Difference:
    """How two tokenizers differ over sample texts.

    Attributes:
        texts: how many texts they split into other ids.
        of: how many texts there are.
        text: the first of these texts, or pairs of question and context.
        ours: the first tokenizer's tokens of it, from just before the first that differs, at most 8.
        theirs: those of the second one.
    """

    texts: int
    of: int
    text: Sample
    ours: tuple[str, ...]
    theirs: tuple[str, ...]

    def __str__(self) -> str:
        """Return the numbers, the text and the tokens of both sides."""
        sides = (repr(" ".join(tokens)) if tokens else "no token" for tokens in (self.ours, self.theirs))
        return f"{self.texts} of {self.of} sample texts; in {self.text!r:.80}, {' against '.join(sides)}"


def difference(ours: Splitter, theirs: Splitter, texts: Sequence[Sample] = SAMPLES) -> Difference | None:
    """Compare two tokenizers; return None if all ids are the same.

    Args:
        ours: returns the ids and the tokens of a text, without special ones around it; of a pair of texts, with
            them, and the segment ids behind the ids.
        theirs: likewise.
        texts: to compare on.
    """
    different = []
    for text in texts:
        left, right = _split(ours, text), _split(theirs, text)
        if left[0] != right[0]:
            different.append((text, left, right))
    if not different:
        return None
    text, left, right = different[0]
    pairs = zip(left[0], right[0], strict=False)
    shorter = min(len(left[0]), len(right[0]))
    same = next((place for place, (one, other) in enumerate(pairs) if one != other), shorter)
    part = slice(max(0, same - 1), max(0, same - 1) + _SHOWN)
    shown = [tuple(tokens[part]) for _, tokens in (left, right)]
    if shown[0] == shown[1]:  # other ids for the same tokens
        shown = [tuple(map(str, ids[part])) for ids, _ in (left, right)]
    return Difference(len(different), len(texts), text, *shown)


def _split(splitter: Splitter, text: Sample) -> tuple[list[int], list[str]]:
    try:
        with library_errors("no tokens"):
            return splitter(text)
    except BundleError as error:  # for a word without a token for unknown ones
        return [-1], [f"<{error}>"]


def file_splitter(tokenizer: Tokenizer) -> Splitter:
    """Return a function from a text to the ids and tokens that the tokenizer of a file gives."""

    def split(text: Sample) -> tuple[list[int], list[str]]:
        if isinstance(text, str):
            encoding = tokenizer.encode(text, add_special_tokens=False)
            return encoding.ids, encoding.tokens
        encoding = tokenizer.encode(*text)
        return encoding.ids + encoding.type_ids, encoding.tokens

    return split


def transformers_splitter(tokenizer: Any) -> Splitter:
    """Return a function from a text to the ids and tokens that a tokenizer of transformers gives."""

    def split(text: Sample) -> tuple[list[int], list[str]]:
        pair = isinstance(text, tuple)
        options = {"add_special_tokens": pair, "return_token_type_ids": True, "verbose": False}
        encoding = tokenizer(*text if pair else (text,), **options)
        ids = encoding["input_ids"]
        return ids + encoding["token_type_ids"] * pair, tokenizer.convert_ids_to_tokens(ids)

    return split


def warn(name: str, text: str, tokenizer: Tokenizer, theirs: Any) -> None:
    """Log a warning where transformers splits text otherwise, and where plain English is full of unknown tokens.

    Args:
        name: of what the tokenizer.json is of, for the warnings.
        text: of the tokenizer.json.
        tokenizer: its tokenizer.
        theirs: what transformers makes of the same folder; None: not comparable.
    """
    differing = theirs and difference(file_splitter(tokenizer), transformers_splitter(theirs))
    if differing:
        _LOG.warning(
            "%s: the bundle keeps the checkpoint's tokenizer; transformers' %s gives other tokens for %s",
            *(name, type(theirs).__name__, differing),
        )
    share = unknown_share(text, tokenizer)
    if share > UNKNOWN_LIMIT:
        _LOG.warning(
            "%s: %.1f %% of the tokens of plain English are unknown to the tokenizer, usual are 0 to 0.3 %%: a "
            "vocabulary of lower-case words needs do_lower_case, one of another language does not read English",
            *(name, 100 * share),
        )


def unknown_share(text: str, tokenizer: Tokenizer, texts: Sequence[str] = ENGLISH_TEXTS) -> float:
    """Return the share of the tokens of texts for which a tokenizer.json has only its unknown token, 0 to 1."""
    model = json.loads(text)["model"]
    unknown = model.get("unk_token")
    if unknown is None and model.get("unk_id") is not None:
        unknown = model["vocab"][model["unk_id"]][0]
    with library_errors("the tokenizer cannot encode plain English"):
        ids = [token_id for text in texts for token_id in tokenizer.encode(text, add_special_tokens=False).ids]
    unknown_id = None if unknown is None else tokenizer.token_to_id(unknown)
    return 0.0 if unknown_id is None else ids.count(unknown_id) / max(1, len(ids))
