"""Checkpoints that nobody vouches for: what each kind of attack meets before torch or transformers sees a byte."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import ExportError
from qa_onnx.export.opened import check_folder, open_checkpoint
from qa_onnx.export.safetensors_header import read_headers
from tests.exports import copy, edit_json, open_and_load

if TYPE_CHECKING:
    from collections.abc import Callable

    Spoil = Callable[[Path], object]

INDEX = "model.safetensors.index.json"
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForQuestionAnswering"],
    "vocab_size": 40,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
    "layer_norm_eps": 1e-12,
}
SHAPES: dict[str, tuple[int, ...]] = {
    "bert.embeddings.word_embeddings.weight": (40, 8),
    "bert.encoder.layer.0.intermediate.dense.weight": (12, 8),
    "bert.encoder.layer.1.output.dense.weight": (8, 12),
    "qa_outputs.weight": (2, 8),
}


def entries(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The header of a safetensors file with such tensors in float32, one after the other."""
    header, at = {}, 0
    for name, shape in shapes.items():
        end = at + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    return header


def write_weights(path: Path, header: dict[str, Any] | bytes, *, data: int | None = None) -> None:
    """Write a safetensors file with a header and so many bytes of zeros; None: as many as its shapes take."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    if data is None:
        data = sum(4 * math.prod(shape) for shape in SHAPES.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint, to spoil; its weights are zeros."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 128}')
    write_weights(folder / "model.safetensors", entries(SHAPES))
    return folder


def config(**changes: Any) -> Spoil:
    return lambda folder: edit_json(folder / "config.json", lambda content: content.update(changes))


def text(name: str, content: str) -> Spoil:
    return lambda folder: (folder / name).write_text(content)


def header(change: Callable[[dict[str, Any]], object], **options: Any) -> Spoil:
    """Change the header of the weights."""

    def spoil(folder: Path) -> None:
        content = entries(SHAPES)
        change(content)
        write_weights(folder / "model.safetensors", content, **options)

    return spoil


def tensor(**changes: Any) -> Spoil:
    """Change the header's entry of the first tensor."""
    return header(lambda content: content["bert.embeddings.word_embeddings.weight"].update(changes))


def both(*spoils: Spoil) -> Spoil:
    """Spoil a folder in several ways, one after the other."""

    def spoil(folder: Path) -> None:
        for one in spoils:
            one(folder)

    return spoil


