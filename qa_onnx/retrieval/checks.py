"""Files of an index -> its content, or why they are none: types, lengths, and all offsets between them.

Whoever wrote the files also wrote their hashes, so nothing in them is trusted. What is checked here is what a
search relies on. Left out: a text is decoded, and compared with its length, when it is read (index.py).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import numpy as np

from qa_onnx.retrieval.content import MOST_DOCUMENTS, MOST_PASSAGES, MOST_TERMS, IndexContent, IndexedDocument
from qa_onnx.retrieval.passages import MOST_CHARACTERS
from qa_onnx.retrieval.scoring import TermScores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Arrays of `IndexContent` and `TermScores`, each in a .npy file, and their types.
ARRAYS: dict[str, str] = {
    "starts": "<i8",
    "text_bounds": "<i8",
    "terms": "<u4",
    "term_bounds": "<i8",
    "score_values": "<f4",
    "score_passages": "<i4",
    "score_columns": "<i8",
}
_LONGEST_HEADER = 512  # bytes of a .npy file


def content_of(files: Mapping[str, memoryview]) -> IndexContent:
    """Return the content of files, by their names, without a copy of the large ones.

    Raises:
        ValueError: something in them is wrong, or too large. Also an OverflowError or RecursionError.
    """
    arrays = {name: _array(name, files[f"{name}.npy"], kind) for name, kind in ARRAYS.items()}
    content = IndexContent(
        documents=_documents(bytes(files["documents.json"])),
        starts=arrays["starts"],
        texts=files["texts.bin"],
        text_bounds=arrays["text_bounds"],
        terms=arrays["terms"],
        term_bounds=arrays["term_bounds"],
        vocabulary=_vocabulary(bytes(files["vocabulary.txt"])),
        scores=TermScores(
            arrays["score_values"], arrays["score_passages"], arrays["score_columns"], len(arrays["starts"])
        ),
    )
    _check_documents(content)
    _check_bounds(content)
    _check_scores(content)
    return content


def _documents(data: bytes) -> tuple[IndexedDocument, ...]:
    if data.count(b"{") > MOST_DOCUMENTS:  # before they are decoded
        raise ValueError(f"documents.json has more than {MOST_DOCUMENTS:,} documents")
    return msgspec.json.decode(data, type=tuple[IndexedDocument, ...])


def _vocabulary(data: bytes) -> dict[str, int]:
    if data.count(b"\n") > MOST_TERMS:
        raise ValueError(f"vocabulary.txt has more than {MOST_TERMS:,} terms")
    words = data.decode("utf-8", "surrogatepass").split("\n")[:-1]
    vocabulary = {word: number for number, word in enumerate(words)}
    if len(vocabulary) != len(words):
        raise ValueError("vocabulary.txt has a term twice")
    return vocabulary


def _array(name: str, data: memoryview, kind: str) -> NDArray[Any]:
    """Return the array of a .npy file: of one axis, of a type, and as long as the file."""
    header = io.BytesIO(bytes(data[:_LONGEST_HEADER]))
    try:
        if np.lib.format.read_magic(header) != (1, 0):
            raise ValueError("of another version")
        shape, _, dtype = np.lib.format.read_array_header_1_0(header, max_header_size=_LONGEST_HEADER)
    except Exception as error:  # NumPy reads a header as Python, and raises what its parser does
        raise ValueError(f"{name}.npy has no header that NumPy reads") from error
    if dtype != np.dtype(kind) or len(shape) != 1:
        raise ValueError(f"{name}.npy is {dtype} of shape {shape}; it must be {np.dtype(kind)} with one axis")
    if header.tell() + shape[0] * dtype.itemsize != len(data):
        raise ValueError(f"{name}.npy says that it has {shape[0]:,} values, and has {len(data):,} bytes")
    return np.frombuffer(data, dtype, offset=header.tell())


def _check_documents(content: IndexContent) -> None:
    """Check that documents have different names, and that their passages are all passages, in their order."""
    if len({document.name for document in content.documents}) != len(content.documents):
        raise ValueError("two documents have one name")
    counts = [document.passages for document in content.documents]
    if len(content.starts) > MOST_PASSAGES or min(counts, default=0) < 0 or sum(counts) != len(content.starts):
        _refuse("documents.json")
    firsts = np.cumsum([0, *counts])[:-1][np.array(counts, np.int64) > 0]
    steps = np.diff(content.starts, prepend=0)
    steps[firsts] = 1
    if (content.starts[firsts] != 0).any() or (steps <= 0).any() or (steps > MOST_CHARACTERS).any():
        _refuse("starts.npy")


def _check_bounds(content: IndexContent) -> None:
    """Check that each passage has a text and terms inside of what is there."""
    passages = len(content.starts)
    text_sizes = _steps("text_bounds", content.text_bounds, passages, len(content.texts))
    if (text_sizes < 1).any() or (text_sizes > 4 * MOST_CHARACTERS).any():
        _refuse("text_bounds.npy")
    _steps("term_bounds", content.term_bounds, passages, len(content.terms))
    if content.terms.max(initial=0) >= max(1, len(content.vocabulary)):
        _refuse("terms.npy")


def _check_scores(content: IndexContent) -> None:
    """Check that each term has scores of passages that are there."""
    values, passages, columns, count = (getattr(content.scores, name) for name in TermScores.__slots__)
    _steps("score_columns", columns, len(content.vocabulary), len(values))
    if len(passages) != len(values) or passages.min(initial=0) < 0 or passages.max(initial=-1) >= count:
        _refuse("score_passages.npy")
    if not np.isfinite(values).all():
        _refuse("score_values.npy")


def _steps(name: str, bounds: NDArray[np.int64], count: int, total: int) -> NDArray[np.int64]:
    """Return the sizes of parts between bounds; check that these begin at 0, never fall, and end at a total."""
    if len(bounds) != count + 1 or bounds[0] != 0 or bounds[-1] != total:
        _refuse(f"{name}.npy")
    if (bounds[1:] < bounds[:-1]).any():
        _refuse(f"{name}.npy")
    return np.diff(bounds)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} does not fit the other files")
