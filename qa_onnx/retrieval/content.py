"""All that an index holds: the texts of the passages, their terms, and the scores of the terms.

Documents -> `collect` -> `IndexContent`. What an older index knows of unchanged documents is copied from it. The
same documents in the same order give the same content, whatever was copied.

Left out: files (storage.py), and asking (index.py).
"""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from qa_onnx.documents.document import Document
from qa_onnx.errors import InputError, QaOnnxError, quoted, shown
from qa_onnx.options import check_type
from qa_onnx.retrieval.passages import cut_passages
from qa_onnx.retrieval.scoring import TermScores, score_terms
from qa_onnx.retrieval.terms import terms_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

MOST_PASSAGES = 10_000_000
MOST_DOCUMENTS = 2_000_000
MOST_TERMS = 1 << 24  # different ones
_REMAPPED = 1 << 22  # terms that get their new numbers at once


@dataclass(frozen=True, slots=True)
class LazyDocument:
    """A document that is read only where it is not known.

    Attributes:
        name: of the document, unique in an index.
        sha256: of its content, in hexadecimal: of its file, or of its text. A document is known where an index has
            one of the same hash.
        read: returns its text.
    """

    name: str
    sha256: str
    read: Callable[[], str]

    @classmethod
    def of(cls, document: Document | LazyDocument) -> LazyDocument:
        """Return a document with the hash of its text; one that has a hash as it is."""
        if isinstance(document, LazyDocument):
            return document
        check_type("a document", document, Document, "a Document or a LazyDocument")
        check_type("the text of a document", document.text, str, "a str")
        digest = hashlib.sha256(encoded(document.text)).hexdigest()
        return cls(document.name, digest, lambda: document.text)


OnProblem: TypeAlias = "Callable[[str, QaOnnxError], object]"


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """A document of an index: its name, the hash of its content, and the number of its passages."""

    name: str
    sha256: str
    passages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexContent:
    """D documents, P passages with W terms in all, and a vocabulary of T terms.

    Attributes:
        documents: in the order in which they were given.
        starts: int64 (P,), the first character of each passage in its document.
        texts: the texts of all passages in UTF-8, one after the other; halves of surrogate pairs stay.
        text_bounds: int64 (P + 1,), the first byte of each passage in `texts`, and its size.
        terms: uint32 (W,), the terms of all passages.
        term_bounds: int64 (P + 1,), the first term of each passage, and W.
        vocabulary: the number of each term; numbers follow the order of the terms.
        scores: of the terms in the passages.
    """

    documents: tuple[IndexedDocument, ...]
    starts: NDArray[np.int64]
    texts: memoryview
    text_bounds: NDArray[np.int64]
    terms: NDArray[np.uint32]
    term_bounds: NDArray[np.int64]
    vocabulary: dict[str, int]
    scores: TermScores


def encoded(text: str) -> bytes:
    """Return a text in UTF-8, with halves of surrogate pairs."""
    return text.encode("utf-8", "surrogatepass")


def collect(
    documents: Iterable[Document | LazyDocument],
    old: IndexContent | None = None,
    *,
    on_problem: OnProblem | None = None,
) -> tuple[IndexContent, int]:
    """Cut documents into passages and score their terms.

    Args:
        documents: any number.
        old: an index whose documents are copied where their hash is the same.
        on_problem: is called with the name and the error of a document that cannot be read, which is left out;
            None: the error is raised.

    Returns:
        The content, and the number of the documents that were copied; `old` itself where it has the same ones.

    Raises:
        InputError: a name is there twice, something is of a wrong type, or there are too many passages.
        QaOnnxError: of a document that cannot be read.
    """
    draft = _Draft(old)
    for document in documents:
        lazy = LazyDocument.of(document)
        try:
            draft.add(lazy)
        except QaOnnxError as error:
            if on_problem is None or lazy.name in draft.documents:
                raise
            on_problem(lazy.name, error)
    if old is not None and tuple(draft.documents.values()) == old.documents:
        return old, draft.copied
    return draft.content(), draft.copied


