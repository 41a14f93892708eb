"""`qa-onnx diff`: show which answers change between two bundles or precisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qa_onnx.cli.notes import quiet_option
from qa_onnx.cli.options import data_file, limit_option, seed_option, threads_option
from qa_onnx.cli.output import to_json
from qa_onnx.cli.progress import progress
from qa_onnx.cli.tables import printable, say
from qa_onnx.engines.names import PRECISIONS
from qa_onnx.errors import number_of

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx import Reader
    from qa_onnx.evaluation.evaluate import Outcome


@click.command
@click.argument("first", metavar="BUNDLE[:PRECISION]")
@click.argument("second", metavar="BUNDLE[:PRECISION]")
@click.argument("data", type=data_file)
@limit_option
@seed_option
@threads_option
@click.option("--show", type=click.IntRange(0), default=20, show_default=True, help="Changed answers to print.")
@click.option("--json", "as_json", is_flag=True, help="Print counts and all changed answers as one JSON object.")
@quiet_option
def diff(
    *,
    first: str,
    second: str,
    data: Path,
    limit: int | None,
    seed: int,
    threads: int | None,
    show: int,
    as_json: bool,
) -> None:
    """Show which answers to the questions of DATA change from the first bundle to the second.

    Name a precision after a colon: exported/minilm-squad:int8. F1 may stay the same while many answers change.
    """
    from qa_onnx.data import squad
    from qa_onnx.evaluation.evaluate import evaluate

    questions = squad.load(data, limit=limit, seed=seed)
    readers = [_reader(name, threads) for name in (first, second)]
    total = len(questions.golds)
    with progress(2 * total) as count:
        old = evaluate(readers[0], questions, progress=count)
        new = evaluate(readers[1], questions, progress=lambda done: count(total + done))
    pairs = zip(old.outcomes, new.outcomes, strict=True)
    flipped = [pair for pair in pairs if _span(pair[0]) != _span(pair[1])]
    flipped.sort(key=lambda pair: pair[1].f1 - pair[0].f1)  # lost answers first
    counts = {
        "questions": total,
        "same": total - len(flipped),
        "flipped": len(flipped),
        "flipped_and_better": sum(after.f1 > before.f1 for before, after in flipped),
        "flipped_and_worse": sum(after.f1 < before.f1 for before, after in flipped),
        "f1": [old.f1, new.f1],
        "em": [old.em, new.em],
        "f1_change": new.f1 - old.f1,
        "f1_change_interval": new.f1_change_interval(old, seed=seed),
    }
    if as_json:
        click.echo(to_json({**counts, "changes": [_change(*pair) for pair in flipped]}))
        return
    say(_verdict(counts))
    for name, report in ((first, old), (second, new)):
        click.echo(f"{printable(name)}: EM {report.em:.2f}, F1 {report.f1:.2f}")
    if flipped:
        say(_change_of_f1(counts))
    for pair in flipped[:show]:
        gold = pair[0].gold
        click.echo()
        say(f"{gold.id}  {gold.question}")
        say(" | ".join(dict.fromkeys(gold.answers)) or "(no answer)", label="  gold", indent=10)
        for label, outcome in zip(("first", "second"), pair, strict=True):
            figures = f"[score {outcome.answer.score:.2f}, F1 {100 * outcome.f1:.0f}]"
            say(f"{outcome.answer.text or '(no answer)'} {figures}", label=f"  {label}", indent=10)
    if len(flipped) > show:
        click.echo(f"\n... and {len(flipped) - show:,} more: --show N or --json")


def _verdict(counts: dict[str, Any]) -> str:
    """Return in a sentence how many answers change, and whether that is for the better."""
    answers = number_of(counts["questions"], "answer")
    flipped, better, worse = (counts[name] for name in ("flipped", "flipped_and_better", "flipped_and_worse"))
    if not flipped:
        return f"all {answers} are the same" if counts["questions"] > 1 else "the answer is the same"
    even = flipped - better - worse
    parts = [
        f"{better:,} for the better",
        f"{worse:,} for the worse",
        *([f"{even:,} with the same F1"] if even else []),
    ]
    return f"{flipped:,} of {answers} {'changes' if flipped == 1 else 'change'}: {', '.join(parts)}"


def _change_of_f1(counts: dict[str, Any]) -> str:
    """Return in a sentence how much F1 changes, and whether that may be chance."""
    low, high = counts["f1_change_interval"]
    chance = ": this may be chance" if low <= 0 <= high else ""
    return f"F1 changes by {counts['f1_change']:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}){chance}"


def _reader(name: str, threads: int | None) -> Reader:
    from qa_onnx import Reader

    folder, _, precision = name.rpartition(":")
    if precision not in PRECISIONS:  # a colon, if any, belongs to the path
        folder, precision = name, ""
    return Reader.load(folder, precision=precision or None, threads=threads)


def _span(outcome: Outcome) -> tuple[int, int]:
    return outcome.answer.start, outcome.answer.end


def _change(old: Outcome, new: Outcome) -> dict[str, Any]:
    return {
        "id": old.gold.id,
        "question": old.gold.question,
        "gold": list(old.gold.answers),
        **{
            name: {"text": outcome.answer.text, "score": outcome.answer.score, "em": outcome.em, "f1": outcome.f1}
            for name, outcome in (("first", old), ("second", new))
        },
    }
