"""PyTorch as a contender reads as the exported graph does."""

from __future__ import annotations

import json
import sys

import pytest

from qa_onnx import Example, ExportError, Reader
from qa_onnx.bench.process import ContenderProcess
from tests.exports import PAIRS, checkpoint, exported

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("optimum")

from qa_onnx.bench.torch_reader import torch_reader

pytestmark = pytest.mark.export
EXAMPLES = [Example(*pair) for pair in PAIRS]


def test_fp32_gives_the_answers_and_scores_of_the_graph() -> None:
    expected = Reader.load(exported("bert").bundle, precision="fp32", threads=1).predict(EXAMPLES)
    found = torch_reader(str(checkpoint("bert")), max_length=128).predict(EXAMPLES)
    for one, other in zip(found, expected, strict=True):
        assert [answer.text for answer in one.answers[:1]] == [answer.text for answer in other.answers[:1]]
        assert one.answers[0].score == pytest.approx(other.answers[0].score, abs=1e-4)


def test_bf16_is_near_it_and_not_the_same() -> None:
    exact = torch_reader(str(checkpoint("bert")), max_length=128).predict(EXAMPLES)
    rough = torch_reader(str(checkpoint("bert")), precision="bf16", max_length=128).predict(EXAMPLES)
    differences = [abs(one.null_score - other.null_score) for one, other in zip(exact, rough, strict=True)]
    assert 0 < max(differences) < 0.1


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, as its compiler is imported
@pytest.mark.parametrize("compiled", [False, True])
def test_it_uses_fast_attention_and_is_compiled_where_wanted(compiled: bool) -> None:
    """Not run compiled: that takes a C++ compiler and a minute."""
    from torch._dynamo import OptimizedModule

    run = torch_reader(str(checkpoint("bert")), compiled=compiled).steps.session.run
    model = run.__closure__[0].cell_contents if run.__closure__ else None
    assert model is not None
    assert model.config._attn_implementation == "sdpa"
    assert isinstance(model, OptimizedModule) is compiled


def test_it_answers_in_a_process_of_its_own() -> None:
    arguments = {"torch": {"checkpoint": str(checkpoint("bert")), "threads": 1, "max_length": 128}}
    command = [sys.executable, "-m", "qa_onnx.bench.answerer", json.dumps(arguments)]
    expected = torch_reader(str(checkpoint("bert")), max_length=128).predict(EXAMPLES)
    with ContenderProcess("PyTorch", command) as contender:
        reply = contender.ask({"pairs": PAIRS})
        split = contender.ask({"do": "stages", "pairs": PAIRS})
    assert reply["answers"] == [prediction.choose(None).text for prediction in expected]
    assert split["windows"] >= len(PAIRS)
    assert 0 <= split["padding"] < 1


def test_what_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(ExportError, match="neither a folder nor the id"):
        torch_reader("./nowhere")
