"""Where an engine gets its graph from: bytes that were read once and checked, and that nobody can change any more.

Left out: the rules of the check (graph_rules.py), and the files of a bundle (bundle/graphs.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qa_onnx.engines.graph_rules import MOST_BYTES, check_graph
from qa_onnx.errors import EngineError
from qa_onnx.machine.regular_files import open_inside, open_regular, read_exactly, real

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


class GraphSource(Protocol):
    """A graph that each process which opens it reads and checks for itself."""

    @property
    def name(self) -> str:
        """Path of the file, for errors."""

    def open(self) -> AbstractContextManager[bytes | Path]:
        """Read and check the graph.

        Returns:
            Its bytes; or, for a graph with weights beside it, the path of an ONNX file that is there while the
            context lasts.

        Raises:
            EngineError: it may not reach an engine, see `graph_rules.check_graph`.
            BundleError: it is a bundle's, and not what the manifest says.
        """


@dataclass(frozen=True, slots=True)
class GraphPath:
    """A graph in an ONNX file that the caller vouches for; its weights may be in files beside it."""

    path: Path

    @classmethod
    def of(cls, graph: Path | GraphSource) -> GraphSource:
        """Return the source of a graph that may be given as a path."""
        return cls(graph) if isinstance(graph, Path) else graph

    @property
    def name(self) -> str:
        """Path of the file."""
        return str(self.path)

    @contextmanager
    def open(self) -> Iterator[bytes | Path]:
        """See `GraphSource.open`. Weights beside the file are read where they are."""
        data, beside = read_graph(self.path)
        if beside:
            del data
            yield self.path
        else:
            yield data


def read_graph(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Return the bytes of an ONNX file that may reach an engine, and the names of files beside it with weights.

    Raises:
        EngineError: it may not, see `graph_rules.check_graph`; or it cannot be read.
    """
    beside: dict[str, int] = {}

    def size(name: str) -> int | None:
        if name not in beside and Path(name).name == name and "\\" not in name and name != path.name:
            try:
                with open_inside(path.parent, name) as (_, beside[name]):
                    pass
            except (OSError, ValueError):
                return None
        return beside.get(name)

    try:
        with open_regular(real(path)) as (file, length):
            if length > MOST_BYTES:
                raise EngineError(f"{path} has {length:,} bytes; an ONNX file has at most {MOST_BYTES:,}")
            data = read_exactly(file, length)
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}") from error
    check_graph(data, str(path), file_size=size)
    return data, tuple(beside)
