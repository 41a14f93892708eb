"""What was measured of a bundle: the receipt of each graph, and how far its probabilities can be trusted.

Written by the exporter, kept in bundle.json, read by `Reader.load(min_f1=...)`, `inspect` and `report`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qa_onnx.bundle import fields


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Scores of one way to run the model over a data set, in per cent.

    Attributes:
        em: exact match.
        f1: F1.
        em_interval: 95 % bootstrap interval of em.
        f1_interval: likewise of f1.
    """

    em: float
    f1: float
    em_interval: tuple[float, float]
    f1_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof that a graph answers well: what was measured, on what, with what.

    All scores are those of always answering, so that graphs are compared and not thresholds.

    Attributes:
        data: name of the data set.
        sha256: of its file.
        n: how many of its questions were asked.
        seed: of their choice, where they are not all, and of the bootstrap.
        accuracy: of this graph, text to answer.
        fp32: of the float32 graph, over the same questions.
        source: of the source model in its own runtime, likewise.
        source_name: that runtime.
        engine: what ran the graph, as "engine/device".
        gate: what per cent of fp32's F1 was asked for.
        attempts: how many graphs were measured until one reached it, this one included.
        kept_back: nodes that stayed in a higher precision, and why: to pass the gate, or not to overflow.
        settings: how the graph was calibrated, where it was.
        instruction_sets: of the CPU that it was measured on.
        versions: of the packages that made it.
        date: UTC, ISO 8601.
    """

    data: str
    sha256: str
    n: int
    seed: int
    accuracy: Accuracy
    fp32: Accuracy
    source: Accuracy
    source_name: str
    engine: str
    gate: float
    attempts: int
    kept_back: tuple[str, ...]
    settings: dict[str, Any]
    instruction_sets: tuple[str, ...]
    versions: dict[str, str]
    date: str

    @property
    def percent_of_fp32(self) -> float:
        """Share of the float32 graph's F1 that is left, in per cent."""
        return 100 * self.accuracy.f1 / self.fp32.f1 if self.fp32.f1 else 100.0


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers of like probability: how many, their mean probability, and the share that was exactly right."""

    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Confidence:
    """How the bundle's temperature and null threshold were found, and what they do to its probabilities.

    Fitted and checked with the float32 graph; all precisions use them.

    Attributes:
        fitted_on: name of the data set that they were fitted on.
        fitted_n: how many of its questions.
        checked_on: name of the data set that the rest was measured on, other questions.
        checked_n: how many.
        ece_before: expected calibration error at temperature 1, in per cent.
        ece_after: at the bundle's temperature.
        before: the reliability plot's points at temperature 1.
        after: at the bundle's temperature.
    """

    fitted_on: str
    fitted_n: int
    checked_on: str
    checked_n: int
    ece_before: float
    ece_after: float
    before: tuple[ReliabilityBin, ...]
    after: tuple[ReliabilityBin, ...]


def read_receipt(content: dict[str, Any]) -> Receipt:
    """Read a receipt from bundle.json; raises as `fields` does."""
    return Receipt(
        data=fields.string(content["data"]),
        sha256=fields.string(content["sha256"]),
        n=fields.integer(content["n"]),
        seed=fields.integer(content["seed"]),
        accuracy=_accuracy(content["accuracy"]),
        fp32=_accuracy(content["fp32"]),
        source=_accuracy(content["source"]),
        source_name=fields.string(content["source_name"]),
        engine=fields.string(content["engine"]),
        gate=fields.number(content["gate"]),
        attempts=fields.integer(content["attempts"]),
        kept_back=fields.strings(content["kept_back"]),
        settings=dict(content["settings"]),
        instruction_sets=fields.strings(content["instruction_sets"]),
        versions={name: fields.string(version) for name, version in content["versions"].items()},
        date=fields.string(content["date"]),
    )


def _accuracy(content: dict[str, Any]) -> Accuracy:
    return Accuracy(
        fields.number(content["em"]),
        fields.number(content["f1"]),
        fields.pair(content["em_interval"]),
        fields.pair(content["f1_interval"]),
    )


def read_confidence(content: dict[str, Any]) -> Confidence:
    """Read the record of a calibration from bundle.json; raises as `fields` does."""
    return Confidence(
        fitted_on=fields.string(content["fitted_on"]),
        fitted_n=fields.integer(content["fitted_n"]),
        checked_on=fields.string(content["checked_on"]),
        checked_n=fields.integer(content["checked_n"]),
        ece_before=fields.number(content["ece_before"]),
        ece_after=fields.number(content["ece_after"]),
        before=_bins(content["before"]),
        after=_bins(content["after"]),
    )


def _bins(content: list[dict[str, Any]]) -> tuple[ReliabilityBin, ...]:
    return tuple(
        ReliabilityBin(
            fields.integer(item["n"]), fields.number(item["confidence"]), fields.number(item["accuracy"])
        )
        for item in content
    )
