"""The exported folder, and the checks that make it safe to load.

    bundle.json                 the manifest; replaced last, so it alone decides what the bundle is
    model-<hash>.onnx           a graph for each precision
    weights-<hash>.data         the weights of a graph of more than 2 GB
    tokenizer-<hash>.json       as the tokenizers library reads it
    golden-<hash>.json          a few examples with the logits that each precision gave at export

Files are named by content: writing a new version never touches one that the current manifest names. The
manifest holds the size and SHA-256 of every file, and a file is read only if both are right.

Left out: the manifest's content (manifest.py), and how a bundle is written (export/writer.py).
"""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.engines.names import PRECISIONS, why_not
from qa_onnx.errors import BundleError, EngineError

if TYPE_CHECKING:
    from qa_onnx.bundle.manifest import FileEntry, Graph, Manifest
    from qa_onnx.engines.names import Backend

MANIFEST = "bundle.json"

_PACKAGE = Path(__file__).parents[1]
_MANIFEST_LIMIT = 4 << 20  # bytes
_TEXT_LIMIT = 256 << 20  # bytes; the largest multilingual tokenizers have some 35 MB
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_AGAIN = "export it again, or fetch it again"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder whose manifest was read, and whose files exist in the right sizes."""

    path: Path
    manifest: Manifest

    @classmethod
    def load(cls, path: str | Path | None = None) -> Bundle:
        """Read a bundle's manifest and check that its files exist.

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
        """Return the graph of a precision.

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
        """Return the command that exports a graph which the bundle does not hold.

        Args:
            options: of `qa-onnx export`.
            beside: export into another folder, because the new graph would replace one of this bundle.
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
        """Check that a precision was measured to answer well enough.

        Raises:
            BundleError: its receipt shows an F1 below `min_f1` per cent, or it has none.
        """
        receipt = self.graph(precision).receipt
        if receipt is None:
            raise BundleError(
                f"{precision} of {self.path} has no receipt, so min_f1 {min_f1:g} cannot be checked",
                remedy="export it with --eval-data",
            )
        if receipt.accuracy.f1 < min_f1:
            raise BundleError(
                f"{precision} of {self.path} has F1 {receipt.accuracy.f1:.2f} on {receipt.data}, less than min_f1 "
                f"{min_f1:g}",
                remedy="use another precision or model",
            )

    def checked_path(self, entry: FileEntry) -> Path:
        """Return the path of a file after checking its size and SHA-256.

        Raises:
            BundleError: one of them is wrong.
        """
        self._check_size(entry)
        path = self.path / entry.name
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != entry.sha256:
            raise BundleError(
                f"{path} was changed or damaged: its SHA-256 is {sha256}, {MANIFEST} says {entry.sha256}",
                remedy=_AGAIN,
            )
        return path

    def text(self, entry: FileEntry) -> str:
        """Return the content of a text file after checking its size and SHA-256.

        Raises:
            BundleError: one of them is wrong, or it is not UTF-8 text of a sensible size.
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
            raise BundleError(f"{path} is missing", remedy=_AGAIN)
        size = path.stat().st_size
        if size != entry.size:
            raise BundleError(
                f"{path} has {size} bytes, {MANIFEST} says {entry.size}: it was cut or changed", remedy=_AGAIN
            )


def default_bundle() -> Path:
    """Return the folder of the bundle that comes with the package: in the wheel, or in a checkout's exported/."""
    shipped = _PACKAGE / "default_bundle"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "exported" / "minilm-squad"


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of a folder.

    Raises:
        BundleFormatError: it was written by a newer release.
        BundleError: there is none, or it is not the manifest of a bundle.
    """
    from qa_onnx.bundle.manifest import decode_manifest  # only now: msgspec takes 8 ms to import

    path = folder / MANIFEST
    if not path.is_file():
        reason, remedy = _why_no_bundle(folder)
        raise BundleError(f"{folder} is not a bundle: {reason}", remedy=remedy)
    if path.stat().st_size > _MANIFEST_LIMIT:
        raise BundleError(f"{path} is larger than {_MANIFEST_LIMIT} bytes: it is not the manifest of a bundle")
    return decode_manifest(path.read_bytes(), str(path))


def _why_no_bundle(folder: Path) -> tuple[str, str]:
    """Return what a folder without a manifest is, and how to get a bundle."""
    target = shlex.quote(f"exported/{folder.resolve().name}")
    convert = f"qa-onnx export {shlex.quote(str(folder))} --to {target} makes a bundle of it, in {target}"
    create = f"qa-onnx export CHECKPOINT --to {shlex.quote(str(folder))} makes one"
    if not folder.exists():
        hub = _HUB_ID.fullmatch(str(folder))
        return "it does not exist", f"if it is a model on the hub, {convert}" if hub else create
    if not folder.is_dir():
        return "it is a file, and a bundle is a folder", ""
    if any(next(folder.glob(names), None) for names in ("*.safetensors", "pytorch_model*.bin")):
        return "it is a checkpoint", convert
    if any((folder / name).is_file() for name in ("model.onnx", "onnx/model.onnx")):
        return "it is a folder with a finished ONNX model", convert
    inside = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    if inside:
        return f"it has no {MANIFEST}, but folders in it are bundles", f"name one of {', '.join(inside[:5])}"
    return f"it has no {MANIFEST}", create
