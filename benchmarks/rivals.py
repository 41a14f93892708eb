"""Compare all contenders on the same questions, and write a report: `make rivals`, or `make rivals QUICK=1`.

    python benchmarks/rivals.py [--quick] [--only PART ...] [--contender NAME ...] [--fresh] [--out DIR]

Runs in parts, whose results are kept in build/rivals/parts. Parts with a result for this commit and these options
are not run again, so an interrupted run continues. `--questions 400 --pieces 4` times that many questions in four
parts, minilm-squad-1 to -4, and reports them as one run. Writes results.json, results.csv, pages.json, report.md
and report.html with plots, and into the README the tables of a run that is stored in a folder of
results/. Contenders that cannot be installed or started are listed with the reason.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from environments import BUILD, ROOT
from field import Shape, field
from merge import merged, pieces
from others import ALL, BASE, LARGE, QUICK
from pages import Page, write
from parts import Part, run
from shapes import DEFAULT, SHAPES, checkpoint

from qa_onnx import QaOnnxError
from qa_onnx.bench.compare import compare, cpus_for
from qa_onnx.bench.document import bullets
from qa_onnx.bench.questions import load_questions
from qa_onnx.bench.report import files, remarks, table, verdict
from qa_onnx.bench.results import from_json, to_json
from qa_onnx.bench.runners import Plan
from qa_onnx.bundle.choice import cpu_kind
from qa_onnx.data import squad
from qa_onnx.machine import cpu
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qa_onnx.bench.results import BenchResults
    from qa_onnx.data.squad import DataSet

RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "benchmarks" / "README.md"
# Kind of CPU, see `choice.cpu_kind` -> folder of RESULTS. Those whose tables the README has are named there.
STORED = {"AMX": "amx", "VNNI and bf16": "vnni-bf16", "VNNI": "vnni", "neither VNNI nor bf16": "no-vnni"}
BEGIN, END = "<!-- made by make rivals: {} -->", "<!-- end of what is made -->"
RANDOM = (
    "The weights are random: this run is about speed only, and its answers, EM, F1 and same answers mean nothing."
)
SCENARIOS = ("offline", "single-stream")
_FIRST = ("contender", "F1", "questions/s", "x base", "p50 ms")  # columns that the page shows first
_FEWEST = 8  # questions in a piece: a turn
_HURRY = 1.0  # seconds of a `Plan` with a fixed number of questions: as few rounds as it takes
_SWEPT = 16  # questions that batch sizes are tried on


@dataclass(frozen=True)
class Race:
    """The extent of a comparison on one model.

    Attributes:
        field: which contenders take part; see `Shape.race`.
        seconds: approximate duration; see `Plan`.
        most: largest number of questions; None: no limit.
        words: longest context in words; None: no limit.
    """

    field: str
    seconds: float
    most: int | None
    words: int | None


RACES = {
    "minilm-squad": Race(ALL, 1400, None, 400),
    "bert-base": Race(BASE, 240, 8, 150),
    "bert-large": Race(LARGE, 240, 4, 150),
}
RACES_QUICK = {"minilm-squad": Race(QUICK, 400, None, 400)}
PAGES = ("span_search", "host", "document_length", "cold_start", "memory")
PAGES_QUICK = ("span_search", "host", "document_length")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line says; None: that of this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the default model and fewer rivals, in minutes")
    parser.add_argument("--only", action="append", metavar="PART", help="a model or page by name; repeats")
    parser.add_argument("--fresh", action="store_true", help="run finished parts again")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"[default: in {RESULTS.relative_to(ROOT)}, by the kind of CPU, if whole, else in build/rivals]",
    )
    parser.add_argument("--data", type=Path, help="questions  [default: those that come with qa-onnx]")
    parser.add_argument(
        "--contender",
        action="append",
        metavar="NAME",
        help="run it and the base alone; a pattern such as 'qa-onnx *'; repeats",
    )
    parser.add_argument(
        "--questions", type=int, metavar="N", help="time and score so many  [default: what the time allows]"
    )
    parser.add_argument(
        "--pieces", type=int, default=1, metavar="N", help="parts for the questions of a model  [default: 1]"
    )
    parser.add_argument("--threads", type=int, help="of each contender  [default: all cores]")
    parser.add_argument("--torch-index", metavar="URL", help="see environments.py")
    chosen = parser.parse_args(words)
    races, pages = extent(chosen)
    if chosen.pieces > 1 and (chosen.questions or 0) < _FEWEST * chosen.pieces:
        parser.error(f"--pieces {chosen.pieces} needs --questions of at least {_FEWEST * chosen.pieces}")
    names = [*(name for race in races for name in pieces(race, chosen.pieces)), *pages]
    if unknown := set(chosen.only or ()).difference(names):
        parser.error(f"no part {', '.join(sorted(unknown))}: it must be one of {', '.join(names)}")
    return chosen


def extent(chosen: argparse.Namespace) -> tuple[dict[str, Race], tuple[str, ...]]:
    """Return the races and pages of a run."""
    return (RACES_QUICK, PAGES_QUICK) if chosen.quick else (RACES, PAGES)


def main() -> int:
    chosen = arguments()
    races, pages = extent(chosen)
    try:
        require("bench")
        data = load_questions() if chosen.data is None else squad.load(chosen.data)
    except QaOnnxError as error:
        print(error, file=sys.stderr)
        return 1
    began = time.perf_counter()
    done = run(
        parts(chosen, races, pages, data),
        BUILD / "parts",
        key=key_of(chosen, data),
        fresh=chosen.fresh,
        say=_say(began),
        only=chosen.only or (),
    )
    narrowed = chosen.quick or chosen.contender or chosen.questions
    whole = not narrowed and len(done.results) == len(races) + len(pages)
    out = chosen.out or (
        RESULTS / STORED[cpu_kind()] if whole else BUILD / ("quick" if chosen.quick else "partial")
    )
    runs = [
        merged([from_json(json.dumps(done.results[piece]))[0] for piece in found])
        for name in races
        if (found := [piece for piece in pieces(name, chosen.pieces) if piece in done.results])
    ]
    results = [Page.of(done.results[name]) for name in pages if name in done.results]
    if runs:
        if lost := lost_titles(runs, out):
            raise SystemExit(
                f"{out} holds {', '.join(lost)} too: run all parts, or name another folder with --out"
            )
        write_report(runs, results, out)
        fill_readme(runs, out)
        print(f"\nwrote {out / 'report.html'} and the files beside it, after {time.perf_counter() - began:.0f} s")
    for name, reason in done.errors.items():
        print(f"{name} failed: {reason}", file=sys.stderr)
    return 1 if done.errors else 0


def parts(chosen: argparse.Namespace, races: dict[str, Race], pages: Sequence[str], data: DataSet) -> list[Part]:
    """Return the parts in the order in which they run."""
    races_first = [
        Part(piece, partial(_race, name, race, chosen, data, number))
        for name, race in races.items()
        for number, piece in enumerate(pieces(name, chosen.pieces))
    ]
    return races_first + [Part(name, partial(_page, name, quick=chosen.quick)) for name in pages]


def key_of(chosen: argparse.Namespace, data: DataSet) -> str:
    """Return the version of a result: commit, uncommitted changes, and the options that change it."""
    excluded = [f":!{path.relative_to(ROOT)}" for path in (RESULTS, README)]  # the run itself changes them
    changes = _git("diff", "HEAD", "--", ".", *excluded)
    narrowed = f"{chosen.contender} {chosen.questions} {chosen.pieces}"
    options = f"{chosen.quick} {chosen.threads} {data.sha256} {narrowed}"
    return f"{commit()} {hashlib.sha256(f'{changes}{options}'.encode()).hexdigest()[:12]}"


def commit() -> str | None:
    """Return the commit of the checkout; None without git."""
    return _git("rev-parse", "--short", "HEAD").strip() or None


def _git(*arguments: str) -> str:
    """Return the output of git; empty without git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout


