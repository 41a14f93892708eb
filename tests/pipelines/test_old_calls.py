"""Constructor and call forms of programs that used transformers 4: each works, or says what to write instead."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qa_onnx import Bundle, Example, InputError, QuestionAnsweringPipeline, pipeline
from qa_onnx.pipelines.inputs import Arguments
from qa_onnx.pipelines.settings import NAMES, RULES, LoadSettings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "models" / "minilm-squad"
PAGE = (ROOT / "docs" / "coming-from-transformers.md").read_text(encoding="utf-8")

Q, C = "Who built the mill?", "The mill was built by Marta Linden in 1874."
PAIR = {"question": Q, "context": C}
LONG = "The sea was calm and nothing was seen. " * 60 + C
SQUAD = SimpleNamespace(question_text=Q, context_text=C)


class Columns:
    """A data set as of the package `datasets`: rows by number and in a loop, columns by name."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, key: int | str) -> Any:
        return [PAIR[key]] * 2 if isinstance(key, str) else {"id": str(key), "answers": {"text": []}, **PAIR}

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(2))


class Rows:
    """The least that a data set has; an index beyond its end is no IndexError."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict[str, str]:
        return PAIR


def torch_rows() -> Any:
    from torch.utils.data import Dataset

    class TorchRows(Rows, Dataset):  # type: ignore[misc]
        pass

    return TorchRows()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """What an old program has at hand: names of models, objects of transformers, a pipeline."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("xdg")))
        yield SimpleNamespace(qa=pipeline("question-answering"), path=str(CHECKPOINT))


@pytest.fixture(scope="module")
def objects(old: SimpleNamespace) -> SimpleNamespace:
    """The same, with the objects."""
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    old.torch, old.other = torch, f"{old.path}/."
    old.model = AutoModelForQuestionAnswering.from_pretrained(old.path)
    old.tokenizer = AutoTokenizer.from_pretrained(old.path)
    return old


def answers(results: Any) -> list[str]:
    """The best answer of each question; a generator is read, a list of alternatives is one question."""
    if isinstance(results, dict):
        return [results["answer"]]
    return [(row if isinstance(row, dict) else row[0])["answer"] for row in results]


ONE, TWO = ["Marta Linden"], ["Marta Linden"] * 2

