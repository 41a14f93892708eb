"""Input files -> shards: which rows of which file make which part of the output; and the manifest that says so.

The shard with the number n is written to one file, part-<n>. So a part that is there is done, whenever a run was
killed, and all parts in the order of their names are the input in its order.

Left out: reading files (forms.py), answering (work.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import MapError, quoted, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from qa_onnx.mapping.places import OutputFolder

SHARD_ROWS = 2000  # rows of a shard: what a kill costs each worker at most
MANIFEST = "_map.json"
_FORMAT = 1
_DIGITS = 5  # at least, of the number in a part's name


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of rows.

    Attributes:
        name: its full name.
        rows: how many it has.
        sha256: of its bytes; of a Parquet file, of its size and footer.
        columns: names and types; empty for JSON lines, whose objects may have any keys.
    """

    name: str
    rows: int
    sha256: str
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows of a file that are answered and written together.

    Attributes:
        part: name of the output file.
        source: full name of the input file.
        first: number of the first row in that file, from 0.
        rows: how many rows.
    """

    part: str
    source: str
    first: int
    rows: int

    def __str__(self) -> str:
        return f"{self.part} (rows {self.first + 1:,} to {self.first + self.rows:,} of {shown(self.source)})"


@dataclass(frozen=True, slots=True)
class MapPlan:
    """What a map job reads, and all that decides what it writes.

    Attributes:
        files: the input, in its order.
        form: ending of the parts, such as "parquet".
        settings: name -> value of all else that decides what the parts hold; JSON.
        shard_rows: rows of a shard; the last one of a file may have fewer.
    """

    files: tuple[InputFile, ...]
    form: str
    settings: dict[str, Any]
    shard_rows: int = SHARD_ROWS

    @property
    def rows(self) -> int:
        """Number of all rows."""
        return sum(file.rows for file in self.files)

    def __len__(self) -> int:
        """Return the number of shards."""
        return sum(-(-file.rows // self.shard_rows) for file in self.files)

    def shards(self, done: Collection[str] = ()) -> Iterator[Shard]:
        """Yield the shards in the order of their rows, without those whose parts are `done`."""
        digits = max(_DIGITS, len(str(len(self))))
        number = 0
        for file in self.files:
            for first in range(0, file.rows, self.shard_rows):
                part = f"part-{number:0{digits}}.{self.form}"
                number += 1
                if part not in done:
                    yield Shard(part, file.name, first, min(self.shard_rows, file.rows - first))

    @property
    def identity(self) -> dict[str, Any]:
        """All that must be the same for a run to go on with another one's parts, as JSON."""
        inputs = [
            {"name": shown(_short(file.name)), "rows": file.rows, "sha256": file.sha256} for file in self.files
        ]
        return {
            "format": _FORMAT,
            "form": self.form,
            "shard_rows": self.shard_rows,
            **self.settings,
            "inputs": inputs,
        }

    def begin(self, output: OutputFolder, *, resume: bool) -> set[str]:
        """Write the manifest, or compare it with this plan; return the parts that are done.

        Raises:
            MapError: the folder holds parts or other files, and `resume` is False; or it was begun with another
                plan, or by something else; or it cannot be written.
        """
        there = output.files()
        if there <= {MANIFEST}:  # a run that came to no part has nothing to lose
            self.write(output, None)
            return set()
        if not resume:
            remedy = (
                "name another folder" if MANIFEST not in there else "go on with --resume, or name another folder"
            )
            raise MapError(f"{shown(output.name)} is not empty", remedy=remedy)
        if MANIFEST not in there:
            raise MapError(
                f"{shown(output.name)} holds no {MANIFEST}, so it is no output of map",
                remedy="name another folder",
            )
        self._compare(output)
        output.clean()
        return there - {MANIFEST}

    def _compare(self, output: OutputFolder) -> None:
        """Raise MapError where the manifest of a folder is another plan's."""
        try:
            plan = json.loads(output.read(MANIFEST))["plan"]
            before = {name: plan.get(name) for name in self.identity}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise MapError(
                f"{MANIFEST} in {shown(output.name)} is damaged", remedy="start again in another folder"
            ) from error
        for name, now in json.loads(json.dumps(self.identity)).items():
            if before[name] != now:
                change = f"{quoted(before[name])}, and now they are {quoted(now)}"
                if name == "inputs":
                    change = _changed_input(before[name], now)
                raise MapError(
                    f"{shown(output.name)} was begun with other {name}: {change}",
                    remedy="give what it was begun with, or name another folder",
                )

    def write(self, output: OutputFolder, totals: dict[str, Any] | None) -> None:
        """Write the manifest; `totals` of a finished job, None: it is not finished."""
        with output.whole(MANIFEST) as file:
            content = {"plan": self.identity, "parts": len(self), "rows": self.rows, "done": totals}
            file.write(json.dumps(content, indent=1).encode() + b"\n")


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _changed_input(before: Any, now: list[dict[str, Any]]) -> str:
    """Return in words the first input that is not what it was."""
    if not isinstance(before, list) or len(before) != len(now):
        count = len(before) if isinstance(before, list) else 0
        return f"{count} files, and now there are {len(now)}"
    old, new = next(pair for pair in zip(before, now, strict=True) if pair[0] != pair[1])
    same_name = isinstance(old, dict) and old.get("name") == new["name"]
    return f"{new['name']} has changed" if same_name else f"{quoted(old)}, and now it is {quoted(new)}"
