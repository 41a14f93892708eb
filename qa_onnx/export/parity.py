"""Compare a graph with its source model on real text.

Windows of one token to `max_length` tokens share ragged batches, since a graph that mishandles padding may agree
on single rows. Logits of padding are not compared.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from operator import eq
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from qa_onnx import spans
from qa_onnx.batches import Batch, pack
from qa_onnx.bundle.manifest import Parity
from qa_onnx.errors import BundleError, EngineError, ExportError, ParityError
from qa_onnx.export.graph import quiet
from qa_onnx.export.texts import PARITY_EXAMPLES
from qa_onnx.options import Options
from qa_onnx.session import RUN_OVERHEAD
from qa_onnx.windows import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from qa_onnx.export.model import SourceModel
    from qa_onnx.session import Session
    from qa_onnx.spans import Logits
    from qa_onnx.windows import Window, Windower

    Runner: TypeAlias = Callable[[Mapping[str, NDArray[np.int64]]], tuple[Logits, Logits]]

_LOG = logging.getLogger(__name__)

FP32_TOLERANCE = 1e-3
_ROWS = 4
_LONGEST = 4096  # tokens; the scores of one window in eager attention take heads x 67 MB there


@dataclass(frozen=True, slots=True)
class Reference:
    """Batches of text with the source model's logits.

    Attributes:
        name: of the source model's runtime.
        logits: each batch with its start and end logits, float32 (B, T) each.
    """

    name: str
    logits: tuple[tuple[Batch, Logits, Logits], ...]


def reference(name: str, session: Session, model: SourceModel, max_length: int) -> Reference:
    """Run the source model over windows of real text, up to `max_length` tokens, and over its longest window.

    The long one comes first: after a short text, some kinds of models compute long ones in another way for good.

    Args:
        name: of the source model's runtime, for the record.
        session: runs it; the model has seen no text yet.
        model: its tokenizer and inputs.
        max_length: tokens of the longest windows but that one.

    Raises:
        ExportError: the source model fails on them.
    """
    try:
        batches = _batches(model, max_length)
        with quiet():
            runs = tuple((batch, *session.run(batch.inputs)) for batch in batches)
            moved = padding_effect(session, runs)
    except (BundleError, EngineError) as error:
        raise ExportError(f"{model.source.name} does not read text: {error}") from error
    if moved > FP32_TOLERANCE:
        _LOG.warning(
            "padding moves the logits of %s by up to %.2g: its answers depend on the other texts of their batch",
            *(model.source.name, moved),
        )
    return Reference(name, runs)


def _batches(model: SourceModel, max_length: int) -> list[Batch]:
    """Return windows of real text in batches, the longest alone in the first, the others unsorted."""
    windower = model.windower
    windows, longest = _windows(windower, max_length), min(model.max_positions, _LONGEST)
    groups = [windows[start : start + _ROWS] for start in range(0, len(windows), _ROWS)]
    if longest > max_length:
        groups.insert(0, [_full_window(windower, longest)])
    if model.max_positions > _LONGEST:
        _LOG.warning("%s reads %d tokens; %d are compared", model.source.name, model.max_positions, _LONGEST)
    batches: list[Batch] = []
    for rows in groups:
        tokens = len(rows) * max(len(window.input_ids) for window in rows)
        batches += pack(rows, batch_tokens=tokens, input_names=model.inputs, pad_id=model.pad_id)
    return batches


def padding_effect(session: Session, runs: Sequence[tuple[Batch, Logits, Logits]]) -> float:
    """Return the largest change of a logit when the shortest row of a batch is run alone, without padding."""
    worst = 0.0
    for batch, start, end in runs[-_ROWS:]:
        lengths = [len(window.input_ids) for window in batch.windows]
        row, length = int(np.argmin(lengths)), min(lengths)
        alone = session.run({name: array[row : row + 1, :length] for name, array in batch.inputs.items()})
        together = (start[row : row + 1, :length], end[row : row + 1, :length])
        worst = max(worst, float(np.abs(np.stack(alone) - np.stack(together)).max()))
    return worst


@dataclass(frozen=True, slots=True)
class RunnerSession:
    """A function from arrays to logits as a `Session`."""

    input_names: tuple[str, ...]
    run: Runner
    run_overhead: int = RUN_OVERHEAD["cpu"]
    leaves_cpu_idle: bool = False


def torch_runner(model: Any) -> Runner:
    """Return a function from arrays to float32 logits that runs a PyTorch model on its device."""
    import torch

    def run(inputs: Mapping[str, NDArray[np.int64]]) -> tuple[Logits, Logits]:
        try:
            with torch.inference_mode():
                out = model(**{name: torch.from_numpy(array).to(model.device) for name, array in inputs.items()})
        except Exception as error:  # torch raises IndexErrors, RuntimeErrors, ...
            ids = inputs["input_ids"]
            raise EngineError(f"PyTorch failed on input_ids {ids.shape} up to {ids.max()}: {error}") from error
        return out.start_logits.float().cpu().numpy(), out.end_logits.float().cpu().numpy()

    return run


def compare(expected: Reference, session: Session) -> Parity:
    """Run a graph over the reference's batches and measure the differences of its logits.

    Raises:
        ParityError: a logit of the graph is infinite or not a number.
    """
    worst, total, values, same, windows = 0.0, 0.0, 0, 0, 0
    for batch, start, end in expected.logits:
        graph_start, graph_end = session.run({name: batch.inputs[name] for name in session.input_names})
        difference = np.abs(np.stack((graph_start - start, graph_end - end))[:, real_tokens(batch)])
        if not np.isfinite(difference).all():
            raise ParityError("the graph's logits are infinite or not a number")
        worst = max(worst, float(difference.max()))
        total += float(difference.sum())
        values += difference.size
        ours, theirs = _best(batch, graph_start, graph_end), _best(batch, start, end)
        same += sum(map(eq, ours, theirs))
        windows += len(batch.windows)
    return Parity(expected.name, windows, worst, total / values, same / windows)


def require_fp32(parity: Parity) -> None:
    """Refuse a float32 graph that does not compute the same function as its source.

    Raises:
        ParityError: a logit differs by more than `FP32_TOLERANCE`.
    """
    if parity.max_abs > FP32_TOLERANCE:
        raise ParityError(
            f"the fp32 graph's logits differ from {parity.reference}'s by up to {parity.max_abs:.2g} over "
            f"{parity.windows} windows, with the same best span in {parity.same_best_span:.0%}; at most "
            f"{FP32_TOLERANCE:g} is allowed: torch does not export this kind of model correctly"
        )


def real_tokens(batch: Batch) -> NDArray[np.bool_]:
    """Return the mask of the tokens of a batch that are not padding: bool (B, T)."""
    lengths = np.array([len(window.input_ids) for window in batch.windows])
    mask: NDArray[np.bool_] = np.arange(lengths.max()) < lengths[:, None]
    return mask


def _windows(windower: Windower, max_length: int) -> list[Window]:
    """Return windows of the full length and of a third of it, which cuts a text into many short ones."""
    windows: list[Window] = []
    for length in (max_length, max(max_length // 3, min(max_length, 24))):
        for example in windower.cut(PARITY_EXAMPLES, _options(windower, length)):
            windows.extend(example.windows)
    return windows


def _full_window(windower: Windower, length: int) -> Window:
    """Return a window of so many tokens of real text."""
    text = "\n\n".join(example.context for example in PARITY_EXAMPLES)
    question = PARITY_EXAMPLES[-2].question
    while True:
        (example,) = windower.cut([Example(question, text)], _options(windower, length))
        if len(example.windows) > 1:
            return example.windows[0]
        text += f"\n\n{text}"


def _options(windower: Windower, length: int) -> Options:
    """Return options for windows of a length, of which the question and the overlap may take a third each."""
    part = (length - len(windower.template)) // 3
    return Options(max_length=length, max_question_length=max(1, part), doc_stride=max(0, part - 1))


def _best(batch: Batch, start: Logits, end: Logits) -> list[list[tuple[int, int]]]:
    """Return the first and last token of the best span of each window; none where its context is empty."""
    rows = [spans.WindowLogits(*row) for row in zip(batch.windows, start, end, strict=True)]
    best_of_window = spans.best_spans(spans.ContextLogits.of(rows, max_answer_length=30), n_best=1)
    return [[(span.first, span.last) for span in best] for best in best_of_window]
