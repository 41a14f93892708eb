"""The exported folder, and the checks that make it safe to load.

    bundle.json                 the manifest; replaced last, so it alone decides what the bundle is
    model-<hash>.onnx           a graph for each precision
    weights-<hash>.data         the weights of a graph of more than 2 GB
    tokenizer-<hash>.json       as the tokenizers library reads it
    golden-<hash>.json          a few examples with the logits that each precision gave at export
    bundle.sig                  the signature of bundle.json, if its owner signed it (signature.py)

Files are named by content: writing a new version never touches one that the current manifest names. The
manifest holds the size and SHA-256 of every file, and what is read counts only if both are right.

Left out: the manifest's content (manifest.py), reading (files.py), packed bundles (packed.py), writing (export).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qa_onnx.bundle import files
from qa_onnx.bundle.files import MANIFEST
from qa_onnx.bundle.graphs import BundleGraph
from qa_onnx.engines.names import PRECISIONS, missing_instructions
from qa_onnx.errors import BundleError, EngineError, quoted
from qa_onnx.machine.files import check_path, os_errors
from qa_onnx.machine.regular_files import hub_cache_of
from qa_onnx.options import check_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from qa_onnx.bundle.files import BundleFiles
    from qa_onnx.bundle.manifest import FileEntry, Graph, Manifest, Receipt
    from qa_onnx.bundle.signature import KeySource
    from qa_onnx.engines.names import Backend

_PACKAGE = Path(__file__).parents[1]
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True, repr=False)
class Bundle:
    """A folder or packed file whose manifest was read, and whose files exist in the right sizes."""

    path: Path
    manifest: Manifest
    files: BundleFiles = field(init=False, compare=False)  # of these, the directory of a packed file is read once

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", files.files_of(self.path))

    def __repr__(self) -> str:
        return f"Bundle({quoted(str(self.path))}: {self.manifest.source.name}, {', '.join(self.manifest.graphs)})"

    @classmethod
    def load(
        cls,
        path: str | Path | Bundle | None = None,
        *,
        revision: str | None = None,
        require_signature: KeySource | None = None,
    ) -> Bundle:
        """Read a bundle's manifest and check that its files exist.

        Args:
            path: the folder, the packed file, or "org/name" on the Hugging Face hub; a bundle that is loaded stays
                as it is; None: the default bundle that comes with the package.
            revision: branch, tag or commit on the hub; None: the branch main.
            require_signature: public key that must have signed the bundle, the path of a PEM file or its content;
                a bundle that is loaded is then read again. None: no signature is looked for.

        Raises:
            BundleFormatError: it was written by a newer release.
            BundleError: it is no bundle, or a file is missing, unreadable or of another size; `bundle_path`,
                `PublicKey`.
            InputError: an argument is of a wrong type.
            MissingExtraError: it is not here, and huggingface_hub is not installed; or cryptography is not.
        """
        if isinstance(path, Bundle) and revision is None and require_signature is None:
            return path
        path = path.path if isinstance(path, Bundle) else path
        name = quoted(str(path) if isinstance(path, Path) else path)
        with os_errors(BundleError, f"cannot read the bundle {name}"):
            place = bundle_path(path, revision=revision, require_signature=require_signature)
            bundle = cls(place, read_manifest(place, require_signature=require_signature))
            for entry in bundle.manifest.files():
                with files.opened(bundle.files, entry):
                    pass
        return bundle

    def graph(self, precision: str) -> Graph:
        """Return the graph of a precision.

        Raises:
            BundleError: the bundle does not hold it.
        """
        check_type("precision", precision, str, "a name")
        if precision not in PRECISIONS:
            raise BundleError(f"precision is {quoted(precision)}; it must be one of {', '.join(PRECISIONS)}")
        if precision not in self.manifest.graphs:
            raise BundleError(
                f"{self.path} holds {', '.join(self.manifest.graphs)}, not {precision}",
                remedy=self.how_to_add(f"--precision {precision}"),
            )
        return self.manifest.graphs[precision]

    def precisions(self, backend: Backend) -> tuple[str, ...]:
        """Return the precisions that the bundle holds for a backend, best first; this CPU may lack some."""
        graphs = self.manifest.graphs
        return tuple(
            name for name in backend.precisions if name in graphs and str(backend) in graphs[name].backends
        )

    def best_precision(self, backend: Backend) -> str:
        """Return the precision to use on a backend if the user names none: the best that this CPU can compute.

        Raises:
            EngineError: the bundle holds nothing for the backend that runs here.
        """
        reasons = {name: missing_instructions(name) for name in self.precisions(backend)}
        for name, reason in reasons.items():
            if not reason:
                return name
        suited = {"openvino": "int8-static", "tensorrt": "fp32 --no-fusion"}.get(backend.engine, "fp32")
        raise EngineError(
            f"{self.path} holds {', '.join(self.manifest.graphs)}, none of which runs on {backend}"
            + "".join(f", since {reason}" for reason in list(reasons.values())[:1]),
            remedy=self.how_to_add(f"--precision {suited}"),
        )

    def graph_for(self, precision: str, backend: Backend) -> Graph:
        """Return the graph that a backend reads to compute a precision.

        It is the precision's own, unless the backend makes the precision of another one: TensorRT fp16 of fp32.

        Raises:
            BundleError: the bundle does not hold it.
            EngineError: it does not run on the backend.
        """
        held = self.precisions(backend)
        known = PRECISIONS.get(precision)
        source = known.made_from.get(str(backend)) if known else None
        for name in (precision, source):
            if name in held:
                return self.manifest.graphs[name]
        graph = self.graph(precision)
        raise EngineError(
            f"{precision} of {self.path} runs on {', '.join(graph.backends)}, not on {backend}",
            remedy="choose another precision, engine or device; " + self._what_runs(graph, backend),
        )

    def _what_runs(self, graph: Graph, backend: Backend) -> str:
        """Return what would run on a backend that does not run a graph."""
        if backend.engine == "tensorrt" and graph.kind == "fused":
            return (
                f"{', '.join(graph.fused_nodes)} are ONNX Runtime's own operators, which TensorRT does not know: "
                f"{self.how_to_add('--no-fusion --precision fp32', beside=True)}"
            )
        try:
            return f"of this bundle {self.best_precision(backend)} does"
        except EngineError as error:
            return error.remedy

    def source_of(self, graph: Graph) -> BundleGraph:
        """Return what an engine opens a graph from."""
        return BundleGraph(self.files, graph.file, graph.data)

    def receipt(self, precision: str) -> Receipt | None:
        """Return the record of a precision's evaluation; None if it was not evaluated, or the bundle lacks it."""
        graph = self.manifest.graphs.get(precision)
        return graph.receipt if graph else None

    def how_to_add(self, options: str, *, beside: bool = False) -> str:
        """Return the command that exports a graph which the bundle does not hold.

        Args:
            options: of `qa-onnx export`.
            beside: export into another folder, because the new graph would replace one of this bundle.
        """
        name = self.manifest.source.name
        if self.path == default_bundle():
            command = f"qa-onnx export models/{name} --to another-folder {options}"
            return f"in a clone of the repository of qa-onnx, {command} makes it"
        beside = beside or hub_cache_of(self.path) is not None or self.path.is_file()
        target = "another-folder" if beside else shlex.quote(str(self.path))
        return (
            f"qa-onnx export CHECKPOINT --to {target} {options} {'makes' if beside else 'adds'} it, where "
            f"CHECKPOINT is what the bundle was made of ({name})"
        )

    def require_f1(self, precision: str, min_f1: float) -> None:
        """Check that a precision was measured to answer well enough.

        Raises:
            BundleError: its receipt shows an F1 below `min_f1` per cent, or it has none.
        """
        receipt = self.receipt(precision)
        name = f"{precision} of {self.path}"
        if receipt is None:
            problem = f"{name} has no receipt, so min_f1 {min_f1:g} cannot be checked"
            raise BundleError(problem, remedy="export it with --eval-data")
        if receipt.accuracy.f1 < min_f1:
            problem = f"{name} has F1 {receipt.accuracy.f1:.2f} on {receipt.data}, less than min_f1 {min_f1:g}"
            raise BundleError(problem, remedy="use another precision or model")

    def read(self, entry: FileEntry) -> bytes:
        """Return the content of a file; BundleError: its size or SHA-256 is wrong, or see `files.FolderFiles`."""
        return files.read(self.files, entry)

    def check(self, entry: FileEntry, then: Callable[[bytes], object] | None = None) -> None:
        """Check the size and SHA-256 of a file, and hand each piece to `then`; BundleError: see `read`."""
        files.check(self.files, entry, then=then)

    def damaged_files(self) -> tuple[str, ...]:
        """Return a line for each file that is missing, cannot be read, or does not have its size and hash."""
        damaged = []
        for entry in self.manifest.files():
            try:
                self.check(entry)
            except BundleError as error:
                damaged.append(str(error))
        return tuple(damaged)

    def text(self, entry: FileEntry) -> str:
        """Return the content of a text file; BundleError: see `read`, or it is not UTF-8 text."""
        try:
            return self.read(entry).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(f"{self.path / entry.name} is not UTF-8 text: {error}") from error