CONSTRUCTORS: dict[str, Callable[[Any], Any]] = {
    "no arguments": lambda _: pipeline(),
    "task": lambda _: pipeline("question-answering"),
    "task=None": lambda _: pipeline(None),
    "task=, model=None, tokenizer=None": lambda _: pipeline(
        task="question-answering", model=None, tokenizer=None, config=None
    ),
    "framework": lambda _: pipeline("question-answering", framework="pt"),
    "use_fast": lambda _: pipeline("question-answering", use_fast=True),
    "device=-1": lambda _: pipeline("question-answering", device=-1),
    "device of NumPy": lambda _: pipeline("question-answering", device=np.int64(-1)),
    "device='cpu'": lambda _: pipeline("question-answering", device="cpu"),
    "device_map='auto'": lambda _: pipeline("question-answering", device_map="auto"),
    "device_map of a dictionary": lambda _: pipeline("question-answering", device_map={"": "cpu"}),
    "torch_dtype='auto'": lambda _: pipeline("question-answering", torch_dtype="auto"),
    "dtype='float32'": lambda _: pipeline("question-answering", dtype="float32"),
    "trust_remote_code=False": lambda _: pipeline("question-answering", trust_remote_code=False),
    "model_kwargs": lambda _: pipeline(
        "question-answering", model_kwargs={"low_cpu_mem_usage": True, "torch_dtype": "auto", "device_map": None}
    ),
    "padding": lambda _: pipeline("question-answering", padding="longest"),
    "num_workers": lambda _: pipeline("question-answering", num_workers=0),
    "batch_size": lambda _: pipeline("question-answering", batch_size=8),
    "binary_output, modelcard": lambda _: pipeline("question-answering", binary_output=False, modelcard=None),
    "defaults of calls": lambda _: pipeline(
        "question-answering", top_k=1, handle_impossible_answer=False, max_answer_len=15, doc_stride=128
    ),
    "a bundle as model": lambda _: pipeline("question-answering", Bundle.load()),
    "a Reader as model": lambda o: pipeline("question-answering", o.qa.reader),
    "the class": lambda _: QuestionAnsweringPipeline(),
    "the class, a Reader": lambda o: QuestionAnsweringPipeline(o.qa.reader),
    "the class, keywords": lambda o: QuestionAnsweringPipeline(
        model=o.qa.reader, task="question-answering", framework="pt", binary_output=False
    ),
}
WITH_CHECKPOINT: dict[str, Callable[[Any], Any]] = {
    "model": lambda o: pipeline("question-answering", model=o.path),
    "model by position": lambda o: pipeline("question-answering", o.path),
    "model alone": lambda o: pipeline(model=o.path),
    "Path": lambda o: pipeline("question-answering", model=Path(o.path)),
    "model, tokenizer": lambda o: pipeline("question-answering", model=o.path, tokenizer=o.path),
    "model, config, tokenizer by position": lambda o: pipeline("question-answering", o.path, o.path, o.path),
    "tokenizer as a tuple": lambda o: pipeline(model=o.path, tokenizer=(o.path, {"use_fast": True})),
    "token and revision": lambda o: pipeline("question-answering", o.path, token=None, revision=None),
    "revision of a folder": lambda o: pipeline("question-answering", o.path, revision="main", token=False),
    "objects": lambda o: pipeline("question-answering", model=o.model, tokenizer=o.tokenizer),
    "objects by position": lambda o: pipeline("question-answering", o.model, o.model.config, o.tokenizer),
    "objects, device": lambda o: pipeline(
        "question-answering", model=o.model, tokenizer=o.tokenizer, device=o.torch.device("cpu")
    ),
    "a name and a tokenizer object": lambda o: pipeline("question-answering", model=o.path, tokenizer=o.tokenizer),
    "a name and another tokenizer's name": lambda o: pipeline(model=o.path, tokenizer=o.other),
    "an object and a tokenizer's name": lambda o: pipeline(model=o.model, tokenizer=o.path),
    "a name and the config object": lambda o: pipeline(model=o.path, config=o.model.config),
    "torch_dtype of torch": lambda o: pipeline(model=o.path, torch_dtype=o.torch.float32),
    "the class, objects": lambda o: QuestionAnsweringPipeline(model=o.model, tokenizer=o.tokenizer),
    "the class, all by keyword": lambda o: QuestionAnsweringPipeline(
        model=o.model, tokenizer=o.tokenizer, modelcard=None, framework="pt", task="question-answering", device=-1
    ),
}
CALLS: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "question, context": (lambda o: o.qa(question=Q, context=C), ONE),
    "two texts": (lambda o: o.qa(Q, C), ONE),
    "a dictionary": (lambda o: o.qa({"question": Q, "context": C}), ONE),
    "a dictionary with more": (lambda o: o.qa({"id": 7, "title": None, **PAIR}), ONE),
    "unpacked": (lambda o: o.qa(**PAIR), ONE),
    "a list of dictionaries": (lambda o: o.qa([PAIR, PAIR]), TWO),
    "a tuple of dictionaries": (lambda o: o.qa((PAIR, PAIR)), TWO),
    "dictionaries by position": (lambda o: o.qa(PAIR, PAIR), TWO),
    "lists": (lambda o: o.qa(question=[Q, Q], context=[C, C]), TWO),
    "tuples": (lambda o: o.qa(question=(Q, Q), context=(C, C)), TWO),
    "questions on one context": (lambda o: o.qa(question=[Q, Q], context=C), TWO),
    "a dictionary of lists": (lambda o: o.qa({"question": [Q, Q], "context": [C, C]}), TWO),
    "arrays": (lambda o: o.qa(question=np.array([Q, Q]), context=np.array([C, C])), TWO),
    "an array of questions": (lambda o: o.qa(question=np.array([Q, Q]), context=C), TWO),
    "an array of dictionaries": (lambda o: o.qa(np.array([PAIR, PAIR])), TWO),
    "a dictionary of arrays": (lambda o: o.qa({"question": np.array([Q, Q]), "context": [C, C]}), TWO),
    "texts of NumPy": (lambda o: o.qa(question=np.str_(Q), context=np.str_(C)), ONE),
    "data": (lambda o: o.qa(data=[PAIR, PAIR]), TWO),
    "X": (lambda o: o.qa(X=PAIR), ONE),
    "SquadExample": (lambda o: o.qa(SQUAD), ONE),
    "create_sample": (lambda o: o.qa(o.qa.create_sample(Q, C)), ONE),
    "create_sample of lists": (lambda o: o.qa(o.qa.create_sample(question=[Q, Q], context=[C, C])), TWO),
    "a generator": (lambda o: o.qa(PAIR for _ in range(2)), TWO),
    "a generator, batch_size": (lambda o: o.qa((PAIR for _ in range(2)), batch_size=8, num_workers=0), TWO),
    "an iterator": (lambda o: o.qa(map(dict, [PAIR, PAIR])), TWO),
    "a data set": (lambda o: o.qa(Columns()), TWO),
    "columns of a data set": (lambda o: o.qa(question=Columns()["question"], context=Columns()["context"]), TWO),
    "the least data set": (lambda o: o.qa(Rows(), batch_size=2), TWO),
    "transform": (lambda o: o.qa.transform([PAIR, PAIR]), TWO),
    "predict": (lambda o: o.qa.predict(PAIR), ONE),
    "top_k": (lambda o: o.qa(question=Q, context=C, top_k=3), ["Marta Linden", "Linden", "Marta"]),
    "top_k of NumPy": (lambda o: o.qa(question=Q, context=C, top_k=np.int64(2)), ["Marta Linden", "Linden"]),
    "top_k of two questions": (lambda o: o.qa([PAIR, PAIR], top_k=2), TWO),
    "handle_impossible_answer of NumPy": (lambda o: o.qa(Q, C, handle_impossible_answer=np.True_), ONE),
    "align_to_words": (lambda o: o.qa(Q, "(Marta Linden)built it", align_to_words=True), ONE),
    "padding": (lambda o: o.qa(Q, C, padding="max_length"), ONE),
    "a long context": (lambda o: o.qa(Q, LONG, max_seq_len=384, doc_stride=128, max_question_len=64), ONE),
    "a large overlap": (lambda o: o.qa(Q, LONG, max_seq_len=384, doc_stride=320), ONE),
    "integers of NumPy": (
        lambda o: o.qa(Q, LONG, max_seq_len=np.int32(256), doc_stride=np.int16(64), max_answer_len=np.uint8(9)),
        ONE,
    ),
    "None for all": (lambda o: o.qa(Q, C, top_k=None, doc_stride=None, max_answer_len=None, topk=None), ONE),
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in CONSTRUCTORS.items()])
def test_a_constructor_works_without_a_warning(old: SimpleNamespace, make: Callable[[Any], Any]) -> None:
    assert answers(make(old)(question=Q, context=C)) == ONE


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in WITH_CHECKPOINT.items()])
def test_a_constructor_with_a_checkpoint_works(objects: SimpleNamespace, make: Callable[[Any], Any]) -> None:
    qa = make(objects)
    assert answers(qa(question=Q, context=C)) == ONE
    assert qa.reader.precision == "fp32"
    assert Path(qa.model.name_or_path) == CHECKPOINT


