"""Contenders that alternate every few questions, so that disturbances of the machine affect all of them alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qa_onnx.bench.contenders import Contender
    from qa_onnx.bench.process import ContenderProcess
    from qa_onnx.bench.results import ContenderResult
    from qa_onnx.data.squad import Gold

TURN = 8  # questions


@dataclass(slots=True, eq=False)
class Runner:
    """A contender that runs, and its figures so far."""

    contender: Contender
    process: ContenderProcess
    outcome: ContenderResult
    together: list[list[float]] = field(default_factory=list)  # seconds of offline, by round and turn
    alone: list[float] = field(default_factory=list)  # seconds of each question of single-stream
    answers: list[str] = field(default_factory=list)  # to the judged questions

    def ask(self, golds: Sequence[Gold], **request: Any) -> dict[str, Any]:
        """Ask questions; for the rest of the request see protocol.py."""
        pairs = [(gold.question, gold.context) for gold in golds]
        options = {**self.contender.options, **request.pop("options", {})}
        return self.process.ask({"pairs": pairs, "options": options, **request})


def alternate(
    runners: Sequence[Runner], golds: Sequence[Gold], number: int = 0, **request: Any
) -> Iterator[tuple[Runner, dict[str, Any]]]:
    """Ask every runner every question, `TURN` at a time; yield the runner and the reply of each turn.

    Args:
        runners: their order is reversed in every other turn.
        golds: questions.
        number: number of the round; it decides which order comes first.
        request: see protocol.py.
    """
    for turn, first in enumerate(range(0, len(golds), TURN), number):
        for runner in runners if turn % 2 else runners[::-1]:
            yield runner, runner.ask(golds[first : first + TURN], **request)
