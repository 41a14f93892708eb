"""The exported folder, and the checks that make it safe to load.

    bundle.json                 the manifest; replaced last, so it alone decides what the bundle is
    model-<hash>.onnx           a graph for each precision
    tokenizer-<hash>.json       as the tokenizers library reads it
    golden-<hash>.json          a few examples with the logits that each precision gave at export

Files are named by content: writing a new version never touches one that the current manifest names. The
manifest holds every file's size and SHA-256, and what it names is read only when both are right.

Left out: the manifest's content (manifest.py), and how a bundle is written (export/writer.py).
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.bundle.manifest import MANIFEST, Manifest, read_manifest
from qa_onnx.engines.names import PRECISIONS, why_not
from qa_onnx.errors import BundleError, EngineError

if TYPE_CHECKING:
    from qa_onnx.bundle.manifest import FileEntry, Graph
    from qa_onnx.engines.names import Backend

_PACKAGE = Path(__file__).parents[1]
_TEXT_LIMIT = 256 << 20  # bytes; the largest multilingual tokenizers have some 35 MB


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose manifest was read and whose files are there in the right sizes."""

    path: Path
    manifest: Manifest

    @classmethod
    def load(cls, path: str | Path | None = None) -> Bundle:
        """Read a bundle's manifest and check that its files are there.

        Args:
            path: the folder; None: the default bundle that comes with the package.

        Raises:
            BundleFormatError: it was written by a newer release.
            BundleError: it is not a bundle, or a file is missing or has another size.
        """
        folder = default_bundle() if path is None else Path(path)
        bundle = cls(folder, read_manifest(folder))
        for entry in bundle.manifest.files():
            bundle._check_size(entry)
        return bundle

    def graph(self, precision: str) -> Graph:
        """The graph of a precision.

        Raises:
            BundleError: the bundle does not hold it.
        """
        if precision not in PRECISIONS:
            raise BundleError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
        if precision not in self.manifest.graphs:
            raise BundleError(
                f"{self.path} holds {', '.join(self.manifest.graphs)}, not {precision}",
                remedy=self.how_to_add(f"--precision {precision}"),
            )
        return self.manifest.graphs[precision]

    def best_precision(self, backend: Backend) -> str:
        """Return the precision to use on a backend if the user names none: the best that this CPU can compute.

        Raises:
            EngineError: the bundle holds nothing for the backend that runs here.
        """
        reasons = []
        for name in backend.precisions:
            graph = self.manifest.graphs.get(name)
            if graph and str(backend) in graph.engines:
                reason = why_not(name)
                if not reason:
                    return name
                reasons.append(reason)
        suited = {"openvino": "int8-static", "tensorrt": "fp32 --no-fusion"}.get(backend.engine, "fp32")
        raise EngineError(
            f"{self.path} holds {', '.join(self.manifest.graphs)}, none of which runs on {backend}"
            f"{f', since {reasons[0]}' if reasons else ''}",
            remedy=self.how_to_add(f"--precision {suited}"),
        )

    def how_to_add(self, options: str, *, beside: bool = False) -> str:
        """What to type for a graph that the bundle does not hold.

        Args:
            options: of `qa-onnx export`.
            beside: in another bundle, since it would replace a graph of this one.
        """
        name = self.manifest.source.name
        if self.path != default_bundle():
            target = "another-folder" if beside else shlex.quote(str(self.path))
            return (
                f"qa-onnx export CHECKPOINT --to {target} {options} {'makes' if beside else 'adds'} it, where "
                f"CHECKPOINT is what the bundle was made of ({name})"
            )
        checkpoint = _PACKAGE.parent / "models" / name
        if checkpoint.is_dir():
            return f"qa-onnx export {shlex.quote(str(checkpoint))} --to another-folder {options} makes it"
        return (
            "the package holds no other; in a clone of the repository of qa-onnx, "
            f"qa-onnx export models/{name} --to another-folder {options} makes it"
        )

    def require_f1(self, precision: str, min_f1: float) -> None:
        """Refuse a precision that was not shown to answer well enough.

        Raises:
            BundleError: its receipt shows an F1 below `min_f1` per cent, or it has none.
        """
        receipt = self.graph(precision).receipt
        if receipt is None:
            raise BundleError(
                f"{precision} of {self.path} has no receipt, so min_f1 {min_f1:g} cannot be checked: export it "
                "with --eval-data"
            )
        if receipt.accuracy.f1 < min_f1:
            raise BundleError(
                f"{precision} of {self.path} has F1 {receipt.accuracy.f1:.2f} on {receipt.data}, less than min_f1 "
                f"{min_f1:g}: use another precision or model"
            )

    def checked_path(self, entry: FileEntry) -> Path:
        """Path of a file whose size and SHA-256 are right.

        Raises:
            BundleError: they are not.
        """
        self._check_size(entry)
        with (self.path / entry.name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != entry.sha256:
            raise BundleError(
                f"{self.path / entry.name} was changed or damaged: its SHA-256 is {found}, {MANIFEST} says "
                f"{entry.sha256}; export it again, or fetch the bundle again"
            )
        return self.path / entry.name

    def text(self, entry: FileEntry) -> str:
        """Content of a text file whose size and SHA-256 are right.

        Raises:
            BundleError: they are not, or it is not UTF-8 text of a sensible size.
        """
        if entry.size > _TEXT_LIMIT:
            raise BundleError(f"{entry.name} has {entry.size} bytes; the limit is {_TEXT_LIMIT}")
        try:
            return self.checked_path(entry).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(f"{self.path / entry.name} is not UTF-8 text: {error}") from error

    def _check_size(self, entry: FileEntry) -> None:
        path = self.path / entry.name
        if not path.is_file():
            raise BundleError(f"{path} is missing: export the bundle again, or fetch it whole")
        size = path.stat().st_size
        if size != entry.size:
            raise BundleError(
                f"{path} has {size} bytes, {MANIFEST} says {entry.size}: it was cut or changed; "
                "export it again, or fetch the bundle again"
            )


def default_bundle() -> Path:
    """Folder of the bundle that comes with the package: in the wheel, or in a checkout's exported/."""
    shipped = _PACKAGE / "default_bundle"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "exported" / "minilm-squad"
