"""bundle.json <-> Manifest: what a bundle says of itself, checked field by field.

Left out: the files that it names (bundle.py).
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from qa_onnx.bundle import fields
from qa_onnx.bundle.receipt import Confidence, Receipt, read_confidence, read_receipt
from qa_onnx.engines.names import PRECISIONS
from qa_onnx.errors import BundleError, BundleFormatError

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "bundle.json"
FORMAT = "qa-onnx bundle"
FORMAT_VERSION = (1, 1)  # the newest that this release reads

# The format in which a precision was new: releases that do not read it ask for an upgrade. The others are of 1.0.
_SINCE: dict[str, tuple[int, int]] = {"bf16": (1, 1), "int8-static-bf16": (1, 1)}

_FILE_NAME = re.compile(r"(model|tokenizer|golden)-[0-9a-f]{16}\.(onnx|json)")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LIMIT = 4 << 20  # bytes


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the bundle: its name, its size in bytes, and the SHA-256 of its content in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a graph's logits are from the source model's, over real text of several lengths.

    Attributes:
        reference: what it was compared with.
        windows: how many windows of text, in ragged batches.
        max_abs: largest absolute difference of a start or end logit, padding apart.
        mean_abs: mean absolute difference.
        same_best_span: share of the windows whose best span is the same.
    """

    reference: str
    windows: int
    max_abs: float
    mean_abs: float
    same_best_span: float


@dataclass(frozen=True, slots=True)
class Graph:
    """One precision of the model.

    Attributes:
        file: the ONNX file; precisions that differ only in how it is computed have the same.
        golden: examples and their logits, made with this graph at export.
        kind: "plain", standard ONNX alone, or "fused", with nodes of ONNX Runtime's com.microsoft domain.
        fused_nodes: how many there are of each fused operator.
        engines: what can run it, as "engine/device".
        parity: None where there was no source model to compare with (a finished ONNX file).
        receipt: None where it was exported without data to measure it on.
    """

    file: FileEntry
    golden: FileEntry
    kind: Literal["plain", "fused"]
    fused_nodes: dict[str, int]
    engines: tuple[str, ...]
    parity: Parity | None
    receipt: Receipt | None


