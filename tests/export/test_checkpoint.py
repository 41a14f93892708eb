"""Checkpoints: what is read of them, and which are refused and how."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import Example, ExportError, InputError, MissingExtraError, Options, Reader, Windower
from qa_onnx.export import EvaluationSettings, export
from qa_onnx.export.locate import find_checkpoint
from tests import tiny
from tests.exports import (
    PAIRS,
    checkpoint,
    copy,
    edit_json,
    graph_path,
    load_torch,
    open_and_load,
    run_onnx,
    run_torch,
    without_tokenizer_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qa_onnx.export.model import SourceModel

pytestmark = pytest.mark.export

every_kind = pytest.mark.parametrize("kind", tiny.KINDS)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A copy of the tiny BERT's checkpoint, to spoil."""
    return copy(checkpoint("bert"), tmp_path / "bert")


def load(folder: Path | str) -> SourceModel:
    return open_and_load(folder)[1]


def shape_of(facts: SourceModel) -> tuple[str, int, int, int]:
    shape = facts.architecture
    return shape["model_type"], shape["layers"], shape["heads"], shape["hidden_size"]


# What is read


@every_kind
def test_the_facts_are_the_models(kind: str) -> None:
    model, facts = open_and_load(checkpoint(kind))
    assert not model.training
    assert {str(weight.dtype) for weight in model.parameters()} == {"torch.float32"}
    assert model.config._attn_implementation == "eager"
    assert shape_of(facts) == (kind, 2, 2, 32)
    roberta_like = kind in {"roberta", "xlm-roberta", "mpnet"}
    assert (facts.pad_id, facts.cls_id) == ((1, 0) if roberta_like else (0, 2))
    segments = {"bert", "electra", "albert"}
    assert ("token_type_ids" in facts.inputs) == (kind in segments)


@every_kind
def test_max_positions_is_what_the_model_can_read(kind: str, tmp_path: Path) -> None:
    """Kinds like RoBERTa count positions from the padding index on: two fewer tokens than embeddings."""
    folder = copy(checkpoint(kind), tmp_path / "unlimited")
    edit_json(folder / "tokenizer_config.json", lambda content: content.pop("model_max_length"))
    expected = 128 if kind in {"roberta", "xlm-roberta", "mpnet"} else 130
    assert load(folder).max_positions == expected
    ids = np.random.default_rng(1).integers(5, 60, (1, expected + 1))
    model = load_torch(folder)
    run_torch(model, {"input_ids": ids[:, 1:]})
    if kind not in {"deberta-v2", "modernbert"}:  # these two have relative positions
        with pytest.raises((IndexError, RuntimeError)):
            run_torch(model, {"input_ids": ids})


def test_a_window_of_max_positions_tokens_runs(tmp_path: Path) -> None:
    folder = copy(checkpoint("roberta"), tmp_path / "unlimited")
    edit_json(folder / "tokenizer_config.json", lambda content: content.pop("model_max_length"))
    bundle = export(folder, tmp_path / "bundle", precisions=("fp32",))
    assert bundle.manifest.max_length == bundle.manifest.max_positions == 128
    ids = np.random.default_rng(1).integers(5, 60, (2, 128))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    found = run_onnx(graph_path(bundle, "fp32"), inputs)
    np.testing.assert_allclose(found, run_torch(load_torch(folder), inputs), atol=1e-4, rtol=0)


def test_the_tokenizers_own_limit_counts(bert: Path, tmp_path: Path) -> None:
    edit_json(bert / "tokenizer_config.json", lambda content: content.update(model_max_length=64))
    assert load(bert).max_positions == 64
    with pytest.raises(ExportError, match="reads at most 64 tokens; at least 96"):
        export(bert, tmp_path / "bundle")


def ids_of(tokenizer_json: str) -> list[list[int]]:
    options = Options(max_length=64, doc_stride=12, max_question_length=32)
    windower = Windower(tokenizer_json)
    return [
        window.input_ids.tolist()
        for example in windower.cut([Example(*pair) for pair in PAIRS], options)
        for window in example.windows
    ]


