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
from typing import TYPE_CHECKING, Any, Literal

from qa_onnx.errors import InputError, quoted, warn_caller
from qa_onnx.options import Options
from qa_onnx.pipelines.attributes import advice, facts
from qa_onnx.pipelines.hf4 import PipelineResult, hf4_results
from qa_onnx.pipelines.inputs import Arguments, read_inputs
from qa_onnx.pipelines.loading import check_parts, load_reader
from qa_onnx.pipelines.settings import override, read_settings
from qa_onnx.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Self

    from qa_onnx.answers import Prediction
    from qa_onnx.engines.names import Engine
    from qa_onnx.windows import Example

_TASK = "question-answering"
_SPECIAL_TOKENS = 4  # the most that a tokenizer adds to question and context


class QuestionAnsweringPipeline:
    """A Reader behind the call of the old pipeline; as a context manager, or by `close`, it frees the model.

    Args:
        model: see `pipeline`.
        tokenizer: see `pipeline`.
        task: "question-answering", or None.
        config: see `pipeline`.
        compat: see `pipeline`.
        arguments: all others of `pipeline`.

    Raises:
        InputError: see `pipeline`, which says what else is raised.

    Attributes:
        reader: answers the questions.
        compat: None or "hf4".
        arguments: the defaults of calls.
        model: its name and sizes, under their names in transformers.
        tokenizer: likewise.
    """

    def __init__(
        self,
        model: Any = None,
        tokenizer: Any = None,
        *,
        task: str | None = _TASK,
        config: Any = None,
        compat: Literal["hf4"] | None = None,
        **arguments: Any,
    ) -> None:
        if not (task is None or (isinstance(task, str) and task in ("", _TASK))):
            raise InputError(f"Unknown task {quoted(task)}; the only one is {_TASK!r}")
        if not (compat is None or (isinstance(compat, str) and compat == "hf4")):
            raise InputError(f"compat is {quoted(compat)}; it must be None or 'hf4'")
        settings, self.arguments, ignored = read_settings(arguments)
        self.compat = compat
        tokenizer = check_parts(model, tokenizer, config)
        if isinstance(model, Reader):
            ignored += [f"{name} (the Reader is loaded already)" for name in settings.named]
        if model is None and "revision" in settings.download:
            ignored.append("revision (the default model comes with the package)")
        if ignored:
            warn_caller(f"pipeline ignores {'; '.join(ignored)}", UserWarning)
        exact = settings.exact or compat is not None
        loaded = load_reader(model, tokenizer, settings, exact=exact)
        self.reader = loaded.reader
        self._owns_reader = not isinstance(model, Reader)
        self.model, self.tokenizer = facts(loaded)

    def __repr__(self) -> str:
        reader, compat = self.reader, f", compat={self.compat!r}" if self.compat else ""
        if not self._owns_reader:
            return f"{type(self).__name__}(model={reader!r}{compat})"
        name, closed = (
            f"{type(self).__name__}(model={self.model.name_or_path!r}",
            ", closed" if reader.closed else "",
        )
        return f"{name}, precision={reader.precision}, backend={reader.backend}{compat}{closed})"

    def close(self) -> None:
        """Free the model; see `Reader.close`. A Reader that the caller passed stays open."""
        if self._owns_reader:
            self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}: {advice(name)}")

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
            question: a str, or a sequence of them.
            context: a str, or a sequence of them, one for each question.
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
        chosen = override(self.arguments, {**arguments, "topk": topk})
        inputs = read_inputs(args, question, context, data if X is None else X)
        stream = self._answer(inputs.examples, chosen)
        if inputs.form == "stream":
            return stream
        results = list(stream)
        unpack = inputs.form == "one" or (self.compat == "hf4" and inputs.form == "many" and len(results) == 1)
        return results[0] if unpack else results

    def transform(self, X: object) -> Any:  # noqa: N803  # the old name
        """Return `self(X)`; the old name for scikit-learn."""
        return self(X)

    predict = transform

    @staticmethod
    def create_sample(question: Any, context: Any) -> Example | list[Example]:
        """Return an example, or a list of them for two sequences, as the old pipeline made SquadExamples."""
        inputs = read_inputs((), question, context, None)
        examples = list(inputs.examples)
        return examples[0] if inputs.form == "one" else examples

    @property
    def task(self) -> str:
        """The name of the task."""
        return _TASK

    @property
    def device(self) -> str | None:
        """The device as text, "cpu" or "cuda"; None where the Reader was made of parts."""
        return self.reader.backend.device if self.reader.backend else None

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
        batch, question = arguments.batch_size, arguments.max_question_len
        stride = base.doc_stride if arguments.doc_stride is None else arguments.doc_stride
        if question is None:
            question = base.max_question_length
            if base.max_length - (question or 0) - _SPECIAL_TOKENS <= stride:
                question = None  # any overlap works, as it did, with a question that leaves the context more room
        return dataclasses.replace(
            base,
            doc_stride=stride,
            max_question_length=question,
            max_answer_length=arguments.max_answer_len,
            n_best=arguments.top_k,
            overlapping=True,  # as in transformers, like the next line
            across_blocks=True,
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
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    *,
    compat: Literal["hf4"] | None = None,
    device: Any = None,
    precision: str | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
    require_signature: str | Path | bytes | None = None,
    **arguments: Any,
) -> QuestionAnsweringPipeline:
    """Return a pipeline like that of `transformers.pipeline("question-answering", ...)` before transformers 5.

    Args:
        task: "question-answering", or None.
        model: a bundle, or the folder or hub id of a checkpoint, which is exported at first use and kept in the
            user's cache, see export/cached.py; or a model object of transformers or optimum, likewise, but kept
            until it is unused for a week. None: the default bundle. A Reader is used as it is.
        config: accepted if it is the model's own.
        tokenizer: of transformers, an object or a name; needed beside a model object. The name of the model
            itself changes nothing; a bundle takes no other.
        compat: None, or "hf4" for the answers, offsets and scores of transformers 4.57.6.
        device: "cpu", "cuda", -1 (the CPU), 0 (the GPU), or a torch.device.
        precision: see `Reader.load`. None: for a bundle the best for the device, or fp32 with compat="hf4" if the
            bundle has it; for a checkpoint fp32, since the accuracy of the others was not measured.
        engine: see `Reader.load`.
        threads: see `Reader.load`.
        require_signature: see `Reader.load`; the model must be a bundle then.
        arguments: fields of `Arguments`, the defaults of all calls; and the other arguments of the old function:
            docs/coming-from-transformers.md says what becomes of each.

    Raises:
        InputError: unknown task, device or compat, or an argument is out of range or cannot be followed.
        TypeError: there is no such argument.
        BundleError: see `Reader.load`.
        EngineError: see `Reader.load`.
        ExportError: the checkpoint cannot be exported.
        MissingExtraError: a package is not installed: ONNX Runtime, or what an export needs.
    """
    return QuestionAnsweringPipeline(
        model,
        tokenizer,
        task=task,
        config=config,
        compat=compat,
        device=device,
        precision=precision,
        engine=engine,
        threads=threads,
        require_signature=require_signature,
        **arguments,
    )
