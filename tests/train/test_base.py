"""Models to train: encoders and question answering models, loaded safely and saved."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import ExportError, TrainError
from qa_onnx.train import TrainSettings
from qa_onnx.train.base import Base, load_base
from tests import tiny
from tests.exports import checkpoint, copy, edit_json, open_and_load
from tests.trained import strip_head

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.export

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def load(folder: Path, **settings: Any) -> Base:
    return load_base(str(folder), TrainSettings(**{"max_length": 96, **settings}))


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_all_kinds_load_in_float32_without_dropout_and_keep_their_config(kind: str, tmp_path: Path) -> None:
    base = load(checkpoint(kind))
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.float32}
    assert base.fresh == ()
    assert {module.p for module in base.model.modules() if isinstance(module, torch.nn.Dropout)} <= {0.0}
    before = json.loads((checkpoint(kind) / "config.json").read_bytes())
    base.save(tmp_path / "saved")
    after = json.loads((tmp_path / "saved" / "config.json").read_bytes())
    assert {k: v for k, v in after.items() if "dropout" in k} == {
        k: v for k, v in before.items() if "dropout" in k
    }
    model, facts = open_and_load(tmp_path / "saved")
    for ours, theirs in zip(base.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert facts.tokenizer_json == open_and_load(checkpoint(kind))[1].tokenizer_json


def test_dropout_is_of_hidden_states_and_never_of_attention() -> None:
    base = load(checkpoint("bert"), dropout=0.25)
    rates = {name: m.p for name, m in base.model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {rate for name, rate in rates.items() if "attention.self" in name} == {0.0}
    assert {rate for name, rate in rates.items() if "attention.self" not in name} == {0.25}


def test_a_bare_encoder_gets_a_head_by_seed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = strip_head(copy(checkpoint("bert"), tmp_path / "encoder"))
    state = torch.random.get_rng_state()
    with caplog.at_level(logging.INFO, "qa_onnx"):
        one, same, other = (load(folder, seed=seed) for seed in (1, 1, 2))
    assert one.fresh == ("qa_outputs.bias", "qa_outputs.weight")
    assert torch.equal(one.model.qa_outputs.weight, same.model.qa_outputs.weight)
    assert not torch.equal(one.model.qa_outputs.weight, other.model.qa_outputs.weight)
    assert "a new head is trained" in caplog.text
    assert torch.equal(torch.random.get_rng_state(), state)  # the host's
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(one.model.get_parameter(query), load(checkpoint("bert")).model.get_parameter(query))


def test_an_unsafe_or_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    hole = strip_head(copy(checkpoint("bert"), tmp_path / "hole"), keep="bert.encoder")
    edit_json(hole / "config.json", lambda content: content.update(vocab_size=32, max_position_embeddings=32))
    with pytest.raises(TrainError, match=r"lacks \d+ weights of the encoder, such as bert\.embeddings.*damaged"):
        load(hole)
    edit_json(hole / "config.json", lambda content: content.update(model_type="abacus"))
    with pytest.raises(ExportError, match="transformers cannot read"):
        load(hole)
    (hole / "model.safetensors").rename(hole / "pytorch_model.bin")
    with pytest.raises(ExportError, match=r"only pytorch_model\.bin, a pickle, which may run any code"):
        load(hole)


@pytest.mark.parametrize("labels", [1, 3])
def test_the_encoder_of_a_classifier_is_a_base(labels: int, tmp_path: Path) -> None:
    folder = copy(checkpoint("bert"), tmp_path / "classifier")
    config = transformers.AutoConfig.from_pretrained(folder)
    config.num_labels = labels
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    model = load(folder).model
    assert model.qa_outputs.out_features == 2
    assert model(torch.tensor([[2, 5, 3]])).end_logits.shape == (1, 3)
