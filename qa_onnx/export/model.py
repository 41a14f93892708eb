"""SourceModel: the common form of PyTorch checkpoints and finished ONNX models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qa_onnx.engines.names import backends_of
from qa_onnx.engines.sessions import open_session
from qa_onnx.errors import BundleError, ExportError
from qa_onnx.reader import Reader
from qa_onnx.windows import Windower

if TYPE_CHECKING:
    from pathlib import Path

    from qa_onnx.bundle.manifest import Architecture, Source
    from qa_onnx.options import Options
    from qa_onnx.session import Session


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A float32 ONNX graph with its tokenizer and the facts about the model.

    Attributes:
        source: where it comes from.
        path: the graph's file.
        tokenizer_json: the tokenizer as JSON.
        windower: cuts windows with that tokenizer.
        inputs: names that the graph declares.
        pad_id: token id that pads a batch.
        cls_id: token id whose logits score "no answer".
        max_positions: the most tokens that the model reads.
        architecture: kind and sizes of the model, for the manifest; the kind may be "unknown".
        weights_sha256: of a checkpoint's weights alone, which was the hash of a source in earlier bundles.
    """

    source: Source
    path: Path
    tokenizer_json: str
    windower: Windower
    inputs: tuple[str, ...]
    pad_id: int
    cls_id: int
    max_positions: int
    architecture: Architecture
    weights_sha256: str | None = None

    def reader(self, session: Session, options: Options) -> Reader:
        """Make a reader that answers with a session of this model."""
        return Reader(session=session, windower=self.windower, pad_id=self.pad_id, options=options)

    def open(self, path: Path, precision: str) -> Session:
        """Open a graph of this model in the backend that its precision is measured on."""
        return open_session(
            path,
            backend=backends_of(precision)[0],
            inputs=self.inputs,
            longest=self.max_positions,
            precision=precision,
            pad_id=self.pad_id,
        )


def make_windower(name: str, tokenizer_json: str, cls_id: int) -> Windower:
    """Return a windower with the tokenizer of a model.

    Raises:
        ExportError: it does not make pairs of question and context.
    """
    try:
        return Windower(tokenizer_json, cls_id=cls_id)
    except BundleError as error:
        raise ExportError(f"{name} does not read text: {error}") from error
