"""Results -> what people read: a table for the terminal, report.md, and report.html with all inside."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from qa_onnx.bench.document import document, figure, table
from qa_onnx.bench.plots import plots
from qa_onnx.bench.results import to_csv, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.bench.results import BenchResults, ContenderResult

HEAD = (
    "contender", "EM", "F1", "same answers", "questions/s", "x base", "95 %", "model alone", "p50 ms", "p90 ms",
    "p99 ms", "server q/s", "cold start s", "peak MB", "model MB", "install MB",
)  # fmt: skip
METHOD = (
    "Each contender runs in a process of its own, on the same CPUs with the same number of threads, and is "
    "stopped while another runs. Every round asks all questions of each, a few at a time and in alternating "
    "order; speed is text to answer, and ratios are taken within a turn: the median, with its 95 % bootstrap "
    "interval over the rounds. EM and F1 are those of the questions that have an answer, with every contender "
    "always answering; same answers is the share of all questions to which it gives the text of the first. "
    "Model alone: what the speed would be if nothing but the model took time, from its share of the time where "
    "stages are timed one by one. p50, p90, p99: one question after another, in turns too; of fewer than 100 "
    "questions the 99th percentile is little more than the slowest. Server: the highest rate of questions that "
    "come at random times (Poisson) at which the 99th percentile stayed under the limit and waits did not "
    "grow; who waits is answered together. Cold start: from starting the process to the first answer. Peak: "
    "resident memory. Install: packages, as installed."
)


def rows(run: BenchResults) -> list[tuple[str, ...]]:
    """A row for each contender under `HEAD`; "" where nothing was measured."""
    return [_row(outcome) for outcome in run.outcomes]


def _row(outcome: ContenderResult) -> tuple[str, ...]:
    ratio, latency, server = outcome.ratio, outcome.latency, outcome.server
    if outcome.error:
        return (outcome.name, *[""] * (len(HEAD) - 1))
    return (
        outcome.name,
        _number(outcome.em, 1),
        _number(outcome.f1, 1),
        "" if outcome.same_answers is None else f"{outcome.same_answers:.0%}",
        _number(outcome.rate, 1),
        _number(ratio.median if ratio else None, 2),
        f"{ratio.low:.2f}-{ratio.high:.2f}" if ratio else "",
        _number(outcome.model_rate, 1),
        *(_number(value, 1) for value in ((latency.p50, latency.p90, latency.p99) if latency else (None,) * 3)),
        _number(server.rate if server else None, 1),
        _number(outcome.cold_start, 2),
        _number(outcome.peak_mb, 0),
        _number(outcome.model_mb, 1),
        _number(outcome.install_mb, 0),
    )


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def remarks(run: BenchResults) -> list[str]:
    """What must be read with the figures, in plain text: who did not run, noise, notes."""
    limits = [one.server.limit_ms for one in run.ran if one.server]
    said = [f"{one.name} did not run: {one.error}" for one in run.outcomes if one.error]
    said += run.notes
    if limits:
        said.append(f"server: the 99th percentile must not pass {limits[0]:.0f} ms")
    if run.noise:
        said.append(f"this machine was not quiet: {'; '.join(run.noise)}")
    return said


def about(run: BenchResults) -> list[str]:
    """Data and machine, in plain text."""
    data, machine = run.data, run.machine
    sets = ", ".join(machine["instruction_sets"]) or "no known instruction sets"
    gpu = f"; {machine['gpu']}, driver {machine['driver']}" if machine["gpu"] else ""
    memory = f"{machine['memory_bytes'] / 1e9:.0f} GB" if machine["memory_bytes"] else "unknown memory"
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return [
        f"{data['asked']} of {data['questions']} questions of {data['name']} timed in {run.rounds} rounds, "
        f"contexts of {data['median_words']} words in the median; {data['judged']} answered for EM and F1, "
        f"{data['answerable']} of which have an answer",
        f"{machine['cpu']} ({sets}), {machine['threads']} threads on CPUs "
        f"{', '.join(map(str, machine['cpus'])) or 'of its choice'}, {memory}{gpu}, governor "
        f"{machine['governor'] or 'unknown'}, {machine['system']}",
        f"Python {machine['python']}, {versions}",
        f"measured {run.created}{f' at commit {run.commit}' if run.commit else ''}",
    ]


def files(runs: Sequence[BenchResults], *, sections: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """Every file of a report by its path in the report's folder.

    Args:
        runs: a section each.
        sections: what comes after them, each in Markdown and in HTML.
    """
    drawn = [plots(run) if run.ran else {} for run in runs]
    made = {"results.json": to_json(list(runs)), "results.csv": to_csv(list(runs))}
    for number, found in enumerate(drawn, 1):
        made |= {_plot_path(number, name): f"{drawing}\n" for name, (drawing, _) in found.items()}
    made["report.md"] = _markdown(runs, drawn, [markdown for markdown, _ in sections])
    made["report.html"] = _html(runs, drawn, [text for _, text in sections])
    return made


def _plot_path(number: int, name: str) -> str:
    return f"plots/{number}-{name}.svg"


def _filled(run: BenchResults) -> tuple[list[str], list[list[str]]]:
    """Head and rows without the columns that are empty."""
    found = rows(run)
    kept = [column for column in range(len(HEAD)) if column == 0 or any(row[column] for row in found)]
    return [HEAD[column] for column in kept], [[row[column] for column in kept] for row in found]


def markdown_table(run: BenchResults) -> str:
    """The table of a run in Markdown."""
    head, found = _filled(run)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *found]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _markdown(
    runs: Sequence[BenchResults], drawn: Sequence[dict[str, tuple[str, str]]], sections: Sequence[str]
) -> str:
    parts = ["# Benchmark of question answering"]
    for number, (run, found) in enumerate(zip(runs, drawn, strict=True), 1):
        parts += [f"## {run.title}", markdown_table(run)]
        parts += ["\n".join(f"- {line}" for line in [*remarks(run), *about(run)])]
        parts += [f"```console\n$ {run.command}\n```"]
        parts += [f"![{caption}]({_plot_path(number, name)})\n\n{caption}" for name, (_, caption) in found.items()]
    return "\n\n".join([*parts, *sections, "## Method", METHOD]) + "\n"


def _html(
    runs: Sequence[BenchResults], drawn: Sequence[dict[str, tuple[str, str]]], sections: Sequence[str]
) -> str:
    parts = ["<h1>Benchmark of question answering</h1>"]
    for run, found in zip(runs, drawn, strict=True):
        head, lines = _filled(run)
        parts += [f"<h2>{html.escape(run.title)}</h2>", table(head, lines, numbers=range(1, len(head)))]
        parts += ["<ul>", *(f"<li>{html.escape(line)}</li>" for line in [*remarks(run), *about(run)]), "</ul>"]
        parts += [f"<p><code>{html.escape(run.command)}</code></p>"]
        parts += [figure(drawing, html.escape(caption)) for drawing, caption in found.values()]
    return document(
        "Benchmark of question answering", [*parts, *sections, "<h2>Method</h2>", f"<p>{html.escape(METHOD)}</p>"]
    )