def _say(began: float) -> Any:
    return lambda text: print(f"{time.perf_counter() - began:6.0f} s  {text}", file=sys.stderr, flush=True)


def _race(name: str, race: Race, chosen: argparse.Namespace, data: DataSet, piece: int) -> Any:
    """Compare the contenders on one model, with the questions of a piece."""
    random = name in SHAPES
    shape = Shape(name, checkpoint(name) if random else DEFAULT, race.field)
    golds = tuple(gold for gold in data.golds if race.words is None or len(gold.context.split()) <= race.words)
    threads = chosen.threads or cpu.default_threads()
    say = _say(time.perf_counter())
    some = squad.sample(golds, min(_SWEPT, len(golds)), seed=1)
    contenders = field(
        shape, some, only=chosen.contender or (), threads=threads, torch_index=chosen.torch_index, say=say
    )
    if chosen.questions is not None:
        golds = squad.sample(golds, chosen.questions, seed=0)[piece :: chosen.pieces]
    results = compare(
        contenders,
        dataclasses.replace(data, golds=golds),
        Plan(
            golds=golds,
            scenarios=SCENARIOS,
            threads=threads,
            cpus=cpus_for(threads),
            seconds=race.seconds if chosen.questions is None else _HURRY,
            quick=race.field != ALL or chosen.questions is not None,
            fewest=None if chosen.questions is None else len(golds),
            most=race.most if chosen.questions is None else len(golds),
        ),
        title=f"{name}{', random weights: speed only' if random else ''} on {data.name}",
        command=command_of(chosen),
        notes=_notes(race, random=random),
        commit=commit(),
        show=lambda text, _share: say(f"  {text}"),
    )
    return json.loads(to_json([results]))


