"""Count of what became of each question on its way into training, with a few examples by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qa_onnx.data.squad import Repairs

_NAMED = 5

# Kind: its line in the report, in this order. The first are trained on, the others left out.
USED = {
    "answerable": "have an answer",
    "unanswerable": "have no answer: the target is CLS",
    "negatives": "of them were added: questions asked of another paragraph of their article",
    "moved": "had a wrong answer_start, and the text is found once, or once nearby: repaired",
    "blank": "of their answers were blank: taken as none",
    "numbers": "of their numbers were floats or text: read as whole numbers",
    "trimmed": "had blanks around their answer: cut off",
    "ambiguous": "have no answer_start, and the text is found several times: the first is taken",
    "widened": "have an answer that starts or ends inside a token: the whole token is taken",
}
LEFT_OUT = {
    "damaged": "are damaged",
    "twice": "are in the data twice",
    "too long": "have a question or a context of more than a million characters",
    "misplaced": "have a wrong answer_start, and the text is not found once nearby",
    "absent": "have an answer that is not in the context",
    "no token": "have an answer of which the tokenizer leaves nothing",
    "cut": "have an answer that no window holds whole",
}


@dataclass(slots=True)
class Tally:
    """Number of questions by kind, with the ids of the first few.

    Attributes:
        counts: number of questions of each kind.
        named: ids of the first of each kind, or where they are and what is wrong with them.
    """

    counts: dict[str, int] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Count a question."""
        assert kind in USED or kind in LEFT_OUT, kind
        self.counts[kind] = self.counts.get(kind, 0) + 1
        names = self.named.setdefault(kind, [])
        if len(names) < _NAMED:
            names.append(name[:300])

    def add_repairs(self, repairs: Repairs) -> None:
        """Count what was repaired in a file."""
        for kind, count in repairs.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count

    def lines(self) -> list[str]:
        """Return the report: a line for each kind that occurs."""
        lines = []
        for kind, meaning in {**USED, **LEFT_OUT}.items():
            if count := self.counts.get(kind):
                more = "; ..." if count > _NAMED else ""
                names = f" ({'; '.join(self.named[kind])}{more})" if kind in LEFT_OUT else ""
                lines.append(f"{count:,} {meaning}{names}")
        return lines

    def record(self) -> dict[str, Any]:
        """Return the JSON of training.json."""
        return asdict(self)
