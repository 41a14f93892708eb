"""The loss and its gradient, compared with those of PyTorch."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx.batches import pad
from qa_onnx.train.loss import span_loss
from qa_onnx.train.trainer import add_gradients
from tests import tiny, training_data
from tests.trained import make_job

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.export, pytest.mark.cpu]

torch = pytest.importorskip("torch")


def test_it_is_the_mean_of_both_cross_entropies_over_context_and_cls() -> None:
    torch.manual_seed(0)
    start, end = torch.randn(2, 9), torch.randn(2, 9)
    spans = torch.tensor([[4, 6, 3, 6, 0], [0, 0, 5, 8, 0]])
    expected = 0.0
    for row, (s, e, first, last, cls) in enumerate(spans.tolist()):
        choice = [cls, *range(first, last + 1)]
        for logits, target in ((start[row], s), (end[row], e)):
            expected -= float(torch.log_softmax(logits[choice], 0)[choice.index(target)]) / 2
    assert float(span_loss(start, end, spans)) == pytest.approx(expected, rel=1e-6)


def test_what_inference_does_not_choose_from_has_no_gradient() -> None:
    logits = torch.randn(1, 8, requires_grad=True)
    span_loss(logits, logits.detach(), torch.tensor([[3, 3, 3, 5, 0]])).backward()
    assert logits.grad is not None
    assert logits.grad[0].nonzero().flatten().tolist() == [0, 3, 4, 5]


def test_an_empty_context_leaves_cls_alone() -> None:
    assert float(span_loss(torch.randn(1, 5), torch.randn(1, 5), torch.tensor([[0, 0, 3, 2, 0]]))) == 0.0


# float32 has 24 bits, and a sum in another order differs in the last few. bfloat16 has 8, so each rounding is off
# by up to 2**-9; the loss is a mean of many values, a gradient has passed a dozen roundings.
@pytest.mark.parametrize(
    ("bf16", "loss_error", "error"),
    [
        pytest.param(False, 1e-5, 1e-5, id="float32"),
        pytest.param(True, 2**-8, 12 * 2**-9, id="bfloat16"),
    ],
)
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_the_gradients_of_parts_add_up_to_that_of_the_whole_batch(
    kind: str, bf16: bool, loss_error: float, error: float, tmp_path: Path
) -> None:
    data = training_data.write(tmp_path / "data.json", articles=20)
    job = make_job(data, kind=kind, batch_tokens=100, bf16=bf16)
    plain: Any = copy.deepcopy(job.base.model)
    indices = list(range(0, 24))
    loss = add_gradients(job, indices)

    order = sorted(indices, key=lambda index: -np.diff(job.features.bounds)[index])
    ids, types = job.features.rows(order)
    inputs = pad(ids, types, input_names=job.base.inputs, pad_id=job.base.pad_id)
    out = plain(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    spans = torch.from_numpy(job.features.spans[order]).long()
    expected = span_loss(out.start_logits, out.end_logits, spans) / len(indices)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=loss_error)
    # Some gradients are zero but for rounding, such as a key's bias: all are compared on the largest one's scale.
    scale = max(float(weight.grad.abs().max()) for weight in plain.parameters() if weight.grad is not None)
    for (name, ours), theirs in zip(job.base.model.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is None:
            assert ours.grad is None, name
        else:
            torch.testing.assert_close(ours.grad / scale, theirs.grad / scale, atol=error, rtol=0, msg=name)
