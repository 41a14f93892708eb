"""Results -> what people read: a table for the terminal, report.md and report.html, with plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qa_onnx.bench.document import ReportTable, bullets, console, plot, to_html
from qa_onnx.bench.plots import plots
from qa_onnx.bench.results import FIGURES, ContenderResult, to_csv, to_json, value_of
from qa_onnx.errors import number_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from qa_onnx.bench.results import BenchResults

_TITLE = "Benchmark of question answering"
METHOD = (
    "Each contender runs in a process of its own, on the same CPUs with the same number of threads, and is "
    "stopped while another runs. Every round asks each contender all questions, a few at a time and in "
    "alternating order. Speed is end to end, from text to answer. Ratios are taken within a turn: the median, "
    "with its 95 % bootstrap interval over the rounds. EM and F1 are those of the questions that have an answer, "
    "and every contender always has to answer; same answers is the share of all questions to which it gives the "
    "text of the first contender. Model alone: the speed if nothing but the model took time, from its share of "
    "the time when stages are timed one by one. p50, p90, p99: one question after another, with alternating "
    "contenders; of fewer than 100 questions the 99th percentile is little more than the slowest. Server: the "
    "highest rate of questions arriving at random times (Poisson) at which the 99th percentile stayed under the "
    "limit and the queue did not grow; waiting questions are answered together. Cold start: from starting the "
    "process to the first answer. Peak: resident memory. Install: packages, as installed."
)


# Headings of `results.FIGURES`: what a terminal of 100 columns has room for.
SHORT = ("contender", "F1", "questions/s", "x base", "95 %", "p50 ms", "cold start s", "peak MB")


def table(run: BenchResults, *, columns: Collection[str] | None = None) -> ReportTable:
    """Return a row of figures for each contender, without empty columns.

    Args:
        run: the results.
        columns: headings to show, such as `SHORT`; None: all.
    """
    outcomes = [outcome if not outcome.error else ContenderResult(name=outcome.name) for outcome in run.outcomes]
    shown = {}
    for path, _, heading, form in FIGURES:
        values = [value_of(outcome, path) for outcome in outcomes]
        cells = ["-" if value is None else format(value, form) for value in values]
        if heading and (columns is None or heading in columns) and any(value is not None for value in values):
            shown[heading] = cells
    return ReportTable(list(shown), list(zip(*shown.values(), strict=True)))


def verdict(run: BenchResults) -> str:
    """Return the result in a sentence: how much faster the fastest contender is, and how well it answers.

    Of a single contender, how fast it is; it is empty if none was measured.
    """
    raced = [(one.ratio, one) for one in run.ran if one.ratio is not None]
    if len(raced) < 2:
        return _alone(run.ran[0]) if run.ran else ""
    base = raced[0][1]
    ratio, best = max(raced, key=lambda pair: pair[0].median)
    if best is base or ratio.low <= 1:
        return f"No contender is faster than {base.name} beyond the noise."
    accuracy = ""
    if best.f1 is not None and base.f1 is not None:
        accuracy = f", with F1 {best.f1:.1f} ({base.name}: {base.f1:.1f})"
    return (
        f"{best.name} answers {ratio.median:.2f} times as many questions a second as {base.name} (95 % interval "
        f"{ratio.interval}){accuracy}."
    )


def _alone(one: ContenderResult) -> str:
    parts = [f"{one.rate:,.1f} questions a second"] if one.rate is not None else []
    if one.latency is not None:
        parts.append(f"one by one in {one.latency.p50:,.1f} ms in the median")
    if one.f1 is not None:
        parts.append(f"with F1 {one.f1:.1f}")
    return f"{one.name} answers {', '.join(parts)}." if parts else ""


def setup(run: BenchResults) -> str:
    """Return in a line how much was measured, and on what."""
    data, machine = run.data, run.machine
    return (
        f"{data['name']}: {number_of(data['asked'], 'question')} in {number_of(run.rounds, 'round')}, "
        f"{number_of(machine['threads'], 'thread')}, {machine['cpu']}"
    )


def remarks(run: BenchResults) -> list[str]:
    """Return what a reader must know, in plain text: contenders that did not run, notes, noise."""
    limits = [one.server.limit_ms for one in run.ran if one.server]
    lines = [f"{one.name} did not run: {one.error}" for one in run.outcomes if one.error]
    lines += run.notes
    if limits:
        lines.append(f"server: the 99th percentile must not pass {limits[0]:.0f} ms")
    if run.noise:
        lines.append(f"this machine was not quiet: {'; '.join(run.noise)}")
    return lines


def about(run: BenchResults) -> list[str]:
    """Describe data and machine, in plain text."""
    data, machine = run.data, run.machine
    sets = ", ".join(machine["instruction_sets"]) or "no known instruction sets"
    gpu = f"; {machine['gpu']}, driver {machine['driver']}" if machine["gpu"] else ""
    memory = f"{machine['memory_bytes'] / 1e9:.0f} GB" if machine["memory_bytes"] else "unknown memory"
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return [
        f"{data['name']}: {data['asked']} of {data['questions']} questions timed in {run.rounds} rounds, "
        f"contexts of {data['median_words']} words in the median; {data['judged']} answered for EM and F1, "
        f"{data['answerable']} of which have an answer",
        f"{machine['cpu']} ({sets}), {machine['threads']} threads on CPUs "
        f"{', '.join(map(str, machine['cpus'])) or 'of its choice'}, {memory}{gpu}, governor "
        f"{machine['governor'] or 'unknown'}, {machine['system']}",
        f"Python {machine['python']}, {versions}",
        f"measured {run.created}{f' at commit {run.commit}' if run.commit else ''}",
    ]


def files(runs: Sequence[BenchResults], *, more: Sequence[str] = ()) -> dict[str, str]:
    """Return every file of a report by its path in the report's folder.

    Args:
        runs: a section each.
        more: parts in Markdown after these sections.
    """
    contents = {"results.json": to_json(list(runs)), "results.csv": to_csv(list(runs))}
    blocks = [f"# {_TITLE}"]
    drawings = {}
    for number, run in enumerate(runs, 1):
        lines = bullets([*remarks(run), *about(run)])
        sections = [f"## {run.title}", verdict(run), str(table(run)), lines, console(run.command)]
        blocks += filter(None, sections)
        for name, (svg, caption) in (plots(run) if run.ran else {}).items():
            drawings[f"plots/{number}-{name}.svg"] = svg
            blocks.append(plot(f"plots/{number}-{name}.svg", caption))
    markdown = "\n\n".join([*blocks, *more, "## Method", METHOD]) + "\n"
    contents |= {path: f"{svg}\n" for path, svg in drawings.items()}
    return contents | {"report.md": markdown, "report.html": to_html(_TITLE, markdown, drawings)}