def weight_map(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Change what an index says of each tensor."""
    return lambda folder: edit_json(folder / INDEX, lambda content: change(content["weight_map"]))


def index(name: object, *, target: str | None = None) -> Spoil:
    """Put an index in place of the one file; the file goes where `target` says."""

    def spoil(folder: Path) -> None:
        (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(SHAPES, name)}))
        (folder / "model.safetensors").rename(folder / (target or "part-1.safetensors"))

    return spoil


def pipe(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return spoil


def listening(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "s.json"))  # its name may have 108 bytes


def linked(name: str, target: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder.parent / "elsewhere").mkdir()
        if (folder / name).exists():
            (folder / name).rename(folder.parent / "elsewhere" / name)
        (folder / name).symlink_to(target)

    return spoil


def sparse(name: str, size: int) -> Spoil:
    def spoil(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.truncate(size)

    return spoil


def folder_named(name: str) -> Spoil:
    return lambda folder: (folder / name).mkdir()


REFUSED: dict[str, tuple[Spoil, str]] = {
    # Files
    "config is a pipe": (pipe("config.json"), r"config\.json is a named pipe; a checkpoint consists of regular"),
    "weights are a pipe": (pipe("model.safetensors"), r"model\.safetensors is a named pipe"),
    "a pipe among the files": (pipe("notes"), "notes is a named pipe"),
    "tokenizer is a pipe": (pipe("tokenizer.json"), r"tokenizer\.json is a named pipe"),
    "a socket": (listening, r"s\.json is a socket"),
    "a device": (
        linked("tokenizer.json", "/dev/zero"),
        r"tokenizer\.json is a link out of the folder, to '/dev/zero'",
    ),
    "tokenizer is a folder": (folder_named("tokenizer.json"), r"tokenizer\.json is a folder; a checkpoint"),
    "weights outside, by link": (
        linked("model.safetensors", "../elsewhere/model.safetensors"),
        r"model\.safetensors is a link out of the folder, to .*elsew",
    ),
    "config outside, by link": (
        linked("config.json", "/etc/hostname"),
        r"config\.json is a link out of the folder",
    ),
    "vocabulary outside, by link": (
        linked("vocab.txt", "/etc/hostname"),
        r"vocab\.txt is a link out of the folder",
    ),
    "a link to nothing": (linked("vocab.txt", "nowhere"), r"vocab\.txt is a link to a file that does not exist"),
    "a link to itself": (linked("vocab.txt", "vocab.txt"), r"vocab\.txt is a link; a checkpoint consists of"),
    "escapes in a name": (pipe("\x1b[2Jx.json"), r"/\\x1b\[2Jx\.json is a named pipe"),
    # The index of several files
    "shard by ..": (index("../secret.safetensors"), r"names '\.\./secret\.safetensors'; it may only name"),
    "shard, absolute": (index("/tmp/x.safetensors"), r"names '/tmp/x\.safetensors'; it may only name"),
    "shard in a folder": (index("sub/x.safetensors"), r"names 'sub/x\.safetensors'; it may only name"),
    "shard is a pickle": (index("pytorch_model.bin"), r"names 'pytorch_model\.bin'; it may only name"),
    "shard by backslash": (index("..\\x.safetensors"), r"it may only name \.safetensors files"),
    "shard is no text": (index(["x"]), r"names \['x'\]; it may only name"),
    "shard with a zero byte": (index("a\0.safetensors"), r"names 'a\\x00\.safetensors'"),
    "shard that is not there": (index("part-2.safetensors"), r"has no part-2\.safetensors, which model"),
    "index without map": (
        both(index("part-1.safetensors"), text(INDEX, "{}")),
        "has no weight_map",
    ),
    "index of other tensors": (
        both(
            index("part-1.safetensors"),
            weight_map(lambda content: content.update(ghost="part-1.safetensors")),
        ),
        "says that part-1.safetensors holds 'ghost'; it does not",
    ),
    "tensors beside the index": (
        both(index("part-1.safetensors"), weight_map(lambda content: content.popitem())),
        r"part-1\.safetensors holds 'qa_outputs\.weight', and .* does not say so",
    ),
    "index too large": (
        both(index("part-1.safetensors"), sparse(INDEX, 1 << 40)),
        r"index\.json has 1099511627776 bytes; the limit is",
    ),
    "weights of another name": (
        lambda folder: (folder / "model.safetensors").rename(folder / "other.safetensors"),
        r"has no model\.safetensors",
    ),
    # The header of the weights
    "empty weights": (text("model.safetensors", ""), r"model\.safetensors is damaged: its header should have"),
    "header longer than the file": (
        lambda folder: (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + bytes(64)),
        "its header should have 1099511627776 bytes, the file has 72",
    ),
    "header without end": (
        lambda folder: write_weights(folder / "model.safetensors", b"[" * 200_000),
        "nested 200000 levels deep; the limit is 64",
    ),
    "header is no JSON": (
        lambda folder: write_weights(folder / "model.safetensors", b"{"),
        r"model\.safetensors is not usable JSON",
    ),
    "overlapping tensors": (
        header(lambda content: content["qa_outputs.weight"].update(data_offsets=[0, 64])),
        "its tensors overlap, or leave a hole, at byte 0",
    ),
    "offsets outside the file": (
        header(lambda content: None, data=10),
        r"its tensors have 2112 bytes, the file holds 10",
    ),
    "bytes behind the tensors": (
        header(lambda content: None, data=9999),
        "tensors have 2112 bytes, the file holds",
    ),
    "offsets backwards": (
        tensor(data_offsets=[1280, 0]),
        "takes 1280 bytes, its offsets 1280 and 0 leave it -1280",
    ),
    "offsets of a float": (tensor(data_offsets=[0, 1280.0]), "not whole numbers from 0 on"),
    "unknown dtype": (tensor(dtype="P64"), "has the unknown dtype 'P64'"),
    "shape that overflows": (tensor(shape=[2**62, 2**62]), r"takes \d+ bytes, its offsets 0 and 1280"),
    "negative shape": (tensor(shape=[-40, -8]), "not whole numbers from 0 on"),
    "shape of a hundred sizes": (tensor(shape=[1] * 100), "at most 8 sizes are possible"),
    "tensor without offsets": (
        header(lambda content: content.update(x={"dtype": "F32"})),
        "tensor 'x' lacks dtype",
    ),
    "tensor's name with escapes": (
        header(lambda content: content.update({"\x1b]0;x": {}})),
        r"a tensor '\\x1b\]0;x'",
    ),
    "tensor's name too long": (
        header(lambda content: content.update({"x" * 5000: {}})),
        r"a tensor 'x{30,40}\.\.\.x{30,40}': ",
    ),
    "notes that are no texts": (header(lambda content: content.update(__metadata__={"a": 1})), "its __metadata__"),
    # config.json
    "config nested": (text("config.json", '{"a":' + "[" * 200_000), "nested 200001 levels deep"),
    "config too large": (sparse("config.json", 1 << 40), r"config\.json has 1099511627776 bytes; the limit is"),
    "config is a list": (text("config.json", "[]"), "config.json is not a JSON object"),
    "config is not UTF-8": (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe{}"), "not usable JSON"),
    "no kind of model": (config(model_type=None), "has the model_type None; it must name a kind of model"),
    "architectures are no list": (
        config(architectures=130),
        "has the architectures 130; it must be a list of names",
    ),
    "an architecture is no name": (config(architectures=["a b"]), r"has the architectures \['a b'\]; it must be"),
    "kind is a path": (config(model_type="../x"), r"has the model_type '\.\./x'"),
    "kind with a kernel": (
        config(model_type="yoso"),
        "of the kind yoso, .* CUDA kernel that transformers fetches",
    ),
    "layers": (config(num_hidden_layers=100_000), "has num_hidden_layers 100000, and the weights are of 2 layers"),
    "layers that are shared": (
        config(model_type="albert", num_hidden_layers=100_000),
        "has num_hidden_layers 100000, and the weights are of 256 layers",
    ),
    "labels": (config(num_labels=10**8), "has num_labels 100000000; the limit is 4096"),
    "vocabulary": (config(vocab_size=10**9), "has vocab_size 1000000000, and no weight has that size"),
    "feed-forward": (
        config(intermediate_size=10**6),
        "has intermediate_size 1000000, and no weight has that size",
    ),
    "hidden size": (config(hidden_size=4096), "has hidden_size 4096, and no weight has that size"),
    "positions": (config(max_position_embeddings=10**9), "has max_position_embeddings 1000000000; the limit is"),
    "a size that nobody knows": (config(memory_slots=10**9), "has memory_slots 1000000000; the limit is 1048576"),
    "a size in an object": (config(rope={"slots": 10**9}), "has slots 1000000000; the limit is"),
    "a size in a list": (config(sizes=[4, 10**9]), r"has sizes\[\] 1000000000; the limit is"),
    "negative size": (config(hidden_size=-8), "has hidden_size -8; it must be a whole number from 1 on"),
    "size zero": (config(num_attention_heads=0), "has num_attention_heads 0; it must be a whole number from 1 on"),
    "fractional size": (config(hidden_size=8.5), "has hidden_size 8.5; it must be a whole number"),
    "epsilon is no number": (text("config.json", '{"layer_norm_eps": NaN}'), "NaN is not a number in JSON"),
    "epsilon without end": (text("config.json", '{"layer_norm_eps": 1e999}'), "the number 1e999 is too large"),
    "epsilon below zero": (config(layer_norm_eps=-1.0), "has layer_norm_eps -1.0; it must be from 0 to 1"),
    "a number of 401 digits": (
        text("config.json", f'{{"a": 1{"0" * 400}}}'),
        "a number has 401 digits, the limit",
    ),
    # The tokenizer's files
    "length of 401 digits": (
        text("tokenizer_config.json", f'{{"model_max_length": 1{"0" * 400}}}'),
        r"tokenizer_config\.json is not usable JSON: a number has 401 digits",
    ),
    "length is a word": (
        text("tokenizer_config.json", '{"model_max_length": "abc"}'),
        "model_max_length 'abc'; it",
    ),
    "length below zero": (
        text("tokenizer_config.json", '{"model_max_length": -1}'),
        "the model_max_length -1; it",
    ),
    "token of a huge id": (
        text("tokenizer_config.json", '{"added_tokens_decoder": {"999999999": {"content": "x"}}}'),
        "added_tokens_decoder with ids that are not numbers below",
    ),
    "added token of a huge id": (
        text("added_tokens.json", '{"x": 999999999}'),
        "gives 'x' the id 999999999; ids are",
    ),
    "added token of no id": (
        text("added_tokens.json", '{"x": {"a": 1}}'),
        r"gives 'x' the id \{'a': 1\}; ids are",
    ),
    "vocabulary is nested": (text("vocab.json", "[" * 100_000), r"vocab\.json is nested 100000 levels deep"),
    "tokenizer too large": (sparse("tokenizer.json", 1 << 40), r"tokenizer\.json has 1099511627776 bytes"),
    "special tokens too large": (sparse("special_tokens_map.json", 1 << 40), "special_tokens_map.json has 1099"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_in_one_short_line(folder: Path, kind: str) -> None:
    spoil, message = REFUSED[kind]
    spoil(folder)
    started = time.thread_time()
    with pytest.raises(ExportError, match=message) as raised:
        check_folder(folder)
    assert time.thread_time() - started < 5  # of computing; nothing is built, hashed or waited for
    said = str(raised.value).replace(str(folder), "")
    assert said.isprintable()
    assert len(said) < 500


def test_the_folder_itself_is_not_refused(folder: Path) -> None:
    opened = check_folder(folder)
    assert opened.weights.shapes == SHAPES
    assert opened.config == CONFIG
    index("part-1.safetensors")(folder)
    (folder / "checkpoint-3").mkdir()
    (folder / "README.md").symlink_to("/etc/hostname")  # which is never read
    assert check_folder(folder).weights.shapes == SHAPES


# What makes transformers load something

DROPPED: dict[str, Any] = {
    "auto_map": {"AutoConfig": "custom.Config"},
    "_attn_implementation": "org/kernel",
    "attn_implementation": {"": "flash_attention_2"},
    "_attn_implementation_internal": "org/kernel:attention",
    "experts_implementation": "org/experts",
    "transformers_weights": "other.safetensors",
    "quantization_config": {"quant_method": "torchao"},
    "fusion_config": {"patch_embeddings": True},
    "distributed_config": {"tp_size": 2},
    "use_kernels": True,
    "kernel_config": {"RMSNorm": "org/kernel:Norm"},
    "custom_pipelines": {"question-answering": {"impl": "custom.Pipeline"}},
    "custom_object": "custom",
    "configuration_files": ["config.5.0.0.json"],
    "gguf_file": "model.gguf",
    "adapter_name_or_path": "other",
    "backbone": "resnet50",
    "use_timm_backbone": True,
    "per_layer_config": {"0": {"intermediate_size": 12}},
    "base_model_tp_plan": {"layers": "colwise"},
    "vocab_file": "vocab.txt",
    "image_processor_dir": "here",
    "some_note": "/etc/passwd",
    "another_note": ["org/model"],
    "third_note": "https://example.org",
    "attribute_map": {"hidden_size": "vocab_size"},
    "trust_remote_code": "yes",
}


@pytest.mark.parametrize("name", DROPPED)
@pytest.mark.parametrize("inside", [False, True])
def test_a_config_cannot_make_transformers_load_anything(
    folder: Path, name: str, inside: bool, caplog: pytest.LogCaptureFixture
) -> None:
    value = {name: DROPPED[name]}
    config(**({"text_config": value} if inside else value))(folder)
    opened = check_folder(folder)
    assert opened.config == (CONFIG | {"text_config": {}} if inside else CONFIG)
    assert json.loads(opened.texts["config.json"]) == opened.config
    (message,) = caplog.messages
    assert message.startswith(f"{folder}/config.json: '{'text_config.' * inside}{name}' not used, as it could")


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("tokenizer_config.json", "auto_map", {"AutoTokenizer": ["custom.Model", None]}),
        ("tokenizer_config.json", "tokenizer_file", "/etc/passwd"),
        ("tokenizer_config.json", "vocab_file", "../vocab.txt"),
        ("tokenizer_config.json", "merges_file", "/dev/zero"),
        ("tokenizer_config.json", "sp_model_kwargs", {"model_file": "/etc/passwd"}),
        ("tokenizer_config.json", "fast_tokenizer_files", ["tokenizer.5.0.json"]),
        ("tokenizer_config.json", "gguf_file", "x.gguf"),
        ("tokenizer_config.json", "init_inputs", ["/etc/passwd"]),
        ("tokenizer_config.json", "tokenizer_object", "x"),
        ("tokenizer_config.json", "tokenizer_class", "../custom"),
        ("special_tokens_map.json", "tokenizer_file", "/etc/passwd"),
        ("special_tokens_map.json", "vocab_file", "/etc/passwd"),
    ],
)
def test_a_tokenizers_files_cannot_either(
    folder: Path, file: str, name: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / file).write_text(json.dumps({"cls_token": "[CLS]", name: value}))
    assert json.loads(check_folder(folder).texts[file]) == {"cls_token": "[CLS]"}
    (message,) = caplog.messages
    assert message.startswith(f"{folder}/{file}: '{name}' not used")


def test_notes_and_usual_values_are_no_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    notes = {"_name_or_path": "org/model", "transformers_version": "4.57.6", "torch_dtype": "float16"}
    usual = {
        "_attn_implementation": "eager",
        "_attn_implementation_autoset": True,
        "gradient_checkpointing": False,
    }
    labels = {"0": "B/PER", "1": "../O"}
    config(**notes, **usual, id2label=labels, quantization_config=None)(folder)
    (folder / "tokenizer_config.json").write_text(
        '{"name_or_path": "org/model", "special_tokens_map_file": "/root/x", "tokenizer_file": null, '
        '"chat_template": "{{ x }}", "do_lower_case": true, "model_max_length": 1000000000000000019884624838656}'
    )
    opened = check_folder(folder)
    assert opened.config == {**CONFIG, "gradient_checkpointing": False, "id2label": labels}
    assert json.loads(opened.texts["tokenizer_config.json"])["do_lower_case"] is True
    assert caplog.messages == []


def test_transformers_sees_checked_files_alone(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen = {"config.json", "tokenizer_config.json", "model.safetensors", "vocab.txt"}
    for name in ("vocab.txt", "custom.py", "chat_template.jinja", "generation_config.json", "pytorch_model.bin"):
        (folder / name).write_text("{}")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "org/model"}')
    (folder / "checkpoint-1").mkdir()
    opened = check_folder(folder)
    with opened.staged() as stage:
        assert {path.name for path in stage.iterdir()} == seen
        assert stage.name == folder.name
    assert not stage.exists()
    assert "adapter_config.json is not used, the model is exported without its adapter" in caplog.text


# The hub's cache


@pytest.mark.parametrize("shared", [False, True])
def test_links_of_the_hubs_cache_lead_to_its_blobs(folder: Path, tmp_path: Path, shared: bool) -> None:
    repository = tmp_path / "hub" / "models--org--model"
    snapshot = repository / "snapshots" / ("0" * 40)
    for place in (snapshot, repository / "blobs", tmp_path / "hub" / "blobs" / "ab"):
        place.mkdir(parents=True)
    for number, path in enumerate(sorted(folder.iterdir())):
        blob = repository / "blobs" / f"blob{number}"
        if shared:  # as recent releases keep one file for several repositories
            blob.symlink_to(Path("../../blobs/ab") / f"shared{number}")
        path.rename(blob.resolve())
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    opened = open_checkpoint(snapshot)
    assert opened.weights.shapes == SHAPES
    (snapshot / "vocab.txt").symlink_to("/etc/hostname")
    with pytest.raises(ExportError, match="is a link out of the folder"):
        open_checkpoint(snapshot)


# Between check and use


@pytest.mark.parametrize("how", ["replaced", "rewritten", "removed"])
def test_weights_that_change_after_the_check_are_noticed(folder: Path, how: str) -> None:
    opened, path = check_folder(folder), folder / "model.safetensors"
    if how == "removed":
        path.unlink()
    elif how == "replaced":
        shutil.copy2(path, folder / "new")
        (folder / "new").replace(path)
    else:
        os.utime(path, ns=(0, 0))
    with pytest.raises(ExportError, match=r"was (changed|removed) while it was read"):
        opened.refuse_changed()


# Entry points


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A copy of the tiny BERT's checkpoint, to spoil."""
    from tests.exports import checkpoint

    return copy(checkpoint("bert"), tmp_path / "bert")


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the loaders of torch, safetensors and transformers that were reached."""
    reached: list[str] = []
    for place in (
        "torch.load",
        "safetensors.safe_open",
        "safetensors.torch.load_file",
        "transformers.AutoConfig.from_pretrained",
        "transformers.AutoTokenizer.from_pretrained",
        "transformers.PreTrainedTokenizerFast.from_pretrained",
        "transformers.AutoModelForQuestionAnswering.from_pretrained",
        "transformers.AutoModelForQuestionAnswering.from_config",
        "transformers.modeling_utils.safe_open",
        "transformers.modeling_utils.load_state_dict",
    ):

        def spy(*_: object, place: str = place, **__: object) -> None:
            reached.append(place)
            raise AssertionError(place)

        monkeypatch.setattr(place, spy)
    return reached


def by_export(folder: Path) -> None:
    from qa_onnx.export import export

    export(folder, folder.parent / "bundle")


def by_train(folder: Path) -> None:
    from qa_onnx.train.base import load_base
    from qa_onnx.train.settings import TrainSettings

    load_base(str(folder), TrainSettings(max_length=96))


def by_bench(folder: Path) -> None:
    from qa_onnx.bench.torch_reader import torch_reader

    torch_reader(str(folder))


def by_pipeline(folder: Path) -> None:
    from qa_onnx import pipeline

    pipeline(model=str(folder))


def by_pipeline_with_tokenizer(folder: Path) -> None:
    from qa_onnx import pipeline
    from tests.exports import checkpoint

    pipeline(model=str(folder), tokenizer=str(checkpoint("bert")))


@pytest.mark.export
@pytest.mark.parametrize("use", [by_export, by_train, by_bench, by_pipeline, by_pipeline_with_tokenizer])
@pytest.mark.parametrize(
    "kind",
    [
        *("shard by ..", "shard is a pickle", "a pipe among the files", "layers", "labels"),
        *("weights outside, by link", "length of 401 digits", "config nested", "overlapping tensors"),
    ],
)
def test_no_loader_is_reached(bert: Path, untouched: list[str], use: Spoil, kind: str) -> None:
    spoil, _ = REFUSED[kind]
    spoil(bert)
    with pytest.raises((ExportError, ValueError), match=r"bert"):
        use(bert)
    assert untouched == []
    assert not (bert.parent / "bundle").exists()


@pytest.mark.export
def test_a_folder_never_asks_the_network(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that could make transformers ask, and with its variables for that as the host has set them."""
    asked: list[object] = []

    def ask(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("there is no network")

    expected = logits_of(bert)
    edit_json(bert / "config.json", lambda content: content.update(DROPPED, text_config=DROPPED))
    (bert / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "org/model"}')
    (bert / "generation_config.json").write_text('{"transformers_weights": "org/model"}')
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for place in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, place, ask)
    for place in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, place, ask)
    before = dict(os.environ)
    np.testing.assert_array_equal(logits_of(bert), expected)
    for use in (by_export, by_train, by_bench, by_pipeline_with_tokenizer):
        use(bert)
    assert asked == []
    assert dict(os.environ) == before


