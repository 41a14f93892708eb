"""Write output files completely or not at all, and JSON that every parser reads."""

from __future__ import annotations

import json
import math
import os
import stat
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

import click

from qa_onnx.errors import QaOnnxError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def to_json(content: object, *, indent: int | None = None) -> str:
    """Return JSON in ASCII; numbers that JSON has not (NaN and infinity) become null."""
    try:
        return json.dumps(content, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(content), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def check_file(path: Path, *, inputs: Iterable[object] = ()) -> None:
    """Refuse an output file that cannot be written, or that is read too, before the work begins.

    Args:
        path: of the file.
        inputs: paths of files that the command reads; "-" is standard input, and None is no file.

    Raises:
        ClickException: its folder does not exist, it or its folder is not writable, or it is one of the inputs.
    """
    target = path.resolve()
    folder = target.parent
    if not folder.is_dir():
        raise click.ClickException(f"cannot write {path}: folder {folder} does not exist")
    if target.is_dir():
        raise click.ClickException(f"cannot write {path}: it is a folder")
    if not os.access(target if target.exists() else folder, os.W_OK):
        raise click.ClickException(f"cannot write {path}: no permission")
    if _is_direct(target):
        return
    if not os.access(folder, os.W_OK):
        raise click.ClickException(f"cannot write {path}: no permission to write to {folder}")
    for name in inputs:
        if _is_same(name, target):
            raise click.UsageError(f"{path} is read and would be replaced: name another file for the output")
        if _is_same(name, _partial(target)):
            raise click.UsageError(f"{path} is written to {_partial(target)} at first, which is read: rename one")


def check_stdout(inputs: Iterable[object]) -> None:
    """Refuse standard output that goes to a file which is read, as `cat` does.

    Raises:
        ClickException: it does.
    """
    if any(_is_same(name, 1) for name in inputs):
        raise click.ClickException("standard output goes to the file that is read: name another file for it")


def _is_same(name: object, other: Path | int) -> bool:
    """Return whether two names, or descriptors, are those of one regular file."""
    if name is None:
        return False
    try:
        first, second = os.stat(0 if name == "-" else str(name)), os.stat(other)  # noqa: PTH116  # numbers too
    except (OSError, ValueError):  # there is none
        return False
    return stat.S_ISREG(first.st_mode) and os.path.samestat(first, second)


def make_folder(path: Path) -> None:
    """Make an output folder before the work begins.

    Raises:
        ClickException: it cannot be made, or is not writable.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot write to {path}: {error.strerror}") from error
    check_file(path / "file")


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _is_direct(target: Path) -> bool:
    """Return whether a file is written to directly: pipes and devices are, as they cannot be replaced."""
    return target.exists() and not target.is_file()


@contextmanager
def whole_file(path: Path, *, keep: bool = False) -> Iterator[IO[str]]:
    """Write a text file under another name, `<name>.partial`, and rename it at the end.

    A file that is there already stays as it is until then, and after an error for good. Its permissions are kept.

    Args:
        path: of the file.
        keep: after an error keep what was written, in the partial file.

    Raises:
        ClickException: it cannot be written.
    """
    target = path.resolve()  # follow a link instead of replacing it
    direct = _is_direct(target)
    partial = target if direct else _partial(target)
    made = None  # the partial file, once there is one
    try:
        if not direct:
            partial.unlink(missing_ok=True)  # of an earlier run; and a link of this name is not followed
        with partial.open("w" if direct else "x", encoding="utf-8") as file:
            made = None if direct else partial
            yield file
        if made:
            if target.exists():
                made.chmod(stat.S_IMODE(target.stat().st_mode))
            made.replace(target)
    except BaseException as error:
        so_far = f"the output so far is in {shown(str(made))}" if made and _kept(made, keep=keep) else ""
        if isinstance(error, OSError) and not isinstance(error, QaOnnxError):
            problem = f"cannot write {shown(str(path))}: {error.strerror}"
            raise click.ClickException("; ".join(filter(None, (problem, so_far)))) from error
        if so_far:
            click.echo(f"stopped: {so_far}; {shown(str(path))} was not written", err=True)
        raise


def _kept(partial: Path, *, keep: bool) -> bool:
    """Remove a partial file if it is empty or not to be kept; return whether it is still there."""
    with suppress(OSError):
        if not keep or not partial.stat().st_size:
            partial.unlink()
        return partial.exists()
    return False
