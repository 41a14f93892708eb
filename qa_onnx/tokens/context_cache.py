"""Contexts -> their tokens and offsets, kept for the next question about the same text.

Tokenizing a long text takes longer than answering one more question about it, and people ask many questions about
one text. Left out: how a text is tokenized (encoder.py) and cut into windows (windows.py).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from qa_onnx.tokens.blocks import block_tokens
from qa_onnx.tokens.encoding import EncodedContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qa_onnx.tokens.encoding import Tokens


class ContextCache:
    """Contexts that were used recently. Any number of threads may share it.

    Args:
        encode: tokenizes texts.
        characters: how many it holds in all, at some 22 bytes each. A longer context is not kept.
    """

    def __init__(self, encode: Callable[[list[str]], list[Tokens]], *, characters: int) -> None:
        self._encode = encode
        self._limit = characters
        self._held = 0
        self._contexts: OrderedDict[str, EncodedContext] = OrderedDict()  # the least recently used one first
        self._lock = threading.Lock()

    def get(self, texts: Iterable[str]) -> dict[str, EncodedContext]:
        """Return the context of each text; those that are not held are encoded, outside of the lock."""
        wanted = set(texts)
        with self._lock:
            held = {text: self._contexts[text] for text in wanted if text in self._contexts}
            for text in held:
                self._contexts.move_to_end(text)
        missing = [text for text in wanted if text not in held]
        if not missing:
            return held
        new = {text: _encoded(text, tokens) for text, tokens in zip(missing, self._encode(missing), strict=True)}
        with self._lock:
            for text, context in new.items():
                if text not in self._contexts and len(text) <= self._limit:
                    self._contexts[text] = context
                    self._held += len(text)
            while self._held > self._limit:
                oldest, _ = self._contexts.popitem(last=False)
                self._held -= len(oldest)
        return held | new

    def clear(self) -> None:
        """Forget all contexts."""
        with self._lock:
            self._contexts.clear()
            self._held = 0


def _encoded(text: str, tokens: Tokens) -> EncodedContext:
    return EncodedContext(text, tokens.ids.astype(np.int64), tokens, block_tokens(text, tokens))
