"""Reader: what users hold. It composes windows, batches, session, spans and answers.

    examples --Windower.cut--> windows --pack--> batches --Session.run--> logits
             --best_spans--> spans --merge--> predictions --choose--> answers

There is one path: `ask` is `predict` of one, `predict` is a list of `predict_iter`, and that reads the same
batches of logits as `logits`. All state of a call is local to it, so any number of threads may share a Reader.
What it composes them with are methods too (`cut`, `run`, `search`, `merge`), for what spreads a call over time:
dynamic_batching/requests.py.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx import batches
from qa_onnx.answers import Answer, Prediction, Row, ScoredWindow, merge, search
from qa_onnx.bundle.folder import Bundle
from qa_onnx.bundle.runtime import load_runtime
from qa_onnx.engines.overlap import overlapped
from qa_onnx.errors import InputError
from qa_onnx.options import Options
from qa_onnx.windows import CutExample, Example, Window, Windower

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qa_onnx.bundle.runtime import Runtime
    from qa_onnx.engines.names import Backend, Device, Engine
    from qa_onnx.session import Session
    from qa_onnx.spans import Logits

# Examples are taken in until they have this many characters, then answered: enough windows to sort by length
# into full batches, few enough to keep memory bounded and answers flowing.
_POOL_CHARACTERS = 200_000
_POOL_EXAMPLES = 512


class Reader:
    """Answers questions from contexts.

    Most users call `Reader.load()`. The constructor takes the parts themselves, for other engines and tests.

    Args:
        session: runs the graph.
        windower: cuts examples with the graph's own tokenizer.
        pad_id: token id that pads a batch.
        options: used wherever a call brings none; None: `Options()`.
        max_positions: tokens that the model reads at most; None: `options.max_length`.
        null_threshold: what "bundle" means in the options, see `Options.null_threshold`.
        temperature: see `Manifest.temperature`.

    Raises:
        InputError: the options do not fit the model.
        EngineError: the graph declares inputs that windows do not have.
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
        self.options = Options() if options is None else options
        self.null_threshold = null_threshold
        self.max_positions = self.options.max_length if max_positions is None else max_positions
        self._session = session
        self._windower = windower
        self._pad_id = pad_id
        self._temperature = temperature
        self._loaded: _Loaded | None = None
        batches.check_inputs(session.input_names)
        self._check(self.options)

    @classmethod
    def load(
        cls,
        bundle: str | Path | Bundle | None = None,
        *,
        precision: str | None = None,
        device: Device | None = None,
        engine: Engine | None = None,
        threads: int | None = None,
        options: Options | None = None,
        min_f1: float | None = None,
        allow_fallback: bool = False,
    ) -> Reader:
        """Make a reader of a bundle.

        Where `precision`, `device`, `engine` and `threads` are all left out and `qa-onnx tune` was run for the
        bundle on this machine, they are what it found, and so is `batch_tokens` where `options` are left out.

        It pickles by these arguments, not by its content: whoever unpickles it opens the bundle again.

        Args:
            bundle: its folder; None: the default one.
            precision: fp32, fp16, int8, int8-static, bf16 or int8-static-bf16; None: the bundle's best for the
                engine and device on this CPU.
            device: "cpu" or "cuda"; another than the one asked for is never used, unless `allow_fallback` is set.
                None: "cpu".
            engine: "onnxruntime"; "openvino", which runs int8-static and fp32 graphs on the CPU, and it alone bf16
                and int8-static-bf16; or "tensorrt", which runs graphs in standard operators on CUDA and compiles
                them at first use, for minutes. None: "openvino" for the two with bf16, else "onnxruntime".
            threads: of one run on the CPU; None: cores that this process may use.
            options: None: the defaults, with the bundle's max_length and, on a GPU, larger batches. To change one
                of a loaded reader's, use `dataclasses.replace(reader.options, n_best=3)`: `Options(n_best=3)` has
                windows of 384 tokens, whatever the bundle's.
            min_f1: refuse a graph whose receipt does not show at least this F1, in per cent.
            allow_fallback: where the GPU cannot be used (driver, libraries, wheel), warn and run the bundle's best
                precision for the CPU there; `backend` and `precision` tell what is used.

        Warns:
            RuntimeWarning: the CPU took over.

        Raises:
            BundleError: it is not a whole bundle, does not hold the precision, or does not reach `min_f1`.
            EngineError: the device or precision does not work here, such as bf16 on a CPU without it; a
                DeviceError where it is the device.
            MissingExtraError: no ONNX Runtime for the device is installed.
            InputError: the options do not fit the bundle.
        """
        arguments: dict[str, Any] = {
            "bundle": _location(bundle),
            "precision": precision,
            "device": device,
            "engine": engine,
            "threads": threads,
            "min_f1": min_f1,
            "allow_fallback": allow_fallback,
        }
        if not isinstance(bundle, Bundle):
            bundle = Bundle.load(bundle)
        manifest = bundle.manifest
        runtime, session = load_runtime(
            bundle,
            precision=precision,
            device=device,
            engine=engine,
            threads=threads,
            min_f1=min_f1,
            allow_fallback=allow_fallback,
        )
        if options is None:
            options = Options.for_windows_of(manifest.max_length)
            if runtime.batch_tokens is not None:
                options = dataclasses.replace(options, batch_tokens=runtime.batch_tokens)
        reader = cls(
            session=session,
            windower=Windower(bundle.text(manifest.tokenizer), cls_id=manifest.cls_id),
            pad_id=manifest.pad_id,
            options=options,
            max_positions=manifest.max_positions,
            null_threshold=manifest.null_threshold,
            temperature=manifest.temperature,
        )
        reader._loaded = _Loaded(arguments, runtime)
        return reader

    @property
    def precision(self) -> str | None:
        """The precision that is used; None where the reader was made of parts."""
        return self._loaded.runtime.precision if self._loaded else None

    @property
    def backend(self) -> Backend | None:
        """The backend that runs it, "onnxruntime/cpu" as text; None where the reader was made of parts."""
        return self._loaded.runtime.backend if self._loaded else None

    @property
    def run_overhead(self) -> int:
        """See `Session.run_overhead`."""
        return self._session.run_overhead

    def __reduce__(self) -> tuple[Any, ...]:
        if self._loaded is None:
            raise InputError(
                "this Reader was made of parts, and cannot be pickled: pickle one from Reader.load, which opens "
                "its bundle again, or make one in each process"
            )
        return _load, (type(self), {**self._loaded.arguments, "options": self.options})

    def ask(self, question: str, context: str, *, options: Options | None = None) -> Answer:
        """Answer one question from one context.

        Args:
            question: in plain words.
            context: a text of any length.
            options: instead of the reader's own.

        Returns:
            The answer; it is falsy when there is none: the context is blank, or "no answer" passes the
            null threshold.

        Raises:
            InputError: a text is not a str, or the options do not fit the model.
            EngineError: the graph failed, or returned what is not a number.
        """
        prediction = self.predict([Example(question, context)], options=options)[0]
        return self.choose(prediction, options=options)

    def choose(self, prediction: Prediction, *, options: Options | None = None) -> Answer:
        """The answer of a prediction under the null threshold of the options or of the bundle."""
        threshold = (self.options if options is None else options).null_threshold
        return prediction.choose(self.null_threshold if threshold == "bundle" else threshold)

    def predict(self, examples: Iterable[Example], *, options: Options | None = None) -> list[Prediction]:
        """Predict any number of examples, faster than one by one.

        Returns:
            A prediction for each example, in their order.

        Raises:
            InputError: see `ask`.
            EngineError: see `ask`.
        """
        return list(self.predict_iter(examples, options=options))

    def predict_iter(self, examples: Iterable[Example], *, options: Options | None = None) -> Iterator[Prediction]:
        """Predict a stream of examples in bounded memory.

        Examples are taken in groups, so the first prediction comes when its group is done. On a GPU the next group
        is taken in and cut while the GPU runs, before that.

        Yields:
            A prediction for each example, in their order.

        Raises:
            InputError: see `ask`.
            EngineError: see `ask`.
        """
        options = self.resolve(options)
        for cut, rows in self._groups(examples, options):
            scored: list[list[ScoredWindow]] = [[] for _ in cut]
            for part in self.search(rows, options):
                scored[part.window.example].append(part)
            for example, parts in zip(cut, scored, strict=True):
                yield self.merge(example, parts, options)

    def logits(self, examples: Iterable[Example], *, options: Options | None = None) -> Iterator[Row]:
        """The model's raw output, for evaluation and explanation; examples are taken as by `predict_iter`.

        Yields:
            Each window with its start_logits and end_logits, float32 (T,), T = len(window.input_ids);
            those of an example in the order of the text, examples in their order. `window.example` counts
            from the first example of the call.

        Raises:
            InputError: see `ask`.
            EngineError: the graph failed.
        """
        options = self.resolve(options)
        done = 0
        for cut, rows in self._groups(examples, options):
            for window, start, end in sorted(rows, key=lambda row: (row[0].example, row[0].token_offset)):
                length = len(window.input_ids)
                yield dataclasses.replace(window, example=done + window.example), start[:length], end[:length]
            done += len(cut)

    def _groups(
        self, examples: Iterable[Example], options: Options
    ) -> Iterator[tuple[list[CutExample], list[Row]]]:
        """Examples in groups, with the rows of all windows of a group in order of length."""

        def run(cut: list[CutExample]) -> Iterator[Row]:
            windows = [window for example in cut for window in example.windows]
            return self.rows(windows, batch_tokens=options.batch_tokens)

        groups = ((self.cut(pool, options), more) for pool, more in _pools(examples))
        if self._session.frees_host:
            return overlapped(groups, run)
        return ((cut, list(run(cut))) for cut, _ in groups)

    def resolve(self, options: Options | None) -> Options:
        """The options of a call: the reader's own where it brings none.

        Raises:
            InputError: they are no options, or do not fit the model.
        """
        if options is None:
            return self.options
        if not isinstance(options, Options):
            raise InputError(f"options must be of type Options, got {type(options).__name__}")
        self._check(options)
        return options

    def _check(self, options: Options) -> None:
        options.room(len(self._windower.template))
        if options.max_length > self.max_positions:
            raise InputError(
                f"max_length is {options.max_length}; this model reads at most {self.max_positions} tokens"
            )

    def forget(self) -> None:
        """Forget the tokens that are remembered of contexts and words, for benchmarks; answers stay the same.

        Other threads may ask meanwhile; what they tokenize just then may be remembered. Where the tokenizer is not
        BERT's, the tokenizers library has a memory of its own, which stays.
        """
        self._windower.forget()

    def cut(self, examples: Sequence[Example], options: Options) -> list[CutExample]:
        """The windows of each example; see `Windower.cut`."""
        return self._windower.cut(examples, options)

    def run(
        self, windows: Sequence[Window], *, batch_tokens: int
    ) -> Iterator[tuple[batches.Batch, Logits, Logits]]:
        """The logits of windows, of any examples.

        Args:
            windows: in any order.
            batch_tokens: see `Options.batch_tokens`.

        Yields:
            Each batch, in order of length, with its start_logits and end_logits, float32 (B, T).

        Raises:
            EngineError: the graph failed.
        """
        for batch in batches.pack(
            windows,
            batch_tokens=batch_tokens,
            padding=self.run_overhead,
            input_names=self._session.input_names,
            pad_id=self._pad_id,
        ):
            start_logits, end_logits = self._session.run(batch.inputs)
            yield batch, start_logits, end_logits

    def rows(self, windows: Sequence[Window], *, batch_tokens: int) -> Iterator[Row]:
        """What `run` gives, window by window: each with its start_logits and end_logits, float32 (T,), padded."""
        for batch, start_logits, end_logits in self.run(windows, batch_tokens=batch_tokens):
            yield from zip(batch.windows, start_logits, end_logits, strict=True)

    def search(self, rows: Sequence[Row], options: Options) -> Iterator[ScoredWindow]:
        """The best spans of windows that have run; see `answers.search`."""
        return search(rows, options, temperature=self._temperature)

    def merge(self, example: CutExample, scored: Iterable[ScoredWindow], options: Options) -> Prediction:
        """The prediction of an example from all of its windows, in any order."""
        ordered = sorted(scored, key=lambda part: part.window.token_offset)
        return merge(example, ordered, options, temperature=self._temperature)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a reader was loaded with, to do it again elsewhere, and what came of it."""

    arguments: dict[str, Any]
    runtime: Runtime


def _location(bundle: str | Path | Bundle | None) -> Path | None:
    """Where a bundle is, whatever folder a process works in; None: the default one, wherever that is."""
    if bundle is None:
        return None
    return Path(bundle.path if isinstance(bundle, Bundle) else bundle).absolute()


def _load(cls: type[Reader], arguments: dict[str, Any]) -> Reader:
    return cls.load(**arguments)


def check_example(example: Example) -> None:
    """Refuse what is no example.

    Raises:
        InputError: it is none.
    """
    if not isinstance(example, Example):
        raise InputError(f"examples must be of type Example, got {type(example).__name__} {example!r:.80}")


def _pools(examples: Iterable[Example]) -> Iterator[tuple[list[Example], bool]]:
    """Examples in groups of at most `_POOL_CHARACTERS` and `_POOL_EXAMPLES`, at least one a group.

    Yields:
        Each group, and whether another one follows.
    """
    waiting: list[Example] = []
    characters = 0
    for example in examples:
        check_example(example)
        size = len(example.question) + len(example.context)
        if waiting and (characters + size > _POOL_CHARACTERS or len(waiting) == _POOL_EXAMPLES):
            yield waiting, True
            waiting, characters = [], 0
        waiting.append(example)
        characters += size
    if waiting:
        yield waiting, False
