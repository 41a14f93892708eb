"""A reader -> the same reader, whose session counts the tokens that it computes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from qa_onnx.reader import Reader
    from qa_onnx.session import Arrays


class CountedSession:
    """A session that counts the tokens of its runs; in all else it is the session inside.

    Attributes:
        tokens: of all runs so far, without padding.
    """

    def __init__(self, session: Any, pad_id: int) -> None:
        self._session, self._pad_id = session, pad_id
        self.tokens = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, inputs: Mapping[str, NDArray[np.int64]], **more: Any) -> Arrays:
        """Count the tokens of a batch and compute its logits; see `Session.run`."""
        self.tokens += int(np.count_nonzero(inputs["input_ids"] != self._pad_id))
        logits: Arrays = self._session.run(inputs, **more)
        return logits


def count_tokens(reader: Reader) -> CountedSession:
    """Make a reader, which nobody else may use, count its tokens; return what counts them."""
    counted = CountedSession(reader.steps.session, reader.steps.pad_id)
    reader.steps = dataclasses.replace(reader.steps, session=counted)
    return counted
