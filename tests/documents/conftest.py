"""One reader, and so one parser process, for all tests of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qa_onnx.documents import DocumentReader

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def reader() -> Iterator[DocumentReader]:
    with DocumentReader() as one:
        yield one
