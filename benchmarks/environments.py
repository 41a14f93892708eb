"""Environments of the rivals: build/rivals/NAME/.venv, made of benchmarks/rivals/NAME/requirements.txt.

    python benchmarks/environments.py [NAME ...] [--torch-index URL]

What is there already and was made of the same requirements is used again. On Linux pip may pick a torch build with
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
    """An environment, or why there is none.

    Attributes:
        python: its interpreter.
        bytes: of the packages, without pip and compiled files.
        why_not: "" where it can be used.
    """

    python: Path
    bytes: int
    why_not: str = ""


def names() -> list[str]:
    """Of the environments that there are requirements for."""
    return sorted(path.parent.name for path in RIVALS.glob("*/requirements.txt"))


def stamp(requirements: str) -> str:
    """What tells whether an environment was made of these requirements by this Python."""
    return hashlib.sha256(f"{sys.version}\n{requirements}".encode()).hexdigest()


def installed(
    name: str, *, torch_index: str | None = None, rivals: Path = RIVALS, build: Path = BUILD
) -> Environment:
    """The environment of a rival, made first if it is not there.

    Args:
        name: of the folder with its requirements.
        torch_index: where torch is taken from; None: where pip finds it.
        rivals: holds the requirements.
        build: holds the environments.
    """
    path = rivals / name / "requirements.txt"
    wanted = stamp(path.read_text(encoding="utf-8"))
    folder = build / name / ".venv"
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    made = folder / _STAMP
    if not (made.is_file() and made.read_text(encoding="ascii") == wanted):
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
                said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
                return Environment(python, 0, f"cannot be installed: {(said or ['pip failed'])[-1]}")
        made.write_text(wanted, encoding="ascii")
    return Environment(python, size(folder))


def size(folder: Path) -> int:
    """Bytes of the packages in a virtual environment."""
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
        parser.error(f"no rival {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    failed = False
    for name in chosen.names or names():
        found = installed(name, torch_index=chosen.torch_index)
        failed = failed or bool(found.why_not)
        print(f"{name:24} {found.why_not or f'{found.bytes / 1e6:,.0f} MB, {found.python}'}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
