"""Files that commands write: whole, or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_file(path: Path) -> None:
    """Refuse a file that cannot be written, before the work whose result it is to hold.

    Raises:
        ClickException: its folder is not there, or may not be written to.
    """
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise click.ClickException(f"cannot write {path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise click.ClickException(f"cannot write {path}: no permission to write to {folder}")


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made or written to, before the work whose result it is to hold.

    Raises:
        ClickException: it is a file, or it, or the folder to make it in, may not be written to.
    """
    nearest = Path(path).resolve()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise click.ClickException(f"cannot write to {path}: {nearest} is not a folder")
    if not os.access(nearest, os.W_OK):
        raise click.ClickException(f"cannot write to {path}: no permission to write to {nearest}")


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """Write a text file under another name, `<name>.partial`, and put it in place at the end.

    What was written until an error stays under that name. Pipes and devices are written to as they are.
    """
    target = Path(path).resolve()  # a link is followed, not replaced
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
        click.echo(f"stopped: what there is so far is in {partial}; {path} was not written", err=True)
        raise