def ids_of_transformers(folder: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    questions, contexts = map(list, zip(*PAIRS, strict=True))
    found: list[list[int]] = AutoTokenizer.from_pretrained(folder)(
        questions,
        contexts,
        truncation="only_second",
        max_length=64,
        stride=12,
        return_overflowing_tokens=True,
    )["input_ids"]
    return found


@every_kind
def test_windows_have_the_ids_that_transformers_gives(kind: str) -> None:
    assert ids_of(load(checkpoint(kind)).tokenizer_json) == ids_of_transformers(checkpoint(kind))


def test_a_tokenizer_without_tokenizer_json_is_converted(tmp_path: Path) -> None:
    folder = without_tokenizer_json(checkpoint("bert"), tmp_path / "plain")
    facts = load(folder)
    assert ids_of(facts.tokenizer_json) == ids_of_transformers(folder) == ids_of_transformers(checkpoint("bert"))
    assert (facts.pad_id, facts.cls_id) == (0, 2)


def test_padding_and_truncation_of_the_training_run_are_ignored(bert: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(bert / "tokenizer.json"))
    tokenizer.enable_padding(length=60)
    tokenizer.enable_truncation(20)
    tokenizer.save(str(bert / "tokenizer.json"))
    assert ids_of(load(bert).tokenizer_json) == ids_of_transformers(checkpoint("bert"))
    answer = Reader.load(export(bert, tmp_path / "bundle")).ask(*PAIRS[2])
    assert answer.text in PAIRS[2][1]


# What is refused


def only_pickle(folder: Path) -> None:
    import torch

    torch.save(load_torch(folder).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def bare_encoder(folder: Path) -> None:
    load_torch(folder).bert.save_pretrained(folder)


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def mixed_up(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 133\n")


def lora_adapter(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "config.json").rename(folder / "adapter_config.json")


def trainers_folder(folder: Path) -> None:
    for step in (20, 100, 3):
        (folder / f"checkpoint-{step}").mkdir()
    (folder / "model.safetensors").rename(folder / "checkpoint-100" / "model.safetensors")


def of_tensorflow(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tf_model.h5")


def of_another_kind(folder: Path) -> None:
    edit_json(folder / "config.json", lambda content: content.update(model_type="longformer", attention_window=16))


def three_outputs(folder: Path) -> None:
    model = load_torch(folder)
    model.config.num_labels = 3
    model.qa_outputs = type(model.qa_outputs)(32, 3)
    model.save_pretrained(folder)


def larger_vocabulary(folder: Path) -> None:
    edit_json(folder / "config.json", lambda content: content.update(vocab_size=5000))


def unknown_kind(folder: Path) -> None:
    edit_json(folder / "config.json", lambda content: content.update(model_type="abacus"))


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def slow_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    edit_json(folder / "tokenizer_config.json", lambda content: content.update(tokenizer_class="CanineTokenizer"))


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0"')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "is not a checkpoint: it has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is not usable JSON: Expecting"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no .safetensors, no weights"),
        (
            only_pickle,
            r"only pytorch_model\.bin, a pickle, which may run any code .* convert it: cd .*save_pretrained",
        ),
        (bare_encoder, r"lacks the weights qa_outputs\.bias, qa_outputs\.weight.*not fine-tuned.*BertModel"),
        (lora_adapter, r"is a LoRA adapter, .*merge_and_unload\(\)"),
        (
            trainers_folder,
            "the output folder of a Trainer, with 3 checkpoints: export its newest one, .*/checkpoint-100",
        ),
        (of_tensorflow, r"only tf_model\.h5, which transformers 5 does not read"),
        (of_another_kind, "of the kind longformer, which cannot be exported: all tokens attend to the question"),
        (three_outputs, "a head with 3 outputs for each token; a question answering head has 2"),
        (truncated, r"model\.safetensors is damaged: its tensors have \d+ bytes, the file holds"),
        (mixed_up, "is a pointer of Git LFS, not the file: run git lfs pull"),
        (larger_vocabulary, "has vocab_size 5000, and no weight has that size"),
        (unknown_kind, "abacus"),
        (no_tokenizer, "has no tokenizer"),
        (slow_tokenizer, "CanineTokenizer has no fast version"),
        (broken_tokenizer, r"tokenizer\.json cannot be read"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    bert: Path, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(bert)
    with pytest.raises(ExportError, match=message) as raised:
        export(bert, tmp_path / "bundle")
    assert "\n" not in str(raised.value)
    assert str(bert) in str(raised.value)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta"])
def test_a_folder_without_tokenizer_is_refused_for_every_sort_of_one(kind: str, tmp_path: Path) -> None:
    folder = copy(checkpoint(kind), tmp_path / kind)
    no_tokenizer(folder)
    with pytest.raises(ExportError, match="has no tokenizer"):
        export(folder, tmp_path / "bundle")


def test_tokens_that_the_model_does_not_know_are_refused(bert: Path, tmp_path: Path) -> None:
    def add_token(content: dict[str, Any]) -> None:
        token = {**content["added_tokens"][0], "id": 400, "content": "lentil soup", "special": False}
        content["added_tokens"].append(token)

    edit_json(bert / "tokenizer.json", add_token)
    with pytest.raises(ExportError, match=r"bert does not read text: PyTorch failed .* up to 400"):
        export(bert, tmp_path / "bundle")


def test_a_tokenizer_that_makes_no_pairs_is_refused(bert: Path, tmp_path: Path) -> None:
    edit_json(bert / "tokenizer.json", lambda content: content.update(post_processor=None))
    with pytest.raises(ExportError, match="bert does not read text: the tokenizer"):
        export(bert, tmp_path / "bundle")


@pytest.mark.parametrize("known", [True, False])
def test_code_of_the_checkpoint_never_runs(bert: Path, tmp_path: Path, known: bool) -> None:
    """With a kind of model that transformers knows, its own code is used; another kind is refused."""
    marker = tmp_path / "it-ran"
    (bert / "custom.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Model: pass\nclass Config: pass\n")
    classes = {"AutoConfig": "custom.Config", "AutoModelForQuestionAnswering": "custom.Model"}
    edit_json(bert / "config.json", lambda content: content.update(auto_map=classes))
    edit_json(
        bert / "tokenizer_config.json",
        lambda content: content.update(auto_map={"AutoTokenizer": ["custom.Model", "custom.Model"]}),
    )
    if known:
        export(bert, tmp_path / "bundle")
    else:
        edit_json(bert / "config.json", lambda content: content.update(model_type="abacus"))
        with pytest.raises(ExportError, match=r"transformers cannot read config\.json of .* model type `abacus`"):
            export(bert, tmp_path / "bundle")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["no/such/folder", "./nothing", "/nothing/here", "two words", __file__])
def test_neither_a_folder_nor_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExportError, match="is neither a folder nor the id of a model on the hub"):
        export(name, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "_orig_mod.module."])
def test_weights_that_were_saved_in_a_wrapper_are_found(bert: Path, prefix: str) -> None:
    from safetensors.torch import load_file, save_file

    path = bert / "model.safetensors"
    weights = {prefix + name: value for name, value in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    model, _ = open_and_load(bert)
    inputs = {"input_ids": np.arange(5, 15)[None]}
    expected = run_torch(load_torch(checkpoint("bert")), inputs)
    np.testing.assert_allclose(run_torch(model, inputs), expected, atol=1e-5)  # eager attention and sdpa


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "RepoNotFound", "org/name is neither a folder here nor a repository on the hub .*: check the path"),
        (404, "RevisionNotFound", "org/name on the hub has no revision main: use a branch, tag or commit"),
        (403, "GatedRepo", "org/name on the hub is gated: .*: ask for access at http"),
        (503, "", "there is no folder org/name, and the hub cannot be reached: .*503"),
    ],
)
def test_what_the_hub_answers_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str, message: str
) -> None:
    with hub(status, code) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ExportError, match=message):
            load("org/name")