@pytest.mark.parametrize(("call", "expected"), [pytest.param(*call, id=name) for name, call in CALLS.items()])
def test_a_call_works_without_a_warning(
    old: SimpleNamespace, call: Callable[[Any], Any], expected: list[str]
) -> None:
    assert answers(call(old)) == expected


@pytest.mark.export
def test_a_torch_data_set_is_a_stream(old: SimpleNamespace) -> None:
    results = old.qa(torch_rows(), batch_size=2)
    assert not isinstance(results, list)
    assert answers(results) == TWO


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "another task": ({"task": "summarization"}, InputError, "Unknown task 'summarization'; the only one is"),
    "code of a checkpoint": (
        {"trust_remote_code": True},
        InputError,
        "code of a checkpoint never runs here, so omit",
    ),
    "code by model_kwargs": ({"model_kwargs": {"trust_remote_code": True}}, InputError, "omit it"),
    "pickles": ({"model_kwargs": {"use_safetensors": False}}, InputError, "pass the model object"),
    "a class": ({"pipeline_class": dict}, InputError, "put your own steps around the call"),
    "8 bits": ({"model_kwargs": {"load_in_8bit": True}}, InputError, "write precision='int8'"),
    "a subfolder": ({"model_kwargs": {"subfolder": "qa"}}, InputError, "give the path of the folder"),
    "an image processor": (
        {"image_processor": "auto"},
        InputError,
        "question answering on text has none, so omit",
    ),
    "an unknown dtype": ({"dtype": "int8"}, InputError, "dtype is 'int8'; .* precision=, such as 'int8'"),
    "a misspelt dtype": ({"torch_dtype": "floot16"}, InputError, "'floot16'; it must be 'auto', a torch.dtype"),
    "twice": (
        {"dtype": "float32", "model_kwargs": {"dtype": "float16"}},
        InputError,
        "dtype is given twice, .*: name it once",
    ),
    "model_kwargs of another kind": ({"model_kwargs": "auto"}, InputError, "it must be a dictionary"),
    "a second GPU": ({"device": 1}, InputError, "CUDA_VISIBLE_DEVICES selects a GPU"),
    "another device": ({"device": "mps"}, InputError, "device is 'mps'; it must be 'cpu', -1, 'cuda' or 0"),
    "two devices": ({"device_map": {"bert": 0, "qa_outputs": "cpu"}}, InputError, "over 0, cpu: give one device="),
    "no device": ({"device_map": {}}, InputError, "over nothing: give one device="),
    "another tokenizer": ({"tokenizer": "other"}, InputError, "a bundle has its own tokenizer: omit the argument"),
    "what is no tokenizer": ({"tokenizer": 5}, InputError, "tokenizer is a int; it must be a name or one of"),
    "another config": ({"config": "other"}, InputError, "config is 'other'; a model has its own: omit"),
    "what is no model": ({"model": 5}, InputError, "model is a int; it must be the path of a bundle"),
    "an old name": ({"max_length": 384}, TypeError, "there is no argument max_length: write max_seq_len"),
    "a misspelt name": (
        {"frame_work": "pt"},
        TypeError,
        "there is no argument frame_work: did you mean framework",
    ),
    "an unknown name": ({"zz": 1}, TypeError, r"argument zz: a call takes .*doc_stride, .*top_k"),
    "a value out of range": ({"top_k": 0}, InputError, r"top_k parameter should be an integer >= 1 \(got 0\)"),
}
REFUSED_CALLS: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "nothing": (lambda qa: qa(), InputError, "no question: give question= and context="),
    "one question, two contexts": (
        lambda qa: qa(question=Q, context=[C, C]),
        InputError,
        "give two str, two lists",
    ),
    "unequal lists": (lambda qa: qa(question=[Q], context=[C, C]), InputError, "repeat it"),
    "three texts": (lambda qa: qa(Q, C, C), InputError, "needs to be of type .*: give question= and context="),
    "a data set with splits": (lambda qa: qa({"train": Columns()}), InputError, "keys .*, got the keys train"),
    "truncation": (
        lambda qa: qa(Q, C, truncation=True),
        TypeError,
        "no argument truncation: omit it: contexts of any",
    ),
    "a constructor's argument": (
        lambda qa: qa(Q, C, device=0),
        TypeError,
        r"device: it is one of pipeline\(...\)",
    ),
    "an empty text": (lambda qa: qa(question="", context=C), InputError, "`question` cannot be empty"),
    "a large overlap": (
        lambda qa: qa(Q, C, doc_stride=500, max_seq_len=384),
        InputError,
        r"`doc_stride` \(500\) is larger than `max_seq_len` \(384\)",
    ),
    "max_answer_len=0": (lambda qa: qa(Q, C, max_answer_len=0), InputError, "max_answer_len parameter should be"),
    "a column of its own": (lambda qa: qa(list(PAIR)), InputError, "'question' argument needs to be of type"),
    "save_pretrained": (lambda qa: qa.save_pretrained("here"), AttributeError, "a bundle is a folder, so copy it"),
    "postprocess": (lambda qa: qa.postprocess({}), AttributeError, ".reader.logits yields windows and logits"),
    "the model's layers": (
        lambda qa: qa.model.state_dict(),
        AttributeError,
        "only name_or_path, config: there is no",
    ),
    "the tokens": (
        lambda qa: qa.tokenizer.encode(Q),
        AttributeError,
        "only name_or_path, model_max_length, is_fast",
    ),
    "the model itself": (lambda qa: qa.model(input_ids=[[1]]), TypeError, "cannot be called: there is no PyTorch"),
}


