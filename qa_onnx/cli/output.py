"""Files that commands write: whole, or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


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