@dataclass(frozen=True, slots=True)
class Source:
    """What the bundle was made of.

    Attributes:
        name: of the checkpoint.
        kind: "checkpoint", or "onnx" for a finished ONNX model.
        revision: of the hub's repository, where it came from there.
        sha256: of the weights; exports into one bundle must agree in it.
    """

    name: str
    kind: Literal["checkpoint", "onnx"]
    revision: str | None
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of bundle.json.

    Attributes:
        source: what it was made of.
        architecture: model_type, layers, heads, hidden_size and parameters; 0 where not known.
        max_length: tokens a window by default.
        max_positions: tokens that the model can read at most; windows may not be longer.
        inputs: names of the graphs' inputs.
        pad_id: token id that pads a batch.
        cls_id: token id whose logits score "no answer".
        tokenizer: its file.
        graphs: by precision.
        temperature: what scores are divided by before they become probabilities.
        null_threshold: see `Options.null_threshold`; None: not calibrated, always answer.
        confidence: how these two were found; None: they were not.
        versions: of the packages that made it.
        created: UTC date and time, ISO 8601.
    """

    source: Source
    architecture: dict[str, Any]
    max_length: int
    max_positions: int
    inputs: tuple[str, ...]
    pad_id: int
    cls_id: int
    tokenizer: FileEntry
    graphs: dict[str, Graph]
    temperature: float = 1.0
    null_threshold: float | None = None
    confidence: Confidence | None = None
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""

    @property
    def format_version(self) -> tuple[int, int]:
        """The oldest format that has all its precisions: major, minor."""
        return max((_SINCE.get(name, (1, 0)) for name in self.graphs), default=(1, 0))

    def files(self) -> tuple[FileEntry, ...]:
        """Every file that the manifest names, once."""
        graphs = [entry for graph in self.graphs.values() for entry in (graph.file, graph.golden)]
        return tuple(dict.fromkeys([self.tokenizer, *graphs]))

    def to_json(self) -> str:
        """The manifest as the text of bundle.json."""
        version = ".".join(map(str, self.format_version))
        return (
            json.dumps({"format": FORMAT, "format_version": version, **dataclasses.asdict(self)}, indent=1) + "\n"
        )


def read_manifest(folder: Path) -> Manifest:
    """Read and check bundle.json.

    Raises:
        BundleFormatError: it was written by a newer release.
        BundleError: there is none, or it is not the manifest of a bundle.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} is not a bundle: {_what_it_is(folder)}")
    if path.stat().st_size > _LIMIT:
        raise BundleError(f"{path} is larger than {_LIMIT} bytes: it is not the manifest of a bundle")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BundleError(f"{path} is not the manifest of a bundle: it does not say format {FORMAT!r}")
    _check_version(path, content.get("format_version"))
    try:
        return _manifest(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{path} is damaged: {what}") from error


def _what_it_is(folder: Path) -> str:
    """What a folder without a manifest is, and what to type to have a bundle."""
    target = shlex.quote(f"exported/{folder.resolve().name}")
    make = f"qa-onnx export {shlex.quote(str(folder))} --to {target} makes a bundle of it, in {target}"
    write = f"qa-onnx export CHECKPOINT --to {shlex.quote(str(folder))} makes one"
    if not folder.exists():
        hub = _HUB_ID.fullmatch(str(folder))
        return f"it does not exist. {f'If it is a model on the hub, {make}' if hub else write}"
    if not folder.is_dir():
        return "it is a file, and a bundle is a folder"
    if any(next(folder.glob(names), None) for names in ("*.safetensors", "pytorch_model*.bin")):
        return f"it is a checkpoint. {make}"
    if any((folder / place).is_file() for place in ("model.onnx", "onnx/model.onnx")):
        return f"it is a folder with a finished ONNX model. {make}"
    inside = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    if inside:
        return f"it has no {MANIFEST}. There are bundles in it, name one: {', '.join(inside[:5])}"
    return f"it has no {MANIFEST}. {write}"


def _check_version(path: Path, version: object) -> None:
    ours = ".".join(map(str, FORMAT_VERSION))
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", version) if isinstance(version, str) else None
    if match is None:
        raise BundleError(f"{path} is damaged: format_version is {version!r}")
    found = (int(match[1]), int(match[2]))
    if found > FORMAT_VERSION:
        raise BundleFormatError(
            f"{path} has format {version}; this release reads up to {ours}: pip install --upgrade qa-onnx"
        )
    if found[0] < FORMAT_VERSION[0]:
        raise BundleFormatError(f"{path} has format {version}; this release reads {ours}: export it again")


def _manifest(content: dict[str, Any]) -> Manifest:
    graphs = {name: _graph(graph) for name, graph in content["graphs"].items()}
    unknown = graphs.keys() - set(PRECISIONS)
    if unknown or not graphs:
        raise ValueError(f"its precisions are {', '.join(graphs) or 'none'}, known are {', '.join(PRECISIONS)}")
    source = content["source"]
    threshold, confidence = content["null_threshold"], content["confidence"]
    return Manifest(
        source=Source(
            name=fields.string(source["name"]),
            kind=cast("Literal['checkpoint', 'onnx']", fields.one_of(source["kind"], "checkpoint", "onnx")),
            revision=None if source["revision"] is None else fields.string(source["revision"]),
            sha256=fields.string(source["sha256"]),
        ),
        architecture=_architecture(content["architecture"]),
        max_length=fields.integer(content["max_length"]),
        max_positions=fields.integer(content["max_positions"]),
        inputs=fields.strings(content["inputs"]),
        pad_id=fields.integer(content["pad_id"]),
        cls_id=fields.integer(content["cls_id"]),
        tokenizer=_file(content["tokenizer"]),
        graphs=graphs,
        temperature=fields.positive(content["temperature"]),
        null_threshold=None if threshold is None else fields.number(threshold),
        confidence=None if confidence is None else read_confidence(confidence),
        versions={name: fields.string(version) for name, version in content["versions"].items()},
        created=fields.string(content["created"]),
    )


def _architecture(content: dict[str, Any]) -> dict[str, Any]:
    counts = ("layers", "heads", "hidden_size", "parameters")
    return {
        "model_type": fields.string(content["model_type"]),
        **{name: fields.integer(content[name]) for name in counts},
    }


def _graph(content: dict[str, Any]) -> Graph:
    parity, receipt = content["parity"], content["receipt"]
    return Graph(
        file=_file(content["file"]),
        golden=_file(content["golden"]),
        kind=cast("Literal['plain', 'fused']", fields.one_of(content["kind"], "plain", "fused")),
        fused_nodes={name: fields.integer(count) for name, count in content["fused_nodes"].items()},
        engines=fields.strings(content["engines"]),
        parity=None if parity is None else _parity(parity),
        receipt=None if receipt is None else read_receipt(receipt),
    )


def _parity(content: dict[str, Any]) -> Parity:
    return Parity(
        reference=fields.string(content["reference"]),
        windows=fields.integer(content["windows"]),
        max_abs=fields.number(content["max_abs"]),
        mean_abs=fields.number(content["mean_abs"]),
        same_best_span=fields.number(content["same_best_span"]),
    )


def _file(content: dict[str, Any]) -> FileEntry:
    entry = FileEntry(
        fields.string(content["name"]), fields.integer(content["size"]), fields.string(content["sha256"])
    )
    if not _FILE_NAME.fullmatch(entry.name) or not _SHA256.fullmatch(entry.sha256):
        raise ValueError(f"{entry.name!r} with SHA-256 {entry.sha256!r} is no file of a bundle")
    return entry
