"""A long run in parts: each part's result is a file, and a part whose file is there is not run again."""

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
    """A piece of the run.

    Attributes:
        name: of the part, and of its file.
        make: gives its result, which JSON can hold.
    """

    name: str
    make: Callable[[], Any]


@dataclass(frozen=True)
class Done:
    """What became of the parts: results, and errors of those that have none, by name."""

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
    """Run what has not been run yet.

    Args:
        parts: in this order; one that fails does not keep the others from running.
        folder: of the results.
        key: what a result belongs to, such as a commit; those of another key are made anew.
        fresh: make all anew.
        say: hears what begins.
        only: names of parts to run, or make anew where `fresh`; of others, what is there is taken. Empty: all.
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
        except Exception as error:  # noqa: BLE001  # hours of other parts must not be lost for it
            done.errors[part.name] = f"{type(error).__name__}: {error}"
            say(f"{part.name}: failed: {done.errors[part.name]}")
            continue
        write(path, json.dumps({"key": key, "result": result}, ensure_ascii=False) + "\n")
        done.results[part.name] = result
    return done


def _kept(path: Path, key: str) -> dict[str, Any] | None:
    """What a file holds, if it is of this key."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if content.get("key") == key and "result" in content else None
