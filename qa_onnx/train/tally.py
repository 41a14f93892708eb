"""What became of each question on its way into training, counted, with the names of a few."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_NAMED = 5

# Kind: what is said of it, in the order in which it is shown. The first are used, the others left out.
USED = {
    "answerable": "have an answer",
    "unanswerable": "have none: the target is CLS",
    "negatives": "of them were added: questions asked of another paragraph of their article",
    "moved": "had a wrong answer_start, and the text is found once nearby: repaired",
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
    """Counts by kind, each with the places or ids of the first few.

    Attributes:
        counts: how many of each kind.
        named: what the first of each kind are called, or what is wrong with them.
    """

    counts: dict[str, int] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Count one."""
        assert kind in USED or kind in LEFT_OUT, kind
        self.counts[kind] = self.counts.get(kind, 0) + 1
        names = self.named.setdefault(kind, [])
        if len(names) < _NAMED:
            names.append(name[:300])

    def left_out(self) -> int:
        """How many questions are not trained on."""
        return sum(self.counts.get(kind, 0) for kind in LEFT_OUT)

    def lines(self) -> list[str]:
        """The report, a line for each kind that occurs."""
        lines = []
        for part, names_shown in ((USED, False), (LEFT_OUT, True)):
            for kind, said in part.items():
                if count := self.counts.get(kind):
                    names = f" ({'; '.join(self.named[kind])}{'; ...' if count > _NAMED else ''})"
                    lines.append(f"{count:,} {said}{names if names_shown else ''}")
        return lines

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {"counts": dict(self.counts), "named": {kind: list(names) for kind, names in self.named.items()}}
