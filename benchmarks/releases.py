"""Releases of an engine beside each other: speed and F1 of one precision of a bundle in each of them.

    python benchmarks/releases.py onnxruntime 1.20.1 1.22.1 1.32.0 [--precision int8] [--bundle DIR] [--data FILE]

Installs each release once, without what it depends on, in build/releases. The contenders take turns as those of
rivals.py do, each in a process of its own; the first one is the base.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from environments import BUILD, ROOT
from packaging.version import Version
from pages import Page, finish, parser
from pages import command as command_line

from qa_onnx import Bundle, QaOnnxError
from qa_onnx.bench.compare import compare, cpus_for
from qa_onnx.bench.contenders import list_contenders
from qa_onnx.bench.questions import load_questions
from qa_onnx.bench.report import SHORT, about, remarks, table
from qa_onnx.bench.runners import Plan
from qa_onnx.data import squad
from qa_onnx.machine import cpu

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from qa_onnx.bench.contenders import Contender
    from qa_onnx.data.squad import DataSet

RELEASES = BUILD.parent / "releases"
QUESTIONS, QUICK = 200, 2


def installed(engine: str, version: str, to: Path) -> Path:
    """Return the folder in `to` with a release of an engine; install it if it does not exist.

    Raises:
        SystemExit: pip cannot install it, or Python imports another release from that folder.
    """
    folder = to / f"{engine}-{version}"
    if not folder.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        partial_folder = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial_folder, ignore_errors=True)  # pip would keep what is there
        command = [*pip, "--target", str(partial_folder), f"{engine}=={version}"]
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit(f"{engine} {version} cannot be installed")
        partial_folder.rename(folder)
    code = (
        f"from importlib.metadata import version; import {engine}; print(version('{engine}'), {engine}.__file__)"
    )
    python = [*_environment(folder), sys.executable, "-c", code]
    done = subprocess.run(python, capture_output=True, text=True, check=False)
    found, _, path = done.stdout.strip().partition(" ")
    if not found or Version(found) != Version(version) or not Path(path).is_relative_to(folder):
        error = (done.stderr.strip().splitlines() or [f"Python imports {found} from {path}"])[-1]
        raise SystemExit(f"{engine} {version} in {folder} is not what Python imports: {error}")
    return folder


def contender_of(bundle: Bundle, precision: str, engine: str) -> Contender:
    """Return the contender of a precision in the release that is installed here.

    Raises:
        QaOnnxError: the bundle does not hold the precision, or the engine does not run it here.
    """
    found = list_contenders(bundle, precisions=[precision], against=None, device="cpu")
    one = next((contender for contender in found if contender.name == f"{precision}, {engine}"), None)
    if one is None:
        raise QaOnnxError(f"{engine} does not run {precision} of {bundle.path} here")
    return one


def _command(original: Callable[[int], Sequence[str]], folder: Path, threads: int) -> list[str]:
    return [*_environment(folder), *original(threads)]


def _environment(folder: Path) -> list[str]:
    return ["env", f"PYTHONPATH={os.pathsep.join([str(folder), str(ROOT)])}"]


def measure(releases: Sequence[Contender], data: DataSet, *, threads: int, quick: bool, title: str) -> Page:
    """Race the releases on all questions of the data."""
    golds = data.golds
    plan = Plan(
        golds=golds,
        scenarios=("offline", "single-stream"),
        threads=threads,
        cpus=cpus_for(threads),
        seconds=1.0,  # as few rounds as it takes
        quick=True,
        fewest=len(golds),
        most=len(golds),
    )
    run = compare(releases, data, plan, title=title, command=command_line(without={}), show=_show(quick=quick))
    shown = table(run, columns=SHORT)
    head = ("release", *shown.head[1:])
    return Page(title=title, head=head, rows=tuple(map(tuple, shown.rows)), notes=(*remarks(run), *about(run)))


def _show(*, quick: bool) -> Callable[[str, float], None]:
    return lambda text, _share: None if quick else print(text, file=sys.stderr, flush=True)


def main(chosen: argparse.Namespace) -> int:
    try:
        data = load_questions() if chosen.data is None else squad.load(chosen.data)
        count = min(len(data.golds), QUICK if chosen.quick else chosen.questions)
        data = dataclasses.replace(data, golds=squad.sample(data.golds, count, seed=0))
        bundle = Bundle.load(chosen.bundle)
        one = contender_of(bundle, chosen.precision, chosen.engine)
        folders = {version: installed(chosen.engine, version, chosen.folder) for version in chosen.releases}
        releases = [
            dataclasses.replace(one, name=version, command=partial(_command, one.command, folder))
            for version, folder in folders.items()
        ]
        title = f"{bundle.manifest.source.name} in {chosen.precision}, releases of {chosen.engine}"
        page = measure(releases, data, threads=chosen.threads, quick=chosen.quick, title=title)
    except QaOnnxError as error:
        print(error, file=sys.stderr)
        return 1
    finish(page, chosen.json)
    return 0


if __name__ == "__main__":
    cli = parser(__doc__)
    cli.add_argument("engine", choices=("onnxruntime", "openvino"))
    cli.add_argument("releases", nargs="+", metavar="RELEASE")
    cli.add_argument("--bundle", type=Path, help="[default: the one that comes with qa-onnx]")
    cli.add_argument("--precision", default="int8")
    cli.add_argument("--data", type=Path, help="questions  [default: those that come with qa-onnx]")
    cli.add_argument("--questions", type=int, default=QUESTIONS, metavar="N", help="[default: %(default)s]")
    cli.add_argument("--folder", type=Path, default=RELEASES, help="of the releases  [default: build/releases]")
    cli.add_argument("--threads", type=int, default=cpu.default_threads())
    sys.exit(main(cli.parse_args()))
