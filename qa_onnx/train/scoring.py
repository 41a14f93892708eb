"""A model in training + held-out questions -> EM and F1, by the same road as `qa-onnx eval`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import EngineError
from qa_onnx.evaluation.evaluate import evaluate
from qa_onnx.reader import Reader
from qa_onnx.session import RUN_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from qa_onnx.data.squad import DataSet
    from qa_onnx.options import Options
    from qa_onnx.spans import Logits
    from qa_onnx.train.base import Base
    from qa_onnx.train.device import TorchDevice


@dataclass(frozen=True, slots=True)
class Score:
    """How well a model answers, in per cent.

    Attributes:
        em: exact match; with unanswerable questions, at the null threshold that is best for F1 and for EM.
        f1: likewise.
        has_answer_f1: of the questions that have an answer, always answering.
        n: questions asked.
    """

    em: float
    f1: float
    has_answer_f1: float | None
    n: int

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class _TorchSession:
    """The model as a `Session`, so that a Reader can ask it."""

    def __init__(self, base: Base, place: TorchDevice) -> None:
        self.input_names = base.inputs
        self.run_overhead = RUN_OVERHEAD[place.device]
        self.frees_host = place.device != "cpu"
        self._model = base.model
        self._place = place

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[Logits, Logits]:
        import torch

        try:
            with torch.inference_mode(), self._place.autocast():
                out = self._model(**self._place.tensors(inputs))
        except Exception as error:  # torch raises IndexErrors, RuntimeErrors, ...
            raise EngineError(f"PyTorch failed on input_ids {inputs['input_ids'].shape}: {error}") from error
        return out.start_logits.float().cpu().numpy(), out.end_logits.float().cpu().numpy()


def score(base: Base, place: TorchDevice, data: DataSet, options: Options) -> Score:
    """Ask a model all questions of a data set.

    Args:
        base: the model, which is left in evaluation mode.
        place: where and how products are computed.
        data: the questions.
        options: how contexts are cut.

    Raises:
        EngineError: the model's logits are not numbers.
    """
    base.model.eval()
    reader = Reader(
        session=_TorchSession(base, place), windower=base.windower, pad_id=base.pad_id, options=options
    )
    report = evaluate(reader, data)
    best = report.null_threshold
    return Score(
        em=report.em if best is None else best.best_em,
        f1=report.f1 if best is None else best.best_f1,
        has_answer_f1=report.has_answer.f1 if report.has_answer else None,
        n=report.n,
    )
