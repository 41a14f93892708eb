"""SourceModel: where the two roads into a bundle, PyTorch checkpoints and finished ONNX models, meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.bundle.manifest import Architecture, Source


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A float32 ONNX graph with its tokenizer, and what is known of the model.

    Attributes:
        source: where it comes from.
        path: the graph's file.
        tokenizer_json: the tokenizer as JSON.
        inputs: names that the graph declares.
        pad_id: token id that pads a batch.
        cls_id: token id whose logits score "no answer".
        max_positions: tokens that it reads at most.
        model_type: as transformers names the kind of model; "unknown" if nothing tells.
        layers: how many; 0 if unknown, likewise the next two.
        heads: attention heads a layer.
        hidden_size: of a token's vector.
        parameters: how many weights.
    """

    source: Source
    path: Path
    tokenizer_json: str
    inputs: tuple[str, ...]
    pad_id: int
    cls_id: int
    max_positions: int
    model_type: str
    layers: int
    heads: int
    hidden_size: int
    parameters: int

    def architecture(self) -> Architecture:
        """The record for the manifest."""
        return {
            "model_type": self.model_type,
            "layers": self.layers,
            "heads": self.heads,
            "hidden_size": self.hidden_size,
            "parameters": self.parameters,
        }
