"""Gold and DataSet: questions with their right answers, and what was repaired while they were read."""

from __future__ import annotations

from dataclasses import dataclass, field

# Kind of repair: how the report names it, before the count.
_REPAIRS = {
    "moved": "answers with a wrong answer_start, moved to the only place of their text",
    "blank": "blank answers, taken as none",
    "numbers": "numbers written as floats or text",
}


@dataclass(slots=True)
class Repairs:
    """Count of the values of a file that were repaired, by kind.

    Attributes:
        counts: number of repairs of each kind that occurs: "moved", "blank" or "numbers".
    """

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str) -> None:
        """Count a repair."""
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def __bool__(self) -> bool:
        """Whether anything was repaired."""
        return bool(self.counts)

    def __str__(self) -> str:
        """Return the report, one line; empty if nothing was repaired."""
        return "; ".join(
            f"{text}: {self.counts[kind]:,}" for kind, text in _REPAIRS.items() if kind in self.counts
        )


@dataclass(frozen=True, slots=True)
class Gold:
    """An example and its right answers.

    Attributes:
        id: as in the file, as text; of a question without one, its place, such as "line-7".
        question: as in the file, like the context.
        context: the text to find the answers in.
        answers: the right texts; empty if the context does not answer the question.
        answer_starts: index in the context of each one's first character (code point); -1: unknown.
        article: the title of the context's article, or its position in the file; of a row without a title, "".
            Examples that differ only in it are equal.
    """

    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    answer_starts: tuple[int, ...]
    article: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class DataSet:
    """The examples of a file or of a data set of the Hugging Face hub, or a sample of them.

    Attributes:
        name: the file's name, without its folder, or the data set's.
        sha256: of the file's bytes as they are on disk, or of the data set's rows as JSON, in hexadecimal.
        golds: in the order of the file.
        repairs: what was repaired in the whole file.
    """

    name: str
    sha256: str
    golds: tuple[Gold, ...]
    repairs: Repairs = field(default_factory=Repairs, compare=False)

    @property
    def has_unanswerable(self) -> bool:
        """Whether at least one question has no answer."""
        return any(not gold.answers for gold in self.golds)