@pytest.mark.parametrize(
    ("arguments", "error", "message"), [pytest.param(*case, id=name) for name, case in REFUSED.items()]
)
def test_what_no_pipeline_can_be_made_of_says_what_to_write(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pipeline(**arguments)


@pytest.mark.parametrize(
    ("call", "error", "message"), [pytest.param(*case, id=name) for name, case in REFUSED_CALLS.items()]
)
def test_a_call_that_cannot_work_says_what_to_write(
    old: SimpleNamespace, call: Callable[[Any], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(old.qa)


class SavedModel:
    """What a model of some other library looks like from outside."""

    config = None

    def save_pretrained(self, folder: Path) -> None:
        """Write nothing."""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (SavedModel(), r"tokenizer of a model object cannot be guessed: give tokenizer=AutoTokenizer"),
        (SimpleNamespace(module=SavedModel()), "model is a SimpleNamespace around a model: give model.module"),
        (SimpleNamespace(merge_and_unload=None), r"has an adapter \(PEFT\): give model.merge_and_unload\(\)"),
    ],
)
def test_objects_that_are_not_a_whole_model_are_refused(model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pipeline("question-answering", model=model)


def test_a_bundle_keeps_its_own_tokenizer() -> None:
    with pytest.raises(InputError, match="a bundle has its own tokenizer: omit the argument tokenizer"):
        pipeline(tokenizer=SavedModel())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"framework": "tf"}, r"ignores framework='tf' \(ONNX Runtime runs the weights of PyTorch\)$"),
        ({"use_fast": False}, "use_fast=False .the offsets of the fast tokenizer"),
        ({"torch_dtype": "float16"}, "dtype=float16 .precision= chooses the type"),
        ({"dtype": "bfloat16", "precision": "int8"}, "dtype=bfloat16"),
        ({"dtype": "float32", "precision": "int8"}, "dtype=float32"),
        ({"revision": "main"}, "revision .the default model comes with the package"),
        ({"framework": "tf", "model_kwargs": {"torch_dtype": "half"}}, "framework='tf' .*; dtype=half"),
    ],
)
def test_what_is_ignored_is_named_in_one_warning(arguments: dict[str, Any], message: str) -> None:
    for make in (pipeline, QuestionAnsweringPipeline):
        with pytest.warns(UserWarning, match=message) as caught:
            make(**arguments)
        assert [one.filename for one in caught] == [__file__]


