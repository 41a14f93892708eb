"""Paths of files, folders and patterns -> the files, in order, that may be documents.

Left out: opening them (reading.py), and which of them are worth reading.
"""

from __future__ import annotations

import functools
import glob
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.errors import InputError, shown
from qa_onnx.machine.files import check_path, did_you_mean
from qa_onnx.machine.regular_files import LinkError, NotRegularError, kind_of, real

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_DEEPEST = 200  # folders inside of each other
_MANIFESTS = {"index.json", "lock"}  # of an index of passages, and of one that is being built for the first time
_PARTS = re.compile(r"generation-[0-9a-f]{16}|\.build-.+")  # folders in it


def find_documents(
    paths: str | Path | Iterable[str | Path], *, on_problem: Callable[[Path, OSError], object] | None = None
) -> Iterator[Path]:
    """Yield files: those that are named, and of folders all files in them and below, sorted by their names.

    Files and folders whose names begin with a dot are left out of folders, and so are links that lead out of the
    folder that was named, and pipes, sockets and devices. Folders that hold an index (`build_index`) are left out
    of folders and patterns. No file is yielded twice.

    Args:
        paths: of files and folders, and patterns such as `reports/**/*.pdf`; a path that exists is no pattern.
        on_problem: is called with the path and the error of what was left out of a folder because it cannot be
            read, or is a link that leads elsewhere, or no regular file; None: such are left out silently.

    Raises:
        InputError: a path does not exist, cannot be read, or is no file or folder, or it is an index; a pattern
            matches nothing. All paths are looked at before the first file is yielded.
    """
    report = on_problem or (lambda _path, _error: None)
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    named = [match for path in paths for match in _expanded(path)]
    return _files(named, report)


def is_index(folder: str | Path) -> bool:
    """Return whether a folder is an index of passages, finished or not; False where it cannot be read."""
    try:
        names = os.listdir(folder)  # noqa: PTH208  # names, not paths
    except OSError:
        return False
    return not _MANIFESTS.isdisjoint(names) and any(map(_PARTS.fullmatch, names))


def _expanded(path: str | Path) -> list[Path]:
    check_path("path", path)
    if os.path.lexists(path):
        return [Path(path)]
    pattern = os.fspath(path)
    if not glob.has_magic(pattern):
        raise InputError(
            f"{shown(pattern)} does not exist",
            remedy=did_you_mean(pattern) or "name a file, a folder or a pattern",
        )
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # of an absolute pattern, too
    if not matches:
        raise InputError(f"no file matches {shown(pattern)}")
    within = functools.cache(is_index)
    # A folder that matches "**" brings its files with it, which match themselves.
    return [
        path
        for path in map(Path, matches)
        if not (path.is_dir() and pattern.endswith("**")) and not any(map(within, (path, *path.parents)))
    ]


def _files(named: list[Path], report: Callable[[Path, OSError], object]) -> Iterator[Path]:
    places: list[tuple[Path, bool]] = []
    for path in named:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise InputError(f"cannot read {shown(str(path))}: {error.strerror}") from error
        if stat.S_ISDIR(mode) and is_index(path):
            raise InputError(f"{shown(str(path))} is an index", remedy="name its documents")
        if not stat.S_ISDIR(mode) and (kind := kind_of(mode)):
            raise InputError(f"cannot read {shown(str(path))}: it is {kind}", remedy="name a file or a folder")
        places.append((path, stat.S_ISDIR(mode)))
    return _once(places, report)


def _once(places: list[tuple[Path, bool]], report: Callable[[Path, OSError], object]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path, is_folder in places:
        for file in _below(path, real(path), report, 0) if is_folder else [path]:
            content = real(file)
            if content not in seen:
                seen.add(content)
                yield file


def _below(folder: Path, home: Path, report: Callable[[Path, OSError], object], depth: int) -> Iterator[Path]:
    """Yield the files of a folder and below; `home` is the one that was named, without links."""
    try:
        if depth > _DEEPEST:
            raise OSError(f"{folder} lies more than {_DEEPEST} folders deep")
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        report(folder, error)
        return
    for name in names:
        path = folder / name
        try:
            if path.is_symlink():
                target = real(path)
                if not target.is_relative_to(home) or target.is_dir():  # a folder there is met by itself
                    raise LinkError(path, target, home)
            mode = path.stat().st_mode
            if not stat.S_ISDIR(mode) and (kind := kind_of(mode)):
                raise NotRegularError(path, kind)
            readable = stat.S_ISDIR(mode) or os.access(path, os.R_OK)
            if not readable:
                raise PermissionError(13, "Permission denied", str(path))
        except OSError as error:
            report(path, error)
            continue
        if stat.S_ISDIR(mode):
            if is_index(path):
                continue
            yield from _below(path, home, report, depth + 1)
        else:
            yield path