def default_bundle() -> Path:
    """Return the folder of the bundle that comes with the package: in the wheel, or in a checkout's exported/."""
    shipped = _PACKAGE / "default_bundle"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "exported" / "minilm-squad"


def bundle_path(
    path: str | Path | None, *, revision: str | None = None, require_signature: KeySource | None = None
) -> Path:
    """Return where a bundle is: a folder or packed file here, or the folder of a name on the hub in its cache.

    What is here always comes before a name, and the hub is not asked then.

    Args:
        path: a folder or packed file, or as text "org/name" on the hub; None: the default bundle. A `Path` is
            never a name.
        revision: branch, tag or commit on the hub; None: the branch main.
        require_signature: public key that must have signed what is fetched from the hub.

    Raises:
        BundleError: a revision of something here was requested; or see `hub.HubRepository.fetch`.
        MissingExtraError: it is not here, and huggingface_hub is not installed.
    """
    check_path("bundle", "" if path is None else path)
    check_type("revision", "" if revision is None else revision, str, "a name, or None")
    folder = default_bundle() if path is None else Path(path)
    if isinstance(path, str) and _HUB_NAME.fullmatch(path) and not folder.exists():
        from qa_onnx.bundle.hub import HubRepository

        repository = HubRepository(name=path, revision="main" if revision is None else revision)
        return repository.fetch(require_signature)
    if revision is not None:
        problem = f"revision is {revision!r}, but {folder} is no name on the hub and has none"
        raise BundleError(problem, remedy="omit it, or name a repository on the hub, org/name")
    return folder


def read_manifest(path: Path, *, require_signature: KeySource | None = None) -> Manifest:
    """Read and check the manifest of a bundle; a signature is checked over the very bytes that are decoded.

    Raises:
        BundleFormatError: it was written by a newer release.
        BundleError: there is none, it is not the manifest of a bundle, or see `PublicKey`.
    """
    from qa_onnx.bundle.manifest import decode_manifest  # only now: msgspec takes 8 ms to import

    data = files.manifest_bytes(path)
    if require_signature is not None:
        from qa_onnx.bundle.signature import PublicKey

        PublicKey(require_signature).verify(data, path)
    return decode_manifest(data, str(path / MANIFEST))