def logits_of(folder: Path) -> Any:
    from tests.exports import run_torch

    model, _ = open_and_load(folder)
    return run_torch(model, {"input_ids": np.arange(5, 15)[None]})


@pytest.mark.export
def test_a_model_much_larger_than_its_weights_is_not_built(bert: Path) -> None:
    """Every size is one of a weight, and their product is none."""
    weights = read_headers(bert).shapes
    shapes = {**weights, "bert.pooler.dense.bias": (200_000,)}
    path = bert / "model.safetensors"
    write_weights(path, entries(shapes), data=sum(4 * math.prod(shape) for shape in shapes.values()))
    config(hidden_size=200_000, intermediate_size=200_000)(bert)
    with pytest.raises(ExportError, match=r"describes a model of \d{12,} numbers, and the weights hold \d{6}"):
        open_and_load(bert)


# Which source a bundle is of


@pytest.mark.export
@pytest.mark.parametrize("change", [{"num_attention_heads": 4}, {"hidden_act": "relu"}, {"layer_norm_eps": 0.5}])
def test_two_configurations_of_the_same_weights_are_two_sources(
    bert: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    from qa_onnx.export import export

    export(bert, tmp_path / "bundle", precisions=("fp32",), max_length=64)
    config(**change)(bert)
    with pytest.raises(ExportError, match=r"is a bundle of bert .*not of this source: choose another folder"):
        export(bert, tmp_path / "bundle", precisions=("int8",), max_length=64)


@pytest.mark.export
def test_a_bundle_of_an_earlier_release_takes_another_precision(bert: Path, tmp_path: Path) -> None:
    """Its hash is that of the weights alone."""
    from qa_onnx.export import export

    export(bert, tmp_path / "bundle", precisions=("fp32",), max_length=64)
    weights = open_checkpoint(bert).weights_sha256()
    edit_json(tmp_path / "bundle" / "bundle.json", lambda content: content["source"].update(sha256=weights))
    bundle = export(bert, tmp_path / "bundle", precisions=("int8",), max_length=64)
    assert set(bundle.manifest.graphs) == {"fp32", "int8"}
    assert bundle.manifest.source.sha256 != weights