def command_of(chosen: argparse.Namespace) -> str:
    """Return the command line of a run that gives the same results; of the data it has the file's name alone."""
    words = ["python", "benchmarks/rivals.py", *(["--quick"] if chosen.quick else [])]
    for option, values in (
        ("--only", chosen.only or []),
        ("--data", [chosen.data.name] if chosen.data else []),
        ("--contender", chosen.contender or []),
        ("--questions", [chosen.questions] if chosen.questions else []),
        ("--pieces", [chosen.pieces] if chosen.pieces > 1 else []),
        ("--threads", [chosen.threads] if chosen.threads else []),
    ):
        words += [word for value in values for word in (option, str(value))]
    return shlex.join(words)


def _notes(race: Race, *, random: bool) -> list[str]:
    few = [] if race.words is None else [f"only contexts of at most {race.words} words are used, to save time"]
    return [RANDOM, *few] if random else few


def _page(name: str, *, quick: bool) -> Any:
    """Run a script of this folder in a process of its own, and return its page."""
    path = BUILD / "pages" / f"{name}.json"
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--json", str(path)]
    done = subprocess.run([*command, *(["--quick"] if quick else [])], cwd=ROOT, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name}.py ended with exit code {done.returncode}")
    return json.loads(path.read_text(encoding="utf-8"))


def lost_titles(runs: Sequence[BenchResults], out: Path) -> list[str]:
    """Return the titles of the runs that are stored in a folder of RESULTS and are not among these."""
    path = out / "results.json"
    if out.resolve().parent != RESULTS or not path.is_file():
        return []
    titles = {run.title for run in runs}
    return [run.title for run in from_json(path.read_text(encoding="utf-8")) if run.title not in titles]


def write_report(runs: Sequence[BenchResults], pages: Sequence[Page], out: Path) -> None:
    """Write all files of the report."""
    contents = files(runs, more=[page.markdown() for page in pages])
    contents["pages.json"] = (
        json.dumps([dataclasses.asdict(page) for page in pages], indent=1, ensure_ascii=False) + "\n"
    )
    for name, content in contents.items():
        write(out / name, content)


def fill_readme(runs: Sequence[BenchResults], out: Path) -> None:
    """Write the tables of the runs into the README, if it has room for those of this folder of RESULTS."""
    readme = README.read_text(encoding="utf-8")
    if out.resolve().parent == RESULTS and BEGIN.format(out.name) in readme:
        write(README, filled(readme, out.name, runs))


def filled(readme: str, name: str, runs: Sequence[BenchResults]) -> str:
    """Return the README with the tables of the runs between the two comments that name a folder of RESULTS."""
    before, begin, rest = readme.partition(BEGIN.format(name))
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{README} must hold {BEGIN.format(name)} and {END}, one after the other")
    blocks = [f"{before}{begin}"]
    for one in map(_without_meaningless_scores, runs):
        measured = (
            f"Measured {one.created[:10]}{f', commit {one.commit}' if one.commit else ''}, {one.machine['cpu']}."
        )
        blocks += [
            f"#### {one.title}",
            measured,
            verdict(one),
            str(table(one, columns=_FIRST)),
            bullets(remarks(one)),
        ]
    return "\n\n".join(filter(None, [*blocks, f"{end}{after}"]))


def _without_meaningless_scores(run: BenchResults) -> BenchResults:
    """Return a run; if its weights are random, without EM and F1."""
    if RANDOM not in run.notes:
        return run
    outcomes = tuple(dataclasses.replace(outcome, em=None, f1=None) for outcome in run.outcomes)
    return dataclasses.replace(run, outcomes=outcomes)


if __name__ == "__main__":
    sys.exit(main())
