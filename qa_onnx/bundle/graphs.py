"""A graph of a bundle -> what an engine opens: the very bytes whose SHA-256 was right.

Left out: the rules for a graph (engines/graph_rules.py).
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.bundle.files import check, read
from qa_onnx.engines.graph_rules import check_graph
from qa_onnx.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qa_onnx.bundle.files import BundleFiles
    from qa_onnx.bundle.manifest import FileEntry


@dataclass(frozen=True, slots=True)
class BundleGraph:
    """A graph of a bundle; see `engines.graph_source.GraphSource`.

    Attributes:
        files: of the bundle.
        file: the ONNX file.
        data: its weights, if they are in a file beside it.
    """

    files: BundleFiles
    file: FileEntry
    data: FileEntry | None

    @property
    def name(self) -> str:
        """Path of the ONNX file."""
        return str(self.files.path / self.file.name)

    @contextlib.contextmanager
    def open(self) -> Iterator[bytes | Path]:
        """See `GraphSource.open`. Weights beside the ONNX file are copied, as engines read them by their path."""
        data = self.data
        model = read(self.files, self.file)
        check_graph(model, self.name, file_size=lambda name: data.size if data and data.name == name else None)
        if data is None:
            yield model
            return
        with contextlib.ExitStack() as stack:
            try:
                path = self._copy(stack, data, model)
            except OSError as error:
                problem = (
                    f"the weights of {self.name}, {data.size:,} bytes, cannot be copied: {error.strerror or error}"
                )
                raise BundleError(
                    problem, remedy="free space, or set TMPDIR to a folder on another disk"
                ) from error
            del model
            yield path

    def _copy(self, stack: contextlib.ExitStack, data: FileEntry, model: bytes) -> Path:
        """Write the graph and its weights to a folder that the stack removes, and return the graph's path.

        Others may write to the bundle's folder, or exchange its files; to this one, only this user.
        """
        folder = tempfile.TemporaryDirectory(prefix="qa-onnx-", ignore_cleanup_errors=True)
        path = Path(stack.enter_context(folder)).resolve() / self.file.name
        with path.with_name(data.name).open("wb") as copy:
            check(self.files, data, then=copy.write)
        path.write_bytes(model)
        return path