class _Draft:
    """The content of an index while documents are added; terms have numbers in the order of their arrival."""

    def __init__(self, old: IndexContent | None) -> None:
        self.documents: dict[str, IndexedDocument] = {}
        self.copied = 0
        self._starts = array("q")
        self._texts = bytearray()
        self._text_bounds = array("q", [0])
        self._terms = array("I")
        self._term_bounds = array("q", [0])
        self._vocabulary = {} if old is None else dict(old.vocabulary)
        self._old = old
        self._known: dict[str, tuple[int, int]] = {}  # hash -> first passage, and the one after the last
        first = 0
        for document in () if old is None else old.documents:
            self._known[document.sha256] = (first, first + document.passages)
            first += document.passages

    def add(self, document: LazyDocument) -> None:
        """Add a document."""
        _check_name(document.name)
        if document.name in self.documents:
            raise InputError(
                f"two documents have the name {quoted(document.name)}", remedy="name each differently"
            )
        before = len(self._starts)
        if self._old is not None and document.sha256 in self._known:
            self._copy(self._old, *self._known[document.sha256])
            self.copied += 1
        else:
            self._cut(document)
        count = len(self._starts) - before
        self.documents[document.name] = IndexedDocument(document.name, document.sha256, count)
        for count, limit, what in (
            (len(self._starts), MOST_PASSAGES, "passages"),
            (len(self.documents), MOST_DOCUMENTS, "documents"),
            (len(self._vocabulary), MOST_TERMS, "different terms"),
        ):
            if count > limit:
                raise InputError(
                    f"the documents up to {shown(document.name)} make more than {limit:,} {what}, the limit of an "
                    "index",
                    remedy="make several indexes",
                )

    def _cut(self, document: LazyDocument) -> None:
        text, numbers = document.read(), self._vocabulary
        check_type(f"the text of {shown(document.name)}", text, str, "a str")
        for start, end in cut_passages(text, name=shown(document.name)):
            passage = text[start:end]
            self._starts.append(start)
            self._texts += encoded(passage)
            self._text_bounds.append(len(self._texts))
            self._terms.extend([numbers.setdefault(term, len(numbers)) for term in terms_of(passage)])
            self._term_bounds.append(len(self._terms))

    def _copy(self, old: IndexContent, first: int, end: int) -> None:
        """Add passages of the old index, whose terms kept their numbers."""
        bounds = slice(first + 1, end + 1)
        text, term = int(old.text_bounds[first]), int(old.term_bounds[first])
        self._starts.frombytes(old.starts[first:end].tobytes())
        self._text_bounds.frombytes((old.text_bounds[bounds] + (len(self._texts) - text)).tobytes())
        self._term_bounds.frombytes((old.term_bounds[bounds] + (len(self._terms) - term)).tobytes())
        self._texts += old.texts[text : int(old.text_bounds[end])]
        self._terms.frombytes(old.terms[term : int(old.term_bounds[end])].tobytes())

    def content(self) -> IndexContent:
        """Return the content, with terms in their order and without those of documents that are gone."""
        terms = np.frombuffer(self._terms, np.uint32) if self._terms else np.zeros(0, np.uint32)
        terms, vocabulary = _renumbered(terms, list(self._vocabulary))
        term_bounds = np.frombuffer(self._term_bounds, np.int64)
        return IndexContent(
            documents=tuple(self.documents.values()),
            starts=np.frombuffer(self._starts, np.int64) if self._starts else np.zeros(0, np.int64),
            texts=memoryview(self._texts),
            text_bounds=np.frombuffer(self._text_bounds, np.int64),
            terms=terms,
            term_bounds=term_bounds,
            vocabulary=vocabulary,
            scores=score_terms(terms, term_bounds, len(vocabulary)),
        )


def _check_name(name: object) -> None:
    check_type("the name of a document", name, str, "a str")
    try:
        str(name).encode()
    except UnicodeEncodeError as error:
        problem = f"the name of a document, {quoted(name)}, has characters that are no text"
        raise InputError(problem, remedy="rename it") from error


def _renumbered(terms: NDArray[np.uint32], words: Sequence[str]) -> tuple[NDArray[np.uint32], dict[str, int]]:
    """Number the terms that occur by their order; return the terms with their new numbers, and the vocabulary."""
    parts = [slice(at, at + _REMAPPED) for at in range(0, len(terms), _REMAPPED)]
    occurs = np.zeros(len(words), bool)
    for part in parts:
        occurs[terms[part]] = True
    kept = sorted(np.flatnonzero(occurs).tolist(), key=words.__getitem__)
    numbers = np.zeros(len(words), np.uint32)
    numbers[kept] = np.arange(len(kept), dtype=np.uint32)
    renumbered = np.empty_like(terms)
    for part in parts:
        renumbered[part] = numbers[terms[part]]
    return renumbered, {words[index]: number for number, index in enumerate(kept)}


def passage_bounds(documents: Iterable[IndexedDocument]) -> NDArray[np.int64]:
    """Return the first passage of each document, and the number of all passages: int64 (D + 1,)."""
    return np.cumsum([0, *(document.passages for document in documents)], dtype=np.int64)
