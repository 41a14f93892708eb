"""The question-answering pipeline that transformers 5 removed, on a Reader: old calls, old results.

>>> from qa_onnx import pipeline
>>> qa = pipeline("question-answering")
>>> qa(question="What colour is the boat?", context="The boat is blue and the sail is white.")["answer"]
'blue'

Forms and arguments of the old call are read in inputs.py. By default answers are those of
`Reader.predict`; `compat="hf4"` gives those of transformers 4.57.6 (hf4.py). A checkpoint is exported when it
is first used (export/cached.py).
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qa_onnx.bundle.folder import MANIFEST, Bundle
from qa_onnx.engines.names import Backend
from qa_onnx.errors import InputError
from qa_onnx.options import Options
from qa_onnx.pipelines.hf4 import PipelineResult, hf4_results
from qa_onnx.pipelines.inputs import Arguments, Inputs, read_inputs
from qa_onnx.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qa_onnx.answers import Prediction
    from qa_onnx.engines.names import Device, Engine
    from qa_onnx.windows import Example

_TASK = "question-answering"


class QuestionAnsweringPipeline:
    """Answers as the old pipeline was called; `pipeline(...)` makes one.

    Args:
        reader: answers the questions.
        compat: None, or "hf4" for the results of transformers 4.57.6.
        arguments: what calls use that do not say otherwise.

    Raises:
        InputError: there is no such `compat`.
    """

    def __init__(
        self, reader: Reader, *, compat: Literal["hf4"] | None = None, arguments: Arguments | None = None
    ) -> None:
        if compat not in (None, "hf4"):
            raise InputError(f"compat is {compat!r}; it must be None or 'hf4'")
        self.reader = reader
        self.compat = compat
        self.arguments = Arguments() if arguments is None else arguments

    def __call__(
        self,
        *args: object,
        question: object = None,
        context: object = None,
        data: object = None,
        X: object = None,  # noqa: N803  # its old name
        topk: int | None = None,
        padding: object = None,
        num_workers: object = None,
        **arguments: Any,
    ) -> Any:
        """Answer one question, several, or a stream of them.

        Args:
            args: one or several examples by position, in any form of inputs.py.
            question: a str, or a list of them.
            context: a str, or a list of them, one for each question.
            data: as one argument by position.
            X: the same under an older name.
            topk: deprecated name of top_k.
            padding: accepted; windows are never padded to more than their batch needs.
            num_workers: accepted; there are none.
            arguments: fields of `Arguments`; None: the pipeline's own.

        Returns:
            For one question a dictionary with score, start, end and answer where `top_k` is 1, and else a list of
            at most `top_k` of them, best first. For many a list of these, for a generator an iterator. With
            compat="hf4" what is alone in a list comes without the list, except from a generator.

        Raises:
            InputError: (a ValueError) the arguments are in no known form, a text is empty or a value out of range.
            EngineError: see `Reader.ask`.
        """
        chosen = _override(self.arguments, {**arguments, "topk": topk})
        inputs = read_inputs(args, question, context, data if X is None else X)
        results = self._answer(inputs.examples, chosen)
        if inputs.form == "stream":
            return results
        found = list(results)
        return found[0] if self._is_one(inputs, len(found)) else found

    def _is_one(self, inputs: Inputs, count: int) -> bool:
        return inputs.form == "one" or (self.compat == "hf4" and inputs.form == "many" and count == 1)

    def _answer(
        self, examples: Iterable[Example], arguments: Arguments
    ) -> Iterator[PipelineResult | list[PipelineResult]]:
        if self.compat == "hf4":
            for results in hf4_results(self.reader, examples, arguments):
                yield results[0] if len(results) == 1 else results
            return
        for prediction in self.reader.predict_iter(examples, options=self._options(arguments)):
            results = self._results(prediction, arguments)
            yield results[0] if arguments.top_k == 1 else results

    def _options(self, arguments: Arguments) -> Options:
        own, length = self.reader.options, arguments.max_seq_len
        base = own if length is None else Options.for_windows_of(min(length, self.reader.max_positions))
        stride, question, batch = arguments.doc_stride, arguments.max_question_len, arguments.batch_size
        return dataclasses.replace(
            base,
            doc_stride=base.doc_stride if stride is None else stride,
            max_question_length=base.max_question_length if question is None else question,
            max_answer_length=arguments.max_answer_len,
            n_best=arguments.top_k,
            align_to_words=arguments.align_to_words,
            batch_tokens=own.batch_tokens if batch is None else batch * base.max_length,
        )

    def _results(self, prediction: Prediction, arguments: Arguments) -> list[PipelineResult]:
        """Results of a prediction; "no answer" comes first where it wins, and else where its score puts it."""
        found = [
            PipelineResult(score=one.probability, start=one.start, end=one.end, answer=one.text)
            for one in prediction.answers
        ]
        null = PipelineResult(score=prediction.null_probability, start=0, end=0, answer="")
        if arguments.handle_impossible_answer:
            threshold = self.reader.null_threshold
            answered = prediction.choose(0.0 if threshold is None else threshold)
            behind = sum(result["score"] >= null["score"] for result in found[1:])
            found.insert(1 + behind if answered else 0, null)
        elif arguments.top_k == 1 and not found:
            found = [null]  # a blank context
        return found[: arguments.top_k]


def pipeline(
    task: str | None = _TASK,
    model: str | Path | Bundle | Reader | None = None,
    *,
    compat: Literal["hf4"] | None = None,
    tokenizer: object = None,
    device: object = None,
    precision: str | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
    **arguments: Any,
) -> QuestionAnsweringPipeline:
    """Make what `transformers.pipeline("question-answering", ...)` made before transformers 5.

    Args:
        task: "question-answering", or None for it.
        model: a bundle, or a checkpoint's folder or hub id, which is exported when it is first used and kept in
            the user's cache, see export/cached.py; None: the default bundle. A Reader is used as it is.
        compat: None, or "hf4" for the answers, offsets and scores of transformers 4.57.6.
        tokenizer: accepted where it names the model; a bundle brings its own.
        device: "cpu", "cuda", -1 (the CPU), 0 (the GPU), or a torch.device.
        precision: see `Reader.load`. None: of a bundle the best for the device, or fp32 with
            compat="hf4" where there is one; of a checkpoint fp32, since nothing has measured how well it
            answers in another.
        engine: see `Reader.load`.
        threads: see `Reader.load`.
        arguments: for all calls: top_k, doc_stride, max_answer_len, max_seq_len, max_question_len,
            handle_impossible_answer, align_to_words and batch_size.

    Raises:
        InputError: there is no such task, device or compat, or an argument is out of range.
        BundleError: see `Reader.load`.
        EngineError: see `Reader.load`.
        ExportError: the checkpoint cannot be exported.
        MissingExtraError: a package is not installed: ONNX Runtime, or what an export needs.
    """
    if task not in (None, _TASK):
        raise InputError(f"Unknown task {task!r}; the only one is {_TASK!r}")
    if tokenizer is not None and str(tokenizer) != str(model):
        raise InputError(f"tokenizer is {tokenizer!r:.80}; a model brings its own, leave the argument out")
    chosen = _override(Arguments(), arguments)
    if isinstance(model, Reader):
        reader = model
    else:
        reader = _load(
            model,
            device=_device(device),
            precision=precision,
            engine=engine,
            threads=threads,
            compat=compat,
        )
    return QuestionAnsweringPipeline(reader, compat=compat, arguments=chosen)


def _override(base: Arguments, given: dict[str, Any]) -> Arguments:
    """Arguments with those replaced that are given and not None."""
    topk = given.pop("topk", None)
    if topk is not None:
        warnings.warn("topk parameter is deprecated, use top_k instead", UserWarning, stacklevel=3)
        if given.get("top_k") is None:
            given["top_k"] = topk
    unknown = given.keys() - {field.name for field in dataclasses.fields(Arguments)}
    if unknown:
        raise TypeError(
            f"there is no argument {', '.join(sorted(unknown))}: see qa_onnx.pipelines.pipeline.Arguments"
        )
    return dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})


def _device(device: object) -> Device | None:
    if device is None:
        return None  # what `Reader.load` makes of it
    name = "cpu" if device == -1 else str(device)
    if name in ("cuda", "cuda:0", "0"):
        return "cuda"
    if name != "cpu":
        raise InputError(
            f"device is {device!r}; it must be 'cpu', -1, 'cuda' or 0 (CUDA_VISIBLE_DEVICES chooses among GPUs)"
        )
    return "cpu"


def _load(
    model: str | Path | Bundle | None,
    *,
    device: Device | None,
    precision: str | None,
    engine: Engine | None,
    threads: int | None,
    compat: str | None,
) -> Reader:
    if model is not None and not isinstance(model, (str, Path, Bundle)):
        raise InputError(
            f"model is a {type(model).__name__}; it must be the path of a bundle, or the folder or hub id of a "
            "checkpoint (save a model of transformers with save_pretrained)"
        )

    def load(path: str | Path | Bundle | None) -> Reader:
        bundle = path if isinstance(path, Bundle) else Bundle.load(path)
        wanted = precision
        if wanted is None and compat is not None:
            wanted = _exact(bundle, Backend(engine or "onnxruntime", device or "cpu"))
        return Reader.load(bundle, precision=wanted, device=device, engine=engine, threads=threads)

    if model is None or isinstance(model, Bundle) or (Path(model) / MANIFEST).is_file():
        return load(model)
    from qa_onnx.export.cached import load_cached

    return load_cached(model, "fp32" if precision is None else precision, load)


def _exact(bundle: Bundle, backend: Backend) -> str | None:
    """fp32 where the bundle has it for this engine and device."""
    graph = bundle.manifest.graphs.get("fp32")
    if graph and str(backend) in graph.engines:
        return "fp32"
    warnings.warn(
        f"{bundle.path} holds {', '.join(bundle.manifest.graphs)}, so scores are not those of the old pipeline to "
        "the last digits: give a bundle with fp32, or name the precision to use",
        RuntimeWarning,
        stacklevel=5,
    )
    return None
