"""Runners of the rivals around stand-ins for their packages: all that is ours of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from field import calibration_file
from others import FIELD, Rival

from qa_onnx import EngineError, Example
from qa_onnx.bench.process import ContenderProcess
from tests.exports import PAIRS, checkpoint

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

# In place of others' packages: they take any call, and a pipeline answers with a context's first word.
STAND_INS = """
import runpy, sys
from types import SimpleNamespace
from unittest.mock import MagicMock
for name in {modules}:
    sys.modules[name] = MagicMock()
def asker(question, context, **options):
    return [dict(answer=text.split()[0]) for text in context]
sys.modules["transformers"].pipeline = lambda task, model, tokenizer: asker
sys.modules["openvino"].Core.return_value.get_property.return_value = ["FP32", "BF16"]
sys.modules["haystack"].Document = lambda content: content
class Reader(MagicMock):
    def run(self, query, documents):
        return dict(answers=[SimpleNamespace(data=documents[0].split()[0])])
sys.modules["haystack_integrations.components.readers.transformers"].TransformersExtractiveReader = Reader
sys.argv = sys.argv[1:]
sys.path.insert(0, {rivals!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""
FOREIGN = (
    "haystack", "haystack.utils", "haystack_integrations.components.readers.transformers", "nncf", "onnxruntime",
    "openvino", "optimum.intel", "optimum.onnxruntime", "optimum.onnxruntime.configuration", "torch",
    "transformers",
)  # fmt: skip


def order_for(rival: Rival, model: Path, folder: Path) -> str:
    order = {"checkpoint": model, "variant": rival.variant, "cache": folder / "cache"}
    calibration = calibration_file(folder / "calibration.jsonl")
    return json.dumps({**order, "calibration": calibration, "threads": 1}, default=str)


@pytest.mark.parametrize("rival", [one for one in FIELD if not one.in_reader], ids=lambda rival: rival.name)
def test_a_runner_around_stand_ins(tmp_path: Path, rival: Rival) -> None:
    """What it is told, keeps and replies."""
    code = STAND_INS.format(modules=FOREIGN, rivals=str(BENCHMARKS / "rivals"))
    script = str(BENCHMARKS / "rivals" / rival.script)
    command = [sys.executable, "-S", "-c", code, script, order_for(rival, tmp_path, tmp_path)]
    with ContenderProcess(rival.name, command) as contender:
        reply = contender.ask({"pairs": [["Who?", "Ida came."], ["Who?", "Bo left."]]})
    assert contender.facts["threads"] == 1
    assert reply["answers"] == ["Ida", "Bo"]
    kept = [path.name for path in tmp_path.glob("cache/*")]
    assert not any(name.endswith(".partial") for name in kept)
    assert bool(kept) == rival.environment.startswith("optimum")


# In place of torchao and CTranslate2: the same model in PyTorch, neither quantized nor compiled.
IN_TORCH = """
import runpy, sys, torch
from importlib.machinery import ModuleSpec
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, BertForQuestionAnswering, BertModel
from types import SimpleNamespace
from unittest.mock import MagicMock
torch.compile = lambda model, **options: model
torch.cpu._is_avx512_bf16_supported = lambda: True
for name in ("torchao", "torchao.quantization", "torchao.quantization.pt2e", "torchao.quantization.pt2e.quantizer",
             "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer", "ctranslate2", "ctranslate2.converters",
             "torchao.quantization.pt2e.quantize_pt2e"):
    sys.modules[name] = MagicMock(__spec__=ModuleSpec(name, None))
pt2e = sys.modules["torchao.quantization.pt2e.quantize_pt2e"]
pt2e.prepare_pt2e, pt2e.convert_pt2e = lambda model, quantizer: model, lambda model: model
class Encoder:
    compute_type = "int8"
    def __init__(self, *_, **options):
        self.model = BertModel.from_pretrained({model!r}).eval()
    def forward_batch(self, ids, lengths, token_type_ids):
        mask = torch.arange(ids.shape[1])[None, :] < torch.tensor(lengths)[:, None]
        with torch.no_grad():
            out = self.model(torch.tensor(ids), mask.long(), token_type_ids=torch.tensor(token_type_ids))
        return SimpleNamespace(last_hidden_state=SimpleNamespace(to=lambda kind: out.last_hidden_state.numpy()))
foreign = sys.modules["ctranslate2"]
foreign.Encoder, foreign.StorageView.from_array = Encoder, lambda array: array
sys.argv = sys.argv[1:]
sys.path.insert(0, {rivals!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.parametrize("rival", [one for one in FIELD if one.in_reader], ids=lambda rival: rival.name)
def test_a_model_in_the_reader_answers_as_pytorch_does(tmp_path: Path, rival: Rival) -> None:
    """In bf16 scores differ a little, so the answers of a random model may."""
    model = checkpoint("bert")
    code = IN_TORCH.format(model=str(model), rivals=str(BENCHMARKS / "rivals"))
    script = str(BENCHMARKS / "rivals" / rival.script)
    command = [sys.executable, "-c", code, script, order_for(rival, model, tmp_path)]
    with ContenderProcess(rival.name, command) as contender:
        reply = contender.ask({"pairs": PAIRS})
        split = contender.ask({"do": "stages", "pairs": PAIRS, "options": {"batch_tokens": 64}})
    from qa_onnx.bench.torch_reader import torch_reader

    reader = torch_reader(str(model), threads=1)
    expected = [prediction.choose(None).text for prediction in reader.predict(Example(*pair) for pair in PAIRS)]
    exact = rival.environment == "ctranslate2" or "bf16" not in rival.variant
    assert len(reply["answers"]) == len(expected)
    assert reply["answers"] == expected or not exact
    assert split["stages"]["model"] > 0
    assert (split["padding"] == 0) == (rival.environment == "torchao")  # which runs each window alone
    assert not list(tmp_path.glob("cache/*.partial"))


@pytest.mark.export
@pytest.mark.slow
@pytest.mark.parametrize("variant", ["bf16", "int8-static-bf16"])
def test_bf16_is_not_run_where_it_would_be_emulated(tmp_path: Path, variant: str) -> None:
    code = IN_TORCH.format(model="", rivals=str(BENCHMARKS / "rivals"))
    code = code.replace("bf16_supported = lambda: True", "bf16_supported = lambda: False")
    rival = next(one for one in FIELD if (one.environment, one.variant) == ("torchao", variant))
    script = str(BENCHMARKS / "rivals" / rival.script)
    command = [sys.executable, "-c", code, script, order_for(rival, tmp_path, tmp_path)]
    with pytest.raises(EngineError, match="RuntimeError: this CPU has no instructions for bf16"):
        ContenderProcess(rival.name, command)