def test_a_reader_that_is_loaded_follows_no_other_settings(old: SimpleNamespace) -> None:
    message = r"ignores device \(the Reader is loaded already\); threads \(the Reader is loaded already\)$"
    with pytest.warns(UserWarning, match=message):
        qa = pipeline(model=old.qa.reader, device="cuda", threads=3)
    assert qa.reader is old.qa.reader


@pytest.mark.parametrize(
    ("arguments", "device", "precision", "exact"),
    [
        ({"device": 0, "torch_dtype": "float16"}, "cuda", "fp16", False),
        ({"device_map": "cuda:0", "dtype": "half"}, "cuda", "fp16", False),
        ({"device_map": {"": 0}, "model_kwargs": {"torch_dtype": "float16"}}, "cuda", "fp16", False),
        ({"device": "cuda", "dtype": "float32"}, "cuda", None, True),
        ({"device": "cuda", "dtype": "float16", "precision": "fp16"}, "cuda", "fp16", False),
        ({"device": -1, "device_map": "cuda"}, "cpu", None, False),
        ({"dtype": "auto"}, None, None, False),
    ],
)
def test_dtype_and_device_map_choose_precision_and_device(
    arguments: dict[str, Any], device: str | None, precision: str | None, exact: bool
) -> None:
    settings, _, ignored = read_settings(arguments)
    assert (settings.device, settings.precision, settings.exact) == (device, precision, exact)
    assert ignored == []


