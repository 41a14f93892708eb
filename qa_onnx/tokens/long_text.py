"""Long text -> its tokens, part by part, so that the memory for it is a small multiple of the text.

The tokenizers library keeps some 200 bytes for each token, and what is learned of a text with a million different
words is as large. BERT's tokenizer never looks across a blank, or across a character that is a word of its own,
such as a Chinese one, so a long text is cut there. Each part is tokenized as a text of its own (wordpiece.py, or
the library), and the tokens are kept as arrays, at most 30 bytes for each.

Left out: texts of tokenizers of other kinds, whose tokens may depend on what stands before a blank.
"""

from __future__ import annotations

from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.tokens.encoding import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tokenizers
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from qa_onnx.tokens.wordpiece import WordPiece

PART = 1 << 16  # characters


def library_tokens(encoding: tokenizers.Encoding) -> Tokens:
    """Return the tokens that the library found in a text; of a long text, its encoding is not kept."""

    def offsets() -> NDArray[np.int32]:
        return np.fromiter(chain.from_iterable(encoding.offsets), np.int32, 2 * len(encoding)).reshape(-1, 2)

    def opens() -> NDArray[np.bool_]:
        return np.array([word != before for before, word in pairwise([None, *encoding.word_ids])], np.bool_)

    tokens = Tokens(np.array(encoding.ids, np.int32), offsets=offsets, opens=opens)
    return tokens if len(encoding) <= PART else tokens.computed()


def long_tokens(text: str, wordpiece: WordPiece, tokenizer: Tokenizer, *, part: int = PART) -> Tokens:
    """Tokenize a long text.

    Args:
        text: the text.
        wordpiece: tokenizes most parts of it.
        tokenizer: the same tokenizer of the library, for the others.
        part: about how many characters a part has.
    """
    parts = []
    for start, end in _cut(text, wordpiece, part):
        tokens = wordpiece.encode(text[start:end])
        if tokens is None:
            tokens = library_tokens(tokenizer.encode(text[start:end], add_special_tokens=False)).computed()
        parts.append((start, tokens))
    return Tokens.joined(parts)


def _cut(text: str, wordpiece: WordPiece, part: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each part of a text; it ends after a blank or a character that is a word."""
    known: dict[str, bool] = {}  # a character that needs the library is looked up anew each time
    start = 0
    while start < len(text):
        end = start + part
        if end < len(text):
            border = max(text.rfind(blank, start, end) for blank in " \n") + 1
            if border > start:
                end = border
            else:  # a long text without a blank: Chinese, or one that shall do harm
                while end < len(text):
                    character = text[end]
                    end += 1
                    if character not in known:
                        known[character] = wordpiece.is_border(character)
                    if known[character]:
                        break
        yield start, min(end, len(text))
        start = end
