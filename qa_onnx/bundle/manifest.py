"""bundle.json <-> Manifest: what a bundle holds, what it was made of, and what was measured of it.

The classes below are the format: msgspec decodes JSON into them, checks every value and says where one is wrong.
Left out: the files that the manifest names (folder.py).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from msgspec import Meta, Struct

from qa_onnx.engines.names import PRECISIONS
from qa_onnx.errors import BundleError, BundleFormatError
from qa_onnx.options import BOUNDS

FORMAT = "qa-onnx bundle"
FORMAT_VERSION = (1, 2)  # the newest that this release reads
_WITH_DATA = (1, 2)  # the format that introduced weights in a file beside the graph

Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
NAMED_BY_CONTENT = r"^(model|weights|tokenizer|golden)-[0-9a-f]{16}\.(onnx|data|json)\Z"
FileName = Annotated[str, Meta(pattern=NAMED_BY_CONTENT)]
Temperature = Annotated[float, Meta(ge=BOUNDS["temperature"].low, le=BOUNDS["temperature"].high)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the bundle: its name, its size in bytes, and the SHA-256 of its content in hexadecimal."""

    name: FileName
    size: Natural
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Parity:
    """Differences between a graph's logits and the source model's, over real text of several lengths.

    Attributes:
        reference: what ran the source model, such as "PyTorch 2.13.0".
        windows: number of windows compared, in batches of mixed length.
        max_abs: largest absolute difference of a start or end logit, excluding padding.
        mean_abs: mean absolute difference, excluding padding.
        same_best_span: share of the windows whose best span is the same, 0 to 1.
    """

    reference: str
    windows: Natural
    max_abs: float
    mean_abs: float
    same_best_span: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Scores over a data set, in per cent, with 95 % bootstrap intervals."""

    em: float
    f1: float
    em_interval: tuple[float, float]
    f1_interval: tuple[float, float]


class Receipt(Struct, frozen=True, omit_defaults=True):
    """Evaluation record of a graph: its accuracy, the data, and the settings.

    All scores are those of always answering, so that they compare graphs and not null thresholds.

    Attributes:
        data: name of the data set.
        sha256: of its file.
        n: number of questions.
        seed: of the sample, if `n` is less than all questions, and of the bootstrap.
        accuracy: of this graph, end to end.
        fp32: of the float32 graph, on the same questions.
        source: of the source model, on the same questions.
        source_name: what ran the source model, such as "PyTorch 2.13.0".
        engine: backend that ran the graph, as "engine/device".
        gate: required F1, in per cent of fp32's.
        attempts: number of graphs measured until one passed the gate, including this one.
        kept_back: nodes left in a higher precision, and why: to pass the gate, or not to overflow.
        settings: of the calibration, if there was one. `f1_by_characters` is the number of questions whose texts
            have no blanks between words, so that their F1 is that of characters; it is absent if there are none.
        instruction_sets: of the CPU that ran the evaluation.
        versions: of the packages that made the graph.
        date: UTC, ISO 8601.
        f1_change_interval: 95 % interval of this graph's F1 minus fp32's, in points, by a paired bootstrap; None
            for the float32 graph, and for bundles of earlier releases.
    """

    data: str
    sha256: str
    n: Natural
    seed: Natural
    accuracy: Accuracy
    fp32: Accuracy
    source: Accuracy
    source_name: str
    engine: str
    gate: float
    attempts: Natural
    kept_back: tuple[str, ...]
    settings: dict[str, Any]
    instruction_sets: tuple[str, ...]
    versions: dict[str, str]
    date: str
    f1_change_interval: tuple[float, float] | None = None

    @property
    def percent_of_fp32(self) -> float:
        """F1 in per cent of the float32 graph's."""
        return 100 * self.accuracy.f1 / self.fp32.f1 if self.fp32.f1 else 100.0


class Graph(Struct, frozen=True, omit_defaults=True, rename={"backends": "engines"}):  # as the format says
    """One precision of the model.

    Attributes:
        file: the ONNX file; precisions that differ only in how it is computed share one.
        golden: examples and their logits, computed with this graph at export.
        kind: "plain", standard ONNX only, or "fused", with nodes of ONNX Runtime's com.microsoft domain.
        fused_nodes: number of nodes of each fused operator.
        backends: that can run it, as "engine/device".
        parity: None if there was no source model to compare with (a finished ONNX file).
        receipt: None if it was exported without evaluation data.
        data: its weights, if they do not fit into the ONNX file, which names this file; None: they are in it.
    """

    file: FileEntry
    golden: FileEntry
    kind: Literal["plain", "fused"]
    fused_nodes: dict[str, Natural]
    backends: tuple[str, ...]
    parity: Parity | None
    receipt: Receipt | None
    data: FileEntry | None = None

    @property
    def size(self) -> int:
        """Bytes of the graph and its weights."""
        return self.file.size + (self.data.size if self.data else 0)


