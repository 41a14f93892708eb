"""A page about one part: a table with notes, as text, as JSON, and as a section of a report."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.bench.document import ReportTable, bullets, console

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Page:
    """The result of a script.

    Attributes:
        title: what was measured.
        head: names of the columns, with units.
        rows: cells as text.
        notes: what a reader must know.
        command: command line that repeats it.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    command: str = ""

    def to_json(self) -> str:
        """Return the page as a JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def of(cls, content: dict[str, Any]) -> Page:
        """Return the page from the parsed JSON object."""
        rows = tuple(tuple(row) for row in content["rows"])
        return cls(**{**content, "head": tuple(content["head"]), "notes": tuple(content["notes"]), "rows": rows})

    def text(self) -> str:
        """Return the page for a terminal."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.head))]
        text_lines = [
            "  ".join(
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *text_lines, *self.notes])

    def markdown(self) -> str:
        """Return the page as a section of a report."""
        table = str(ReportTable(self.head, self.rows))
        return "\n\n".join([f"## {self.title}", table, bullets(self.notes), console(self.command)])


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every script."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--quick", action="store_true", help="small settings, to test the script")
    result.add_argument("--json", type=Path, metavar="FILE", help="write the page to this file too")
    return result


def finish(page: Page, to: Path | None) -> None:
    """Print a page, and write it to a file if there is one."""
    page = dataclasses.replace(page, command=command(without={"--json": to}))
    print(page.text())
    if to is not None:
        write(to, page.to_json())


def command(*, without: Mapping[str, Path | None]) -> str:
    """Return the command line of this process, without folders of this machine.

    Options that say where results go are left out; of a file with an absolute path the name stays.
    """
    left_out = {word for option, path in without.items() if path is not None for word in (option, str(path))}
    script = Path(sys.argv[0]).resolve().relative_to(Path(__file__).parents[1].resolve())
    words = [word for word in sys.argv[1:] if word not in left_out]
    return shlex.join(
        ["python", str(script), *(Path(word).name if Path(word).is_absolute() else word for word in words)]
    )


def write(path: Path, content: str) -> None:
    """Write a file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)
