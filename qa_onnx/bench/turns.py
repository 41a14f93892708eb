"""Contenders that take turns every few questions, so that what the machine does meanwhile hits all alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qa_onnx.bench.contender import Contender
    from qa_onnx.bench.entrants import Entrant
    from qa_onnx.bench.results import ContenderResult
    from qa_onnx.data.squad import Gold

TURN = 8  # questions


@dataclass(slots=True, eq=False)
class Runner:
    """An entrant that runs, and its figures so far.

    Attributes:
        entrant: who it is.
        contender: its process.
        outcome: is filled.
        together: seconds of the offline scenario, by round and turn.
        alone: seconds of each question of the single-stream scenario.
        answers: to the questions.
    """

    entrant: Entrant
    contender: Contender
    outcome: ContenderResult
    together: list[list[float]] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def ask(self, golds: Sequence[Gold], **request: Any) -> dict[str, Any]:
        """See protocol.py."""
        pairs = [(gold.question, gold.context) for gold in golds]
        options = {**self.entrant.options, **request.pop("options", {})}
        return self.contender.ask({"pairs": pairs, "options": options, **request})


def in_turns(
    runners: Sequence[Runner], golds: Sequence[Gold], number: int = 0, **request: Any
) -> Iterator[tuple[Runner, dict[str, Any]]]:
    """Ask every runner every question, `TURN` at a time; give each turn's runner and reply.

    Args:
        runners: the last comes first in every other turn.
        golds: questions.
        number: of the round: the next one begins the other way round.
        request: see protocol.py.
    """
    for turn, first in enumerate(range(0, len(golds), TURN), number):
        for runner in runners if turn % 2 else runners[::-1]:
            yield runner, runner.ask(golds[first : first + TURN], **request)
