"""Claim and documents -> what they say of it: supported, something else, or nothing that could be found.

For those who check generated text, where a claim does not stand in its source word for word. Questions that ask
for the parts of the claim (support_parts.py) are answered from the passages that share most with it. An answer has

    score = probability * share of the claim's other words that stand in the answer's sentence

- supported: an answer agrees with its part, all parts of the claim stand in its sentence or beside it, no answer
  of its passage that differs has a higher score, and its own is at least `SUPPORTED`;
- differs: an answer says something else, and its part does not stand in its sentence; or it agrees, but one of the
  claim and the sentence has a "not". Its score is at least `DIFFERS`;
- not found: neither.

This is a hint and no proof: benchmarks/support.py measures how often it is wrong. Left out: claims that stand
there word for word (documents/quotes.py), what follows from several places, and all languages but English.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from qa_onnx.documents.sentences import sentences
from qa_onnx.errors import InputError, quoted
from qa_onnx.options import check_bounds, check_type
from qa_onnx.retrieval.index import PassageIndex
from qa_onnx.retrieval.support_parts import ClaimPart, agrees, is_negated, parts_of, stands_in, stems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.answers import Answer
    from qa_onnx.documents.document import Document
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader
    from qa_onnx.retrieval.content import LazyDocument
    from qa_onnx.retrieval.index import Passage

LONGEST_CLAIM = 1_000  # characters
MOST_ASKED = 12  # parts of a claim; others only have to stand near an answer
# Least scores, chosen in benchmarks/support.py: more of the first makes fewer claims supported that are wrong, and
# more that are right not found; more of the second changes the share of those that really differ by little.
SUPPORTED, DIFFERS = 0.55, 0.3

SupportVerdict = Literal["supported", "differs", "not found"]


@dataclass(frozen=True, slots=True)
class PartAnswer:
    """What a document says in the place of a part of a claim.

    Attributes:
        part: of the claim, with the question that was asked.
        document: name of the document.
        text: the answer: the document's text from `start` to `end`.
        start: index of its first character in the document's text.
        end: index after its last character.
        probability: of the answer in its passage, 0 to 1.
        words: share of the claim's words, but for those of the part, that stand in the answer's sentence, 0 to 1.
        negated: whether one of the claim and the sentence has "not" or the like, and the other has not.
    """

    part: ClaimPart
    document: str
    text: str
    start: int
    end: int
    probability: float
    words: float
    negated: bool

    @property
    def score(self) -> float:
        """The probability times the share of words, 0 to 1."""
        return self.probability * self.words


@dataclass(frozen=True, slots=True)
class Support:
    """What documents say of a claim.

    Attributes:
        claim: as it was given.
        parts: what was looked for; where there is none, nothing could be checked.
        agreeing: the best answer that says the same, as above, with any score; None: there is none.
        differing: the best answer that says something else, with any score; None: there is none.
        read: number of passages that were read.
    """

    claim: str
    parts: tuple[ClaimPart, ...]
    agreeing: PartAnswer | None
    differing: PartAnswer | None
    read: int

    @property
    def verdict(self) -> SupportVerdict:
        """See the top of this file."""
        if self.agreeing is not None and self.agreeing.score >= SUPPORTED:
            return "supported"
        if self.differing is not None and self.differing.score >= DIFFERS:
            return "differs"
        return "not found"

    @property
    def answer(self) -> PartAnswer | None:
        """The answer that the verdict stands on; None: it is "not found"."""
        return {"supported": self.agreeing, "differs": self.differing, "not found": None}[self.verdict]

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict, the score and the answer, ready for JSON."""
        answer = self.answer
        return {
            "verdict": self.verdict,
            "score": answer.score if answer else None,
            "answer": dataclasses.asdict(answer) if answer else None,
            "parts": [part.text for part in self.parts],
            "read": self.read,
        }


def support(
    reader: Reader,
    claim: str,
    documents: PassageIndex | Iterable[Document | LazyDocument],
    *,
    read: int = 4,
    options: Options | None = None,
) -> Support:
    """Return what documents say of a claim.

    Args:
        reader: answers the questions; of an English model.
        claim: one statement, such as a sentence, of at most `LONGEST_CLAIM` characters.
        documents: an index; or documents, of which one is made for this call.
        read: passages that are read, those that share most with the claim.
        options: of the reader; None: its own.

    Raises:
        InputError: an argument is of a wrong type or out of range, or see `PassageIndex.of`.
        EngineError: the model cannot be run.
        MissingExtraError: bm25s is not installed.
    """
    _check(claim, read)
    options = dataclasses.replace(reader.resolve(options), n_best=1)
    if not isinstance(documents, PassageIndex):
        check_type("the documents", documents, Iterable, "a PassageIndex or some Documents")
        documents = PassageIndex.of(documents)
    parts = parts_of(claim)
    passages = documents.search(claim, read) if parts else []
    asked = parts[:MOST_ASKED]
    pairs = [(part.question, passage.text) for passage in passages for part in asked]
    predictions = reader.predict(pairs, options=options)
    agreeing, differing = list[PartAnswer](), list[PartAnswer]()
    for number, passage in enumerate(passages):
        of_passage = predictions[number * len(asked) : (number + 1) * len(asked)]
        compared = [
            _compared(claim, parts, part, passage, prediction.answers[0])
            for part, prediction in zip(asked, of_passage, strict=True)
            if prediction.answers
        ]
        other = _best(answer for answer, is_same in compared if is_same is False)
        differing += [other] if other else []
        least = other.score if other else 0.0
        agreeing += [answer for answer, is_same in compared if is_same and answer.score >= least]
    return Support(claim, tuple(parts), _best(agreeing), _best(differing), len(passages))


def _check(claim: str, read: object) -> None:
    check_type("the claim", claim, str, "a str")
    if not 1 <= len(claim.strip()) <= LONGEST_CLAIM:
        raise InputError(
            f"the claim {quoted(claim)} has {len(claim.strip()):,} characters; it must have 1 to "
            f"{LONGEST_CLAIM:,}",
            remedy="check its sentences one by one",
        )
    check_bounds("read", read)


def _compared(
    claim: str, parts: Sequence[ClaimPart], part: ClaimPart, passage: Passage, answer: Answer
) -> tuple[PartAnswer, bool | None]:
    """Return an answer, and whether it says what the claim does; None: it says nothing of it."""
    sentence, near = _around(passage.text, answer)
    others = stems(claim) - stems(part.text)
    found = PartAnswer(
        part,
        passage.document,
        answer.text,
        passage.start + answer.start,
        passage.start + answer.end,
        answer.probability,
        len(others & stems(sentence)) / len(others) if others else 0.0,
        is_negated(claim) != is_negated(sentence),
    )
    if agrees(part, answer.text):
        return found, not found.negated if all(stands_in(other, near) for other in parts) else None
    return found, None if stands_in(part, sentence) else False


def _around(text: str, answer: Answer) -> tuple[str, str]:
    """Return the sentence of an answer, and the same with the sentences before and after it."""
    bounds = list(sentences(text))
    inside = [at for at, (start, end) in enumerate(bounds) if end > answer.start and start < answer.end]
    first, last = inside[0], inside[-1]
    before, behind = bounds[max(0, first - 1)], bounds[min(len(bounds) - 1, last + 1)]
    return text[bounds[first][0] : bounds[last][1]], text[before[0] : behind[1]]


def _best(answers: Iterable[PartAnswer]) -> PartAnswer | None:
    return max(answers, key=lambda answer: answer.score, default=None)
