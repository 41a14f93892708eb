"""Texts -> their tokens, without special tokens.

The tokenizers library can do all of it. BERT's own kind of tokenizer has a faster way for most texts
(wordpiece.py), with the same result.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from qa_onnx.errors import BundleError
from qa_onnx.tokens.wordpiece import WordPiece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.tokens.encoding import Encoding

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class TextEncoder:
    """Tokenizes texts with a tokenizer that never changes, so that any number of threads may share it.

    Args:
        tokenizer_json: the text of a tokenizer.json.

    Raises:
        BundleError: the JSON is not a tokenizer.

    Attributes:
        tokenizer: the tokenizer of the library, without padding and truncation.
    """

    def __init__(self, tokenizer_json: str) -> None:
        try:
            self.tokenizer = Tokenizer.from_str(tokenizer_json)
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleError(f"not a tokenizer.json that this tokenizers release reads: {error}") from error
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        # "[SEP]" in a text is text: otherwise the author of a context could forge the borders of a window.
        self.tokenizer.encode_special_tokens = True
        self._wordpiece = WordPiece.of(self.tokenizer)

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenize texts.

        Raises:
            BundleError: the tokenizer fails on a text: its vocabulary has no token for unknown words.
        """
        # A lone surrogate (half of a UTF-16 pair) is not a character and cannot enter the tokenizer. Its
        # replacement is one code point long too, so that offsets stay those of the original text.
        clean = [text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text) for text in texts]
        try:
            fast = [None if self._wordpiece is None else self._wordpiece.encode(text) for text in clean]
            rest = [text for text, encoding in zip(clean, fast, strict=True) if encoding is None]
            others = iter(self.tokenizer.encode_batch(rest, add_special_tokens=False))
        except Exception as error:
            raise BundleError(f"the tokenizer cannot encode these texts: {error}") from error
        return [next(others) if encoding is None else encoding for encoding in fast]

    def forget(self) -> None:
        """Forget the tokens of chunks and words; see `Reader.forget`."""
        if self._wordpiece is not None:
            self._wordpiece.forget()
