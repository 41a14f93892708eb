"""Texts -> their tokens, without special tokens.

The tokenizers library can do all of it. BERT's own kind of tokenizer has a faster way for most texts
(wordpiece.py), and one that takes less memory for long texts (long_text.py), with the same result.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qa_onnx.errors import InputError
from qa_onnx.tokens.long_text import PART, library_tokens, long_tokens
from qa_onnx.tokens.panics import library_errors
from qa_onnx.tokens.wordpiece import WordPiece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

    from qa_onnx.tokens.encoding import Tokens

LONGEST_TEXT = 16 << 20  # characters; the library takes up to 200 bytes for each while it tokenizes

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class TextEncoder:
    """Tokenizes texts with a tokenizer that never changes, so that any number of threads may share it.

    Args:
        tokenizer_json: the text of a tokenizer.json.

    Raises:
        BundleError: the JSON is not a tokenizer, or it might harm the process; see tokenizer_file.py.

    Attributes:
        tokenizer: the tokenizer of the library, without padding and truncation.
    """

    def __init__(self, tokenizer_json: str) -> None:
        from qa_onnx.tokens.tokenizer_file import checked_tokenizer  # only now: msgspec takes 8 ms to import

        self.tokenizer: Tokenizer = checked_tokenizer(tokenizer_json)
        # "[SEP]" in a text is text: otherwise the author of a context could forge the borders of a window.
        self.tokenizer.encode_special_tokens = True
        self._wordpiece = WordPiece.of(self.tokenizer)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize texts.

        Raises:
            InputError: a text has more than `LONGEST_TEXT` characters.
            BundleError: the tokenizer fails on a text: its vocabulary has no token for unknown words.
        """
        longest = max(map(len, texts), default=0)
        if longest > LONGEST_TEXT:
            raise InputError(f"a text has {longest} characters; the limit is {LONGEST_TEXT}: split it")
        # A lone surrogate (half of a UTF-16 pair) is not a character and cannot enter the tokenizer. Its
        # replacement is one code point long too, so that offsets stay those of the original text.
        clean = [text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text) for text in texts]
        with library_errors("the tokenizer cannot encode these texts"):
            own = [self._own(text) for text in clean]
            rest = [text for text, tokens in zip(clean, own, strict=True) if tokens is None]
            others = map(library_tokens, self.tokenizer.encode_batch(rest, add_special_tokens=False))
            return [next(others) if tokens is None else tokens for tokens in own]

    def _own(self, text: str) -> Tokens | None:
        """Return the tokens of a text; None: it needs the library."""
        if self._wordpiece is None:
            return None
        if len(text) > PART:
            return long_tokens(text, self._wordpiece, self.tokenizer)
        return self._wordpiece.encode(text)

    def forget(self) -> None:
        """Forget the tokens of chunks and words; see `Windower.forget`."""
        if self._wordpiece is not None:
            self._wordpiece.forget()
