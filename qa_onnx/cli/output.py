"""Write output files completely or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_file(path: Path) -> None:
    """Refuse an output file that cannot be written, before the work begins.

    Raises:
        ClickException: its folder does not exist, or is not writable.
    """
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise click.ClickException(f"cannot write {path}: folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise click.ClickException(f"cannot write {path}: no permission to write to {folder}")


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


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Write a text file under another name, `<name>.partial`, and rename it at the end.

    After an error the partial file stays. Pipes and devices are written to directly.
    """
    target = Path(path).resolve()  # follow a link instead of replacing it
    direct = target.exists() and not target.is_file()
    partial = target if direct else target.with_name(target.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
        if not direct:
            partial.replace(target)
    except OSError as error:
        raise click.ClickException(f"cannot write {partial}: {error.strerror}") from error
    except BaseException:
        click.echo(f"stopped: the output so far is in {partial}; {path} was not written", err=True)
        raise
