"""A long run in parts: each result is kept in a file, and a part that has one is not run again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pages import write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Part:
    """A part of the run.

    Attributes:
        name: name of the part, and of its file.
        make: returns its result, which must fit into JSON.
    """

    name: str
    make: Callable[[], Any]


@dataclass(frozen=True)
class Done:
    """Results of the parts by name, and errors of those that failed."""

    results: dict[str, Any]
    errors: dict[str, str]


def run(
    parts: Sequence[Part],
    folder: Path,
    *,
    key: str,
    fresh: bool,
    say: Callable[[str], None],
    only: Sequence[str] = (),
) -> Done:
    """Run the parts that have no result yet.

    Args:
        parts: in this order; one that fails does not stop the others.
        folder: folder of the results.
        key: version of the results, such as a commit; results with another key are made again.
        fresh: run all parts again.
        say: is called with each step.
        only: names of parts to run; others are only read from their files. Empty: all.
    """
    done = Done({}, {})
    for part in parts:
        path = folder / f"{part.name}.json"
        wanted = not only or part.name in only
        kept = None if fresh and wanted else _kept(path, key)
        if kept is not None:
            say(f"{part.name}: done before ({path})")
            done.results[part.name] = kept["result"]
            continue
        if not wanted:
            continue
        say(f"{part.name}: begins")
        try:
            result = part.make()
        except Exception as error:  # noqa: BLE001  # one failure must not cost hours of other parts
            done.errors[part.name] = f"{type(error).__name__}: {error}"
            say(f"{part.name}: failed: {done.errors[part.name]}")
            continue
        write(path, json.dumps({"key": key, "result": result}, ensure_ascii=False) + "\n")
        done.results[part.name] = result
    return done


def _kept(path: Path, key: str) -> dict[str, Any] | None:
    """Return the content of a file, if it has this key."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if content.get("key") == key and "result" in content else None
