"""Environments of the rivals: build/rivals/NAME/.venv, made of benchmarks/rivals/NAME/requirements.txt.

    python benchmarks/environments.py [NAME ...] [--torch-index URL]

An environment with the same requirements is used again. On Linux pip may pick a torch build with
several GB of CUDA libraries; `--torch-index https://download.pytorch.org/whl/cpu` asks for the CPU build.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RIVALS = ROOT / "benchmarks" / "rivals"
BUILD = ROOT / "build" / "rivals"
_STAMP = ".made"
_NOT_OF_IT = ("pip", "setuptools")  # what a virtual environment has from the start


@dataclass(frozen=True)
class Environment:
    """A virtual environment, or why it cannot be made.

    Attributes:
        python: its interpreter.
        bytes: size of the packages, without pip and compiled files.
        why_not: "" if it can be used.
    """

    python: Path
    bytes: int
    why_not: str = ""


def names() -> list[str]:
    """Return the names of the environments that have requirements."""
    return sorted(path.parent.name for path in RIVALS.glob("*/requirements.txt"))


def stamp(requirements: str) -> str:
    """Return a hash of the requirements and this Python."""
    return hashlib.sha256(f"{sys.version}\n{requirements}".encode()).hexdigest()


def installed(
    name: str, *, torch_index: str | None = None, rivals: Path = RIVALS, build: Path = BUILD
) -> Environment:
    """Return the environment of a rival; make it if it does not exist.

    Args:
        name: name of the folder with its requirements.
        torch_index: package index for torch; None: the default one.
        rivals: folder of the requirements.
        build: folder of the environments.
    """
    path = rivals / name / "requirements.txt"
    wanted = stamp(path.read_text(encoding="utf-8"))
    folder = build / name / ".venv"
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    marker = folder / _STAMP
    if not (marker.is_file() and marker.read_text(encoding="ascii") == wanted):
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        commands = [[*pip, "--requirement", str(path)]]
        if torch_index is not None:
            torch = next(line for line in path.read_text(encoding="utf-8").split() if line.startswith("torch=="))
            commands.insert(0, [*pip, "--index-url", torch_index, torch])
        for command in commands:
            done = subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
            )
            if done.returncode != 0:
                errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
                return Environment(python, 0, f"cannot be installed: {(errors or ['pip failed'])[-1]}")
        marker.write_text(wanted, encoding="ascii")
    return Environment(python, size(folder))


def size(folder: Path) -> int:
    """Return the bytes of the packages in a virtual environment."""
    total = 0
    for packages in folder.glob("lib*/**/site-packages"):
        if not packages.is_symlink() and not packages.parent.parent.is_symlink():
            total += sum(_bytes(path) for path in packages.iterdir() if not path.name.startswith(_NOT_OF_IT))
    return total


def _bytes(path: Path) -> int:
    if path.is_dir():
        return 0 if path.name == "__pycache__" else sum(map(_bytes, path.iterdir()))
    return path.lstat().st_size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; none: all")
    parser.add_argument("--torch-index", metavar="URL")
    chosen = parser.parse_args()
    if unknown := set(chosen.names).difference(names()):
        parser.error(f"no rival {', '.join(sorted(unknown))}: it must be one of {', '.join(names())}")
    failed = False
    for name in chosen.names or names():
        environment = installed(name, torch_index=chosen.torch_index)
        failed = failed or bool(environment.why_not)
        size_and_python = f"{environment.bytes / 1e6:,.0f} MB, {environment.python}"
        print(f"{name:24} {environment.why_not or size_and_python}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