def test_float32_is_fp32_of_a_bundle() -> None:
    assert pipeline(dtype="float32").reader.precision == "fp32"


@pytest.mark.export
def test_types_and_devices_of_torch_are_known_by_their_text() -> None:
    import torch

    settings, _, _ = read_settings({"device": torch.device("cuda", 0), "torch_dtype": torch.float16})
    assert (settings.device, settings.precision) == ("cuda", "fp16")
    with pytest.raises(InputError, match=r"dtype is torch.int8; it must be 'auto', a torch.dtype, or its name"):
        read_settings({"dtype": torch.int8})


def test_an_automatic_device_map_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings({"device_map": "auto", "engine": "openvino"})[0].device is None
    monkeypatch.setattr("qa_onnx.engines.onnx_gpu.check_gpu", lambda engine: None)
    assert read_settings({"device_map": "auto"})[0].device == "cuda"


def test_the_hub_gets_revision_and_token() -> None:
    settings, _, _ = read_settings(
        {"revision": "v1", "model_kwargs": {"use_auth_token": "secret", "cache_dir": "here"}}
    )
    assert settings.download == {"revision": "v1", "token": "secret", "cache_dir": "here"}


def test_it_tells_what_it_runs(old: SimpleNamespace) -> None:
    name, precision = "minilm-squad", old.qa.reader.precision
    assert repr(old.qa) == (
        f"QuestionAnsweringPipeline(model='{name}', precision={precision}, backend={old.qa.reader.backend})"
    )
    assert repr(pipeline(compat="hf4", engine="onnxruntime")) == (
        f"QuestionAnsweringPipeline(model='{name}', precision=fp32, backend=onnxruntime/cpu, compat='hf4')"
    )
    assert (old.qa.task, old.qa.device) == ("question-answering", "cpu")
    assert (old.qa.model.name_or_path, old.qa.model.config.model_type) == (name, "bert")
    assert old.qa.model.config.max_position_embeddings == old.qa.tokenizer.model_max_length == 512
    assert not hasattr(old.qa, "framework")


def test_a_sample_is_an_example() -> None:
    assert QuestionAnsweringPipeline.create_sample(Q, C) == Example(Q, C)
    assert QuestionAnsweringPipeline.create_sample([Q], [C]) == [Example(Q, C)]


def test_the_page_says_what_becomes_of_every_argument() -> None:
    missing = [name for name in sorted({*NAMES, *RULES, "model", "tokenizer", "task"}) if f"`{name}" not in PAGE]
    assert missing == []


def test_what_changes_nothing_is_accepted_in_silence() -> None:
    accepted = {
        name: rule.harmless[0] if rule.harmless else 7 for name, rule in RULES.items() if rule.harmless != ()
    }
    assert read_settings(accepted) == (LoadSettings(), Arguments(), [])
    assert "padding" in accepted


def test_a_reader_has_no_name_of_its_model(old: SimpleNamespace) -> None:
    assert pipeline(model=old.qa.reader).model.name_or_path is None