@dataclass(frozen=True, slots=True)
class Source:
    """The model that the bundle was made of.

    Attributes:
        name: of the checkpoint.
        kind: "checkpoint", or "onnx" for a finished ONNX model.
        revision: of the repository on the hub, if it came from there.
        sha256: of the weights; all exports into one bundle must have the same.
    """

    name: str
    kind: Literal["checkpoint", "onnx"]
    revision: str | None
    sha256: str


class Architecture(TypedDict):
    """Shape of the model; a count is 0 where it is unknown."""

    model_type: str
    layers: Natural
    heads: Natural
    hidden_size: Natural
    parameters: Natural


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers of similar probability: how many, their mean probability, and the share that was exactly right."""

    n: Natural
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Confidence:
    """Calibration record of the temperature and the null threshold, which all precisions use.

    Fitted and checked with the float32 graph, on different questions. `ece_before` and `ece_after` are expected
    calibration errors in per cent at temperature 1 and at the bundle's; `before` and `after` are the points of the
    reliability plots. An answer is right where it overlaps a right one (evaluation/calibration.py).
    """

    fitted_on: str
    fitted_n: Natural
    checked_on: str
    checked_n: Natural
    ece_before: float
    ece_after: float
    before: tuple[ReliabilityBin, ...]
    after: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of bundle.json.

    Attributes:
        source: the model that it was made of.
        architecture: shape of the model.
        max_length: default number of tokens of a window.
        max_positions: largest number of tokens that the model can read.
        inputs: names of the graphs' inputs.
        pad_id: token id that pads a batch.
        cls_id: token id whose logits score "no answer".
        tokenizer: the tokenizer's file.
        graphs: by precision.
        temperature: divides scores before they become probabilities of distinct answers.
        null_threshold: see `Options.null_threshold`; None: not calibrated, always answer.
        confidence: calibration record of these two; None: not calibrated.
        versions: of the packages that made it.
        created: UTC date and time, ISO 8601.
    """

    source: Source
    architecture: Architecture
    max_length: Natural
    max_positions: Natural
    inputs: tuple[str, ...]
    pad_id: Natural
    cls_id: Natural
    tokenizer: FileEntry
    graphs: dict[str, Graph]
    temperature: Temperature
    null_threshold: float | None
    confidence: Confidence | None
    versions: dict[str, str]
    created: str

    @property
    def format_version(self) -> tuple[int, int]:
        """The oldest format that has all its precisions and files: major, minor."""
        with_data = [_WITH_DATA for graph in self.graphs.values() if graph.data]
        return max([(1, 0), *with_data, *(PRECISIONS[name].since for name in self.graphs)])

    @property
    def receipts(self) -> dict[str, Receipt]:
        """The receipts that there are, by precision."""
        return {name: graph.receipt for name, graph in self.graphs.items() if graph.receipt}

    def files(self) -> tuple[FileEntry, ...]:
        """Return every file that the manifest names, once each."""
        graphs = [entry for graph in self.graphs.values() for entry in (graph.file, graph.data, graph.golden)]
        return tuple(dict.fromkeys([self.tokenizer, *filter(None, graphs)]))

    def to_json(self) -> str:
        """Return the text of bundle.json."""
        version = ".".join(map(str, self.format_version))
        content = {"format": FORMAT, "format_version": version, **msgspec.to_builtins(self)}
        return json.dumps(content, indent=1) + "\n"


def decode_manifest(data: bytes, name: str) -> Manifest:
    """Return the manifest that the bytes of bundle.json hold; unknown keys are ignored.

    Args:
        data: the whole file.
        name: of the file, for errors.

    Raises:
        BundleFormatError: the format is newer.
        BundleError: it is not the manifest of a bundle, or it is damaged; the message names the field.
    """
    try:
        header = msgspec.json.decode(data, type=dict[str, Any])
        if header.get("format") != FORMAT:
            raise BundleError(f"{name} is not the manifest of a bundle: it does not say format {FORMAT!r}")
        _check_version(name, header.get("format_version"))
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.ValidationError as error:
        problem = f"{name} is damaged: {error!s:.200}"
        raise BundleError(problem, remedy="export it again, or fetch it again") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BundleError(f"{name} is not JSON: {error!s:.200}") from error
    unknown = manifest.graphs.keys() - set(PRECISIONS)
    if unknown or not manifest.graphs:
        names = ", ".join(manifest.graphs) or "none"
        raise BundleError(f"{name} is damaged: its precisions are {names:.80}, known are {', '.join(PRECISIONS)}")
    return manifest


def _check_version(name: str, version: object) -> None:
    match = re.fullmatch(r"([1-9]\d{0,3})\.(\d{1,4})", version) if isinstance(version, str) else None
    if match is None:
        raise BundleError(f"{name} is damaged: format_version is {version!r:.80}")
    if (int(match[1]), int(match[2])) > FORMAT_VERSION:
        problem = f"{name} has format {version}; this release reads up to {'.'.join(map(str, FORMAT_VERSION))}"
        raise BundleFormatError(problem, remedy="pip install --upgrade qa-onnx")
