"""Reader: questions and contexts -> answers.

`ask` is `predict` of one example, and `predict` a list of `predict_iter`, which takes the steps of steps.py.
Any number of threads may share a Reader. Asyncio, and batches of several callers, are in dynamic_batching.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

from qa_onnx.answers import Answer, Prediction
from qa_onnx.bundle.folder import Bundle
from qa_onnx.bundle.runtime import open_parts, resolve_runtime
from qa_onnx.errors import InputError
from qa_onnx.options import Options, check_type, check_types, refuse_arguments
from qa_onnx.session import ClosedSession
from qa_onnx.steps import Steps
from qa_onnx.windows import Example

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Self

    from qa_onnx.bundle.runtime import Runtime
    from qa_onnx.engines.names import Backend, Device, Engine
    from qa_onnx.session import Session
    from qa_onnx.spans import WindowLogits
    from qa_onnx.windows import AnyExample, Windower


class Reader:
    """Answers questions from contexts.

    Most users call `Reader.load()`. The constructor takes the parts themselves, for other engines and tests.
    As a context manager, or by `close`, it frees the model.

    Args:
        session: runs the graph.
        windower: cuts examples with the graph's own tokenizer.
        pad_id: token id that pads a batch.
        options: for calls without options of their own; None: `Options()`.
        max_positions: tokens that the model reads at most; None: `options.max_length`.
        null_threshold: what "bundle" means in the options, see `Options.null_threshold`.
        temperature: see `Manifest.temperature`.

    Raises:
        InputError: an argument is of a wrong type, or the options do not fit the model.
        EngineError: the graph declares inputs that cannot be made from a window.

    Attributes:
        steps: the steps of a prediction, for code that takes them one by one.
        runtime: what it runs with; None where it was made of parts.
    """

    def __init__(
        self,
        *,
        session: Session,
        windower: Windower,
        pad_id: int = 0,
        options: Options | None = None,
        max_positions: int | None = None,
        null_threshold: float | None = None,
        temperature: float = 1.0,
    ) -> None:
        check_types({"options": options, "null_threshold": null_threshold})
        self.options = Options() if options is None else options
        self.null_threshold = null_threshold
        self.steps = Steps(
            session=session,
            windower=windower,
            pad_id=pad_id,
            max_positions=self.options.max_length if max_positions is None else max_positions,
            temperature=temperature,
        )
        self.runtime: Runtime | None = None
        self._name = ""  # of its bundle
        self._arguments: dict[str, Any] | None = None  # of `load`, except for `options`, in a pickle
        self.steps.check(self.options)

    @classmethod
    def load(
        cls,
        bundle: str | Path | Bundle | None = None,
        *,
        revision: str | None = None,
        precision: str | None = None,
        device: Device | None = None,
        engine: Engine | None = None,
        threads: int | None = None,
        options: Options | None = None,
        min_f1: float | None = None,
        require_signature: str | Path | bytes | None = None,
        allow_fallback: bool = False,
    ) -> Reader:
        """Load a reader from a bundle.

        With none of `precision`, `device`, `engine`, `threads` the result of `qa-onnx tune` is used, if any,
        and its `batch_tokens` with no `options`. Else, on the CPU with neither `precision` nor `engine`, what
        is expected to be the fastest here. A pickle holds these arguments, and the absolute path.

        Args:
            bundle: its folder or .qab file, or "org/name" on the Hugging Face hub; None: the default one.
            revision: branch, tag or commit on the hub; None: the branch main.
            precision: fp32, fp16, int8, int8-static, bf16 or int8-static-bf16; None: the best that runs here.
            device: "cpu" or "cuda"; None: that of the tuning, else "cpu".
            engine: "onnxruntime"; "openvino" on the CPU, for fp32, int8-static and the two with bf16 (None: for
                these); or "tensorrt", for graphs in standard operators on CUDA, compiled first, for minutes.
            threads: of one run on the CPU, or of as many runs of a call side by side; None: cores that this
                process may use.
            options: None: the defaults, with the bundle's max_length and, on a GPU, larger batches. To change one,
                use `dataclasses.replace(reader.options, n_best=3)`: `Options()` does not know the max_length.
            min_f1: refuse a graph whose receipt does not show at least this F1, in per cent.
            require_signature: refuse a bundle that this public key did not sign; see `Bundle.load`.
            allow_fallback: where the GPU cannot be used, use the CPU, with a RuntimeWarning; with `precision`, if
                the bundle has it for the CPU.

        Raises:
            BundleError: it is not whole, lacks the precision, does not reach `min_f1`, or the key did not sign it.
            EngineError: the precision does not work here; a DeviceError where the device cannot be used.
            MissingExtraError: no ONNX Runtime for the device is installed, or no huggingface_hub for a name.
            InputError: a wrong type, options that do not fit the bundle, or no public key of Ed25519.
        """
        named: dict[str, Any] = {"precision": precision, "device": device, "engine": engine, "threads": threads}
        named["allow_fallback"] = allow_fallback
        check_types({**named, "min_f1": min_f1, "options": options})
        opened = Bundle.load(bundle, revision=revision, require_signature=require_signature)
        place = None if bundle is None else opened.path.absolute()
        again = {"bundle": place, "require_signature": require_signature, "min_f1": min_f1, **named}
        reader = cls.from_runtime(opened, resolve_runtime(opened, **named), options=options, min_f1=min_f1)
        reader._arguments = again
        return reader

    @classmethod
    def from_runtime(
        cls, bundle: Bundle, runtime: Runtime, *, options: Options | None = None, min_f1: float | None = None
    ) -> Reader:
        """Load a reader that runs as was chosen before, by `resolve_runtime`; see `load`. It cannot be pickled."""
        used, parts = open_parts(bundle, runtime, options=options, min_f1=min_f1)
        reader = cls(**parts)
        reader.runtime, reader._name = used, bundle.manifest.source.name
        return reader

    def __repr__(self) -> str:
        of_bundle = f"bundle={self._name!r}, {self.runtime}"
        made_of = f"session={type(self.steps.session).__name__}" if self.runtime is None else of_bundle
        return f"{type(self).__name__}({made_of}{', closed' if self.closed else ''})"

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return isinstance(self.steps.session, ClosedSession)

    def close(self) -> None:
        """Free the model; calls that come later raise ClosedError, and `close` may be called several times.

        Calls that go on end as usual, and so does an AsyncReader on it; with the last of them the memory is free.
        """
        self.steps = dataclasses.replace(self.steps, session=ClosedSession(self.steps.session))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def precision(self) -> str | None:
        """The precision in use; None where the reader was made of parts."""
        return None if self.runtime is None else self.runtime.precision

    @property
    def backend(self) -> Backend | None:
        """The backend in use, as text "onnxruntime/cpu"; None where the reader was made of parts."""
        return None if self.runtime is None else self.runtime.backend

    @property
    def max_positions(self) -> int:
        """Tokens that the model reads at most."""
        return self.steps.max_positions

    def __reduce__(self) -> tuple[Any, ...]:
        if self._arguments is None:
            raise InputError("this was made of parts, and cannot be pickled", remedy="pickle one from Reader.load")
        return partial(type(self).load, **self._arguments, options=self.options), ()

    def ask(self, question: str, context: str, *, options: Options | None = None, **other: object) -> Answer:
        """Answer one question from one context.

        Args:
            question: in plain words.
            context: a text of any length.
            options: instead of the reader's own.
            other: nothing; an option that comes by itself, such as `n_best=3`, gets an error that tells the way.

        Returns:
            The answer; falsy when there is none, and when it is not sure: see `Answer.state`.

        Raises:
            InputError: a text is not a str, or the options do not fit the model.
            EngineError: the graph failed, or its logits are infinite or not a number.
            ClosedError: the reader is closed.
        """
        refuse_arguments(other)
        [prediction] = self.predict([Example(question, context)], options=options)
        return self.choose(prediction, options=options)

    def choose(self, prediction: Prediction, *, options: Options | None = None) -> Answer:
        """Choose between a prediction's best answer and none, by the null threshold of options or bundle."""
        check_type("prediction", prediction, Prediction, "a Prediction, which `predict` returns")
        options = self.resolve(options)
        threshold = options.threshold(self.null_threshold)
        return prediction.choose(threshold, min_probability=options.min_probability)

    def predict(self, examples: Iterable[AnyExample], *, options: Options | None = None) -> list[Prediction]:
        """Predict any number of examples, or (question, context) tuples or dicts; see `predict_iter`."""
        return list(self.predict_iter(examples, options=options))

    def predict_iter(
        self, examples: Iterable[AnyExample], *, options: Options | None = None
    ) -> Iterator[Prediction]:
        """Predict a stream of examples in bounded memory, faster than one by one; errors are those of `ask`.

        Examples are taken in portions; on a GPU the next one is read and cut while the GPU runs the one before.

        Yields:
            A prediction for each example, in their order.
        """
        return self.steps.predictions(examples, self.resolve(options))

    def logits(self, examples: Iterable[AnyExample], *, options: Options | None = None) -> Iterator[WindowLogits]:
        """Return the model's raw output, for evaluation and explanation; reads examples as `predict_iter` does.

        Yields:
            Each window with its logits, without padding, in the order of examples and text. `window.example`
            counts from the first example of the call.
        """
        return self.steps.logits(examples, self.resolve(options))

    def resolve(self, options: Options | None) -> Options:
        """Return the options of a call, or the reader's own for None; InputError: they do not fit the model."""
        if options is None:
            return self.options
        check_type("options", options, Options, "of type Options, or None")
        self.steps.check(options)
        return options
