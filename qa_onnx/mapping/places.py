"""Names of files and folders, here or in an object store -> streams to read, and files that are written whole.

A name is a path, or a URL of a kind that fsspec knows, such as s3://bucket/rows. Needs fsspec (extra `map`), which
`plan_job` looks for.

Left out: what is in the files (parquet.py, text_rows.py).
"""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from qa_onnx.errors import InputError, MapError, MissingExtraError, quoted, shown
from qa_onnx.machine.files import check_path, open_file, open_stream, os_errors, replacing
from qa_onnx.machine.locks import LockBusyError, locked

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Iterator

_LOCK = "_map.lock"
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{16}\.partial")


def located(name: str) -> tuple[Any, str]:
    """Return the file system of a name and its path there; a path of this machine is absolute.

    Raises:
        InputError: it is no name, or of an unknown kind.
        MissingExtraError: the package for its kind is not installed.
    """
    import fsspec

    check_path("the name of a file", name)
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(name)
    except ImportError as error:
        raise MissingExtraError(
            f"{shown(name)} cannot be reached: {error}", remedy="install the package that it names"
        ) from error
    except ValueError as error:
        raise InputError(f"{quoted(name)} is no name of a file: {error}") from error
    return found


def is_here(system: Any) -> bool:
    """Return whether a file system is that of this machine."""
    return "file" in ((system.protocol,) if isinstance(system.protocol, str) else system.protocol)


def full_name(system: Any, path: str) -> str:
    """Return the name by which any process finds a file: an absolute path, or a URL."""
    return path if is_here(system) else str(system.unstrip_protocol(path))


def find_inputs(names: Iterable[str], output: str, wanted: Callable[[str], bool]) -> list[str]:
    """Return the files that names stand for, each one once, in the order of their full names.

    Args:
        names: of files, of folders with all that is in them, or patterns with *, ** and ?.
        output: the folder of the results; see InputError.
        wanted: tells by its name whether a file of a folder is taken; those that begin with "." or "_" never are.

    Raises:
        InputError: there is nothing of a name, nothing wanted in it, or the output lies in an input.
        MissingExtraError: see `located`.
    """
    found: set[str] = set()
    out_system, out_path = located(output)
    results = full_name(out_system, out_path.rstrip("/"))
    for name in names:
        system, path = located(name)
        with os_errors(InputError, f"cannot read {shown(name)}"):
            if system.isfile(path):
                found.add(full_name(system, path))
                continue
            is_folder = system.isdir(path)
            files = _wanted(
                system.find(path) if is_folder else system.glob(path), path if is_folder else "", wanted
            )
        inside = f"{full_name(system, path.rstrip('/'))}/" if is_folder else None
        if inside and f"{results}/".startswith(inside):
            raise InputError(
                f"the output {shown(output)} lies in the input {shown(name)}, where answers would be read as rows",
                remedy="name a folder elsewhere",
            )
        if not files:
            what = (
                "holds no Parquet, JSON lines, CSV or TSV file" if is_folder else "does not exist, or is no file"
            )
            raise InputError(f"{shown(name)} {what}")
        found |= {full_name(system, file) for file in files}
    within = [name for name in sorted(found) if name.startswith(f"{results}/")]
    if within:
        raise InputError(f"the input {shown(within[0])} lies in the output {shown(output)}", remedy="name another")
    return sorted(found)


def _wanted(paths: Iterable[str], folder: str, wanted: Callable[[str], bool]) -> list[str]:
    """Return the wanted ones of files, without those that are hidden, in the folder or by their own names."""
    start = len(folder.rstrip("/")) + 1 if folder else None
    parts = {path: path[start:].split("/") if start else [path.rpartition("/")[2]] for path in paths}
    return [
        path
        for path, names in parts.items()
        if wanted(path) and not any(name.startswith((".", "_")) for name in names)
    ]


@contextmanager
def open_rows(name: str, update: Callable[[bytes], object] | None = None) -> Iterator[io.BufferedReader[Any]]:
    """Open a file to read it from the start to the end; see `open_file` for the arguments and errors."""
    system, path = located(name)
    if is_here(system):
        with open_file(path, update=update) as file:
            yield file
        return
    with ExitStack() as stack:
        with os_errors(InputError, f"cannot read {shown(name)}"):
            raw = stack.enter_context(system.open(path, "rb"))
        yield stack.enter_context(open_stream(raw, shown(name), update=update))


def open_anywhere(name: str) -> IO[bytes]:
    """Open a file to read it at any place; InputError: it cannot be read."""
    system, path = located(name)
    with os_errors(InputError, f"cannot read {shown(name)}"):
        file: IO[bytes] = system.open(path, "rb")
    return file


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """The folder of the results, in which each file is there as a whole or not at all.

    Attributes:
        name: a path or URL; a path should be absolute, for other processes.
    """

    name: str

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep others from writing to it meanwhile; only here, not in object stores.

        Raises:
            MapError: it cannot be made, is a file, or another process writes to it.
        """
        system, path = located(self.name)
        with ExitStack() as stack:
            with self._errors():
                if system.isfile(path):
                    raise MapError(f"{shown(self.name)} is a file", remedy="name a folder for the output")
                system.makedirs(path, exist_ok=True)
                if is_here(system):
                    try:
                        stack.enter_context(locked(Path(path) / _LOCK))
                    except LockBusyError as error:
                        problem = f"another process writes to {shown(self.name)}: {error}"
                        raise MapError(problem, remedy="wait for its end") from error
            yield

    def files(self) -> set[str]:
        """Return the names of the files in it, without those that a killed run left half written.

        Raises:
            MapError: it cannot be read.
        """
        system, path = located(self.name)
        with self._errors():
            if not system.isdir(path):  # an object store has no empty folders
                return set()
            names = {str(entry).rstrip("/").rpartition("/")[2] for entry in system.ls(path, detail=False)}
        return {name for name in names - {_LOCK, ""} if not _PARTIAL.fullmatch(name)}

    def clean(self) -> None:
        """Remove what a killed run left half written."""
        system, path = located(self.name)
        if is_here(system):
            for file in Path(path).iterdir():
                if _PARTIAL.fullmatch(file.name):
                    file.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """Return the content of a small file; MapError: it cannot be read."""
        with self._errors(name):
            content: bytes = located(self.name)[0].cat_file(self._path(name))
        return content

    @contextmanager
    def whole(self, name: str) -> Iterator[IO[bytes]]:
        """Write a file, which gets its name when all of it is written.

        Here it has another name until then. To an object store it goes in one piece, after it was written to the
        folder for temporary files of this machine.

        Raises:
            MapError: it cannot be written.
        """
        system, path = located(self.name)
        with self._errors(name):
            if is_here(system):
                with replacing(Path(path) / name) as file:
                    yield file
                return
            with tempfile.TemporaryDirectory() as folder:
                draft = Path(folder) / name
                with draft.open("xb") as file:
                    yield file
                system.put_file(str(draft), self._path(name))

    def _path(self, name: str) -> str:
        return f"{located(self.name)[1].rstrip('/')}/{name}"

    @contextmanager
    def _errors(self, name: str = "") -> Iterator[None]:
        where = f"{name} in {shown(self.name)}" if name else shown(self.name)
        with os_errors(MapError, f"cannot write {where}", remedy="then go on with --resume" if name else ""):
            yield
