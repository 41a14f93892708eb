"""The question-answering pipeline that transformers 5 removed, on a Reader: same calls, same form of results.

>>> from qa_onnx import pipeline
>>> qa = pipeline("question-answering")
>>> qa(question="What colour is the boat?", context="The boat is blue and the sail is white.")["answer"]
'blue'

By default answers are those of `Reader.predict`; `compat="hf4"` gives those of transformers 4.57.6 (hf4.py).
Left out: the forms and options of the old call (inputs.py), and exporting a checkpoint (export/cached.py).
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
from qa_onnx.pipelines.inputs import Arguments, read_inputs
from qa_onnx.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qa_onnx.answers import Prediction
    from qa_onnx.engines.names import Device, Engine
    from qa_onnx.windows import Example

_TASK = "question-answering"


class QuestionAnsweringPipeline:
    """A Reader behind the call of the old pipeline; `pipeline(...)` makes one.

    Args:
        reader: answers the questions.
        compat: None, or "hf4" for the results of transformers 4.57.6.
        arguments: default options of the calls.

    Raises:
        InputError: unknown `compat`.
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
        X: object = None,  # noqa: N803  # the old name
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
            X: older name of `data`.
            topk: deprecated name of top_k.
            padding: accepted and ignored: a window is never padded to more than its batch needs.
            num_workers: accepted and ignored.
            arguments: fields of `Arguments`; None: the pipeline's own.

        Returns:
            For one question a dictionary with score, start, end and answer if `top_k` is 1, otherwise a list of at
            most `top_k` dictionaries, best first. For several questions a list of these, for a generator an
            iterator. With compat="hf4" a list of length 1 is replaced by its item, except from a generator.

        Raises:
            InputError: (a ValueError) unknown form of arguments, an empty text, or a value out of range.
            EngineError: see `Reader.ask`.
        """
        chosen = _override(self.arguments, {**arguments, "topk": topk})
        inputs = read_inputs(args, question, context, data if X is None else X)
        stream = self._answer(inputs.examples, chosen)
        if inputs.form == "stream":
            return stream
        results = list(stream)
        unpack = inputs.form == "one" or (self.compat == "hf4" and inputs.form == "many" and len(results) == 1)
        return results[0] if unpack else results

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
        """Return the results of a prediction; "no answer" is first if it wins, else in the order of scores."""
        results = [
            PipelineResult(score=answer.probability, start=answer.start, end=answer.end, answer=answer.text)
            for answer in prediction.answers
        ]
        null = PipelineResult(score=prediction.null_probability, start=0, end=0, answer="")
        if arguments.handle_impossible_answer:
            threshold = self.reader.null_threshold
            answered = prediction.choose(0.0 if threshold is None else threshold)
            better = sum(result["score"] >= null["score"] for result in results[1:])
            results.insert(1 + better if answered else 0, null)
        elif arguments.top_k == 1 and not results:
            results = [null]  # a blank context
        return results[: arguments.top_k]


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
    """Return a pipeline like that of `transformers.pipeline("question-answering", ...)` before transformers 5.

    Args:
        task: "question-answering", or None.
        model: a bundle, or the folder or hub id of a checkpoint, which is exported at first use and kept in the
            user's cache, see export/cached.py; None: the default bundle. A Reader is used as it is.
        compat: None, or "hf4" for the answers, offsets and scores of transformers 4.57.6.
        tokenizer: accepted if it equals `model`; a bundle has its own.
        device: "cpu", "cuda", -1 (the CPU), 0 (the GPU), or a torch.device.
        precision: see `Reader.load`. None: for a bundle the best for the device, or fp32 with compat="hf4" if the
            bundle has it; for a checkpoint fp32, since the accuracy of the others was not measured.
        engine: see `Reader.load`.
        threads: see `Reader.load`.
        arguments: fields of `Arguments`, the defaults of all calls.

    Raises:
        InputError: unknown task, device or compat, or an argument is out of range.
        BundleError: see `Reader.load`.
        EngineError: see `Reader.load`.
        ExportError: the checkpoint cannot be exported.
        MissingExtraError: a package is not installed: ONNX Runtime, or what an export needs.
    """
    if task not in (None, _TASK):
        raise InputError(f"Unknown task {task!r}; the only one is {_TASK!r}")
    if tokenizer is not None and str(tokenizer) != str(model):
        raise InputError(f"tokenizer is {tokenizer!r:.80}; a model has its own", remedy="omit the argument")
    if model is not None and not isinstance(model, (str, Path, Bundle, Reader)):
        raise InputError(
            f"model is a {type(model).__name__}; it must be the path of a bundle, or the folder or hub id of a "
            "checkpoint (save a model of transformers with save_pretrained)"
        )
    defaults = _override(Arguments(), arguments)
    on = None if isinstance(model, Reader) else _device(device)

    def load(path: str | Path | Bundle | None) -> Reader:
        bundle = path if isinstance(path, Bundle) else Bundle.load(path)
        chosen = precision
        if chosen is None and compat is not None:
            chosen = _exact(bundle, Backend(engine or "onnxruntime", on or "cpu"))
        return Reader.load(bundle, precision=chosen, device=on, engine=engine, threads=threads)

    if isinstance(model, Reader):
        reader = model
    elif model is None or isinstance(model, Bundle) or (Path(model) / MANIFEST).is_file():
        reader = load(model)
    else:
        from qa_onnx.export.cached import load_cached

        reader = load_cached(model, "fp32" if precision is None else precision, load)
    return QuestionAnsweringPipeline(reader, compat=compat, arguments=defaults)


def _override(base: Arguments, changes: dict[str, Any]) -> Arguments:
    """Return the arguments with all changes that are not None."""
    topk = changes.pop("topk", None)
    if topk is not None:
        warnings.warn("topk parameter is deprecated, use top_k instead", UserWarning, stacklevel=3)
        if changes.get("top_k") is None:
            changes["top_k"] = topk
    unknown = changes.keys() - {field.name for field in dataclasses.fields(Arguments)}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise TypeError(f"there is no argument {names}: see qa_onnx.pipelines.inputs.Arguments")
    return dataclasses.replace(base, **{name: value for name, value in changes.items() if value is not None})


def _device(device: object) -> Device | None:
    if device is None:
        return None  # the default of `Reader.load`
    name = "cpu" if device == -1 else str(device)
    if name in ("cuda", "cuda:0", "0"):
        return "cuda"
    if name != "cpu":
        raise InputError(
            f"device is {device!r}; it must be 'cpu', -1, 'cuda' or 0 (CUDA_VISIBLE_DEVICES selects a GPU)"
        )
    return "cpu"


def _exact(bundle: Bundle, backend: Backend) -> str | None:
    """Return fp32 if the bundle has it for the backend; otherwise warn, and return None."""
    if "fp32" in bundle.precisions(backend):
        return "fp32"
    warnings.warn(
        f"{bundle.path} holds {', '.join(bundle.manifest.graphs)}, so scores are not exactly those of the old "
        "pipeline: use a bundle with fp32, or name the precision to use",
        RuntimeWarning,
        stacklevel=4,
    )
    return None
