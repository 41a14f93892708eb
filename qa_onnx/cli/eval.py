"""`qa-onnx eval`: measure how well a bundle answers the questions of a data file."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qa_onnx.cli import tables
from qa_onnx.cli.notes import note, quiet_option, verbose_option
from qa_onnx.cli.options import ReaderSettings, data_file, limit_option, reader_options, seed_option
from qa_onnx.cli.output import check_file, to_json, whole_file
from qa_onnx.cli.progress import progress
from qa_onnx.errors import number_of

if TYPE_CHECKING:
    from qa_onnx.evaluation.calibration import CalibrationReport
    from qa_onnx.evaluation.evaluate import Part, Report


@click.command("eval")
@click.argument("data", type=data_file)
@limit_option
@seed_option
@click.option("--by-length", is_flag=True, help="Show scores by the length of the context too.")
@click.option(
    "--errors",
    "errors_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the questions without an exact match to this file, as JSON lines.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@verbose_option("Show scores by probability, and the best null threshold, too.")
@quiet_option
@partial(reader_options, without=("min_probability",))
def evaluate(
    *,
    settings: ReaderSettings,
    data: Path,
    limit: int | None,
    seed: int,
    by_length: bool,
    errors_path: Path | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Measure exact match and F1 on DATA.

    DATA is a file of questions with their answers: SQuAD JSON, rows in JSON, JSON lines, CSV or Parquet, an export
    of Label Studio or Haystack's annotation tool; or a data set on the hub, OWNER/NAME:SPLIT. Scores are those of
    the official SQuAD script, for texts without blanks between words those of MLQA's. Intervals hold 95 % of
    seeded bootstrap samples.
    """
    from qa_onnx.data import squad
    from qa_onnx.evaluation.evaluate import evaluate as measure

    if errors_path is not None:
        check_file(errors_path, inputs=[data])
    questions = squad.load(data, limit=limit, seed=seed, unique_ids=True)
    reader, options = settings.load()
    with progress(len(questions.golds)) as count:
        report = measure(reader, questions, options=options, seed=seed, progress=count)
    if errors_path is not None:
        _write_errors(errors_path, report)
    if as_json:
        click.echo(to_json(_record(report, by_length=by_length)))
    else:
        _show(report, by_length=by_length, verbose=verbose)


def _record(report: Report, *, by_length: bool) -> dict[str, Any]:
    record = asdict(replace(report, outcomes=()))
    del record["outcomes"]
    record["questions_per_second"] = report.questions_per_second
    if by_length:
        record["by_length"] = [{"words": words, **asdict(part)} for words, part in report.by_length()]
    return record


def _show(report: Report, *, by_length: bool, verbose: bool) -> None:
    tables.say(
        f"{report.data}: EM {report.em:.2f} ({report.em_interval[0]:.2f} to {report.em_interval[1]:.2f}), "
        f"F1 {report.f1:.2f} ({report.f1_interval[0]:.2f} to {report.f1_interval[1]:.2f}) over "
        f"{number_of(report.n, 'question')}, {report.questions_per_second:,.1f} a second; in brackets 95 % "
        "intervals"
    )
    if report.by_characters:
        tables.say(
            f"F1 by characters, as in MLQA's script, for {report.by_characters:,} of {report.n:,} questions, "
            "whose texts have no blanks between words"
        )
    parts: dict[str, Part | None] = {}
    if report.no_answer is not None:
        parts = {"with an answer": report.has_answer, "without": report.no_answer}
    if by_length:
        parts |= {f"context of {words} words": part for words, part in report.by_length()}
    rows = [(name, f"{part.n:,}", f"{part.em:.2f}", f"{part.f1:.2f}") for name, part in parts.items() if part]
    if rows:
        tables.show_grid(("questions", "n", "EM", "F1"), rows)
    tables.say(f"probabilities are off by {report.calibration.ece:.2f} % on average (expected calibration error)")
    if verbose:
        _show_calibration(report.calibration)
    if verbose and report.null_threshold:
        best = report.null_threshold
        tables.say(
            f"best null threshold: {best.best_f1_threshold:.3f} for F1 {best.best_f1:.2f}, "
            f"{best.best_em_threshold:.3f} for EM {best.best_em:.2f}"
        )


def _show_calibration(calibration: CalibrationReport) -> None:
    tables.say(f"Brier score {calibration.brier:.4f}; an answer counts as right where it overlaps a right one")
    rows = [
        (f"{point.coverage:.0%}", f"{point.min_probability:.2f}", f"{point.f1:.2f}", f"{point.right:.1%}")
        for point in calibration.coverage
    ]
    tables.show_grid(("answered", "--min-probability", "F1 of these", "at a right place"), rows)


def _write_errors(path: Path, report: Report) -> None:
    wrong = [outcome for outcome in report.outcomes if not outcome.em]
    with whole_file(path) as file:
        for outcome in wrong:
            record = {
                "id": outcome.gold.id,
                "question": outcome.gold.question,
                "context": outcome.gold.context,
                "gold": outcome.gold.answers,
                "predicted": outcome.answer.text,
                "f1": outcome.f1,
                "score": outcome.answer.score,
                "probability": outcome.answer.probability,
            }
            file.write(to_json(record) + "\n")
    note(f"{number_of(len(wrong), 'question was', 'questions were')} not matched exactly: {path}")