@contextlib.contextmanager
def hub(status: int, code: str) -> Iterator[str]:
    """A server that answers every request alike, as the hub does; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
def test_a_hub_id_without_network_fails_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qa_onnx", "export", "nobody/no-such-model"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: there is no folder nobody/no-such-model, and the hub cannot be reached")
    assert list(tmp_path.glob("exported/*")) == []


def test_a_hub_id_is_fetched_without_code_and_pickles(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def fetch(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(bert)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    source = load("somebody/bert-of-theirs").source
    assert (source.name, source.kind, source.revision) == ("bert-of-theirs", "checkpoint", "bert")
    ((name, patterns),) = asked
    assert name == "somebody/bert-of-theirs"
    assert not any(pattern.endswith((".py", ".bin", ".pt", "*")) for pattern in patterns)


def test_data_that_cannot_be_read_is_told_before_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("it was downloaded"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"dev\.json"):
        export("somebody/bert-of-theirs", evaluation=EvaluationSettings(eval_data="dev.json"))


def test_the_source_is_told_by_its_weights(bert: Path) -> None:
    before = load(bert).source.sha256
    edit_json(bert / "config.json", lambda content: content.update(note="no weight"))
    assert load(bert).source.sha256 == before == load(checkpoint("bert")).source.sha256
    model = load_torch(bert)
    model.qa_outputs.bias.data += 1.0
    model.save_pretrained(bert)
    assert load(bert).source.sha256 != before


def test_a_model_type_that_optimum_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optimum.utils import NormalizedConfigManager

    def unknown(_: str) -> None:
        raise KeyError

    monkeypatch.setattr(NormalizedConfigManager, "get_normalized_config_class", unknown)
    facts = load(checkpoint("bert"))
    assert shape_of(facts) == ("bert", 2, 2, 32)


def test_layers_that_the_config_does_not_use_are_warned_of(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    load(bert)
    assert "holds layers that its config does not use: bert.encoder.layer.1." in caplog.text


def test_without_huggingface_hub_a_hub_id_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"huggingface.hub not installed: pip install 'qa-onnx\[hub\]'"):
        find_checkpoint("org/name")
