"""Steps: examples -> windows -> logits -> spans -> predictions, one method for each arrow.

    examples --cut--> windows --run--> logits --search--> spans --merge--> predictions

`Reader` takes all steps of a call one after the other. What spreads the steps of many calls over time
(dynamic_batching) or measures each by itself (bench) takes them from here too, so there is one way to an answer.
Left out: the choice between an answer and none, and loading (reader.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from qa_onnx.answers import find_spans, make_prediction
from qa_onnx.batches import check_inputs, pack
from qa_onnx.engines.interruptible import interruptible
from qa_onnx.engines.overlap import overlapped
from qa_onnx.engines.running import run_in_lanes, runner
from qa_onnx.errors import InputError, quoted
from qa_onnx.options import check_types
from qa_onnx.session import check_finite, check_logits, has_lanes, is_endable
from qa_onnx.spans import WindowLogits
from qa_onnx.windows import CutExample, as_example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qa_onnx.answers import Prediction
    from qa_onnx.batches import Batch
    from qa_onnx.options import Options
    from qa_onnx.session import Arrays, Session, Stop
    from qa_onnx.spans import ScoredWindow
    from qa_onnx.windows import AnyExample, Example, Window, Windower

# A portion of examples ends with so many characters or examples: enough windows to sort by length into full
# batches, and few enough to bound memory and to let the first answers out soon.
_PORTION_CHARACTERS = 200_000
_PORTION_EXAMPLES = 512

_Cut = TypeVar("_Cut", bound="CutExample | InputError")


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A model with its tokenizer, and the steps from examples to predictions.

    `dataclasses.replace(steps, session=other)` makes the same steps with another session, such as one with a
    clock. No step changes anything, so any number of threads may share them.

    Attributes:
        session: runs the graph.
        windower: cuts examples with the graph's own tokenizer.
        pad_id: token id that pads a batch.
        max_positions: tokens that the model reads at most.
        temperature: divides scores before the softmax over distinct answers; see `Manifest.temperature`.

    Raises:
        InputError: a number is of a wrong type.
        EngineError: the graph declares inputs that cannot be made from a window.
    """

    session: Session
    windower: Windower
    pad_id: int
    max_positions: int
    temperature: float

    def __post_init__(self) -> None:
        check_types({"pad_id": self.pad_id, "max_positions": self.max_positions, "temperature": self.temperature})
        check_inputs(self.session.input_names)

    def check(self, options: Options) -> None:
        """Refuse options that do not fit the model.

        Raises:
            InputError: windows are longer than the model reads, or have no room for the context.
        """
        options.room(len(self.windower.template))
        if options.max_length > self.max_positions:
            raise InputError(
                f"max_length is {options.max_length}; this model reads at most {self.max_positions} tokens"
            )

    def cut(self, examples: Sequence[Example], options: Options) -> list[CutExample]:
        """Cut each example into windows; see `Windower.cut`."""
        return self.windower.cut(examples, options)

    def run(
        self, windows: Sequence[Window], *, batch_tokens: int, stop: Stop | None = None
    ) -> Iterator[tuple[Batch, list[WindowLogits]]]:
        """Run windows of any examples in batches of similar length, side by side if there are enough for that.

        Args:
            windows: in any order.
            batch_tokens: see `Options.batch_tokens`; side by side, batches are smaller, see `batches.for_lanes`.
            stop: ends the run that goes on, where the session is an `EndableSession`, and all later ones.

        Yields:
            Each batch, and its windows with their logits.

        Raises:
            EngineError: the graph failed, returned no logits for each token, or logits that are not numbers.
        """
        session = self.session
        ran: Iterable[tuple[Batch, Arrays]]
        if has_lanes(session, len(windows)):
            batches = list(self._pack(windows, min(batch_tokens, session.lane_tokens), lanes=session.lanes))
            logits = run_in_lanes(session, [batch.inputs for batch in batches], stop)
            ran = zip(batches, logits, strict=True)
        else:
            run = runner(session, stop)
            ran = ((batch, run(batch.inputs)) for batch in self._pack(windows, batch_tokens))
        for batch, outputs in ran:
            start, end = check_logits(outputs, batch.inputs["input_ids"].shape)
            check_finite((start, end), [len(window.input_ids) for window in batch.windows])
            yield batch, list(map(WindowLogits._make, zip(batch.windows, start, end, strict=True)))

    def _pack(self, windows: Sequence[Window], batch_tokens: int, *, lanes: int = 1) -> Iterator[Batch]:
        return pack(
            windows,
            batch_tokens=batch_tokens,
            padding=self.session.run_overhead,
            lanes=lanes,
            input_names=self.session.input_names,
            pad_id=self.pad_id,
        )

    def search(self, rows: Sequence[WindowLogits], options: Options) -> Iterator[ScoredWindow]:
        """Find the best spans of windows that have run; see `answers.find_spans`."""
        return find_spans(rows, options)

    def merge(self, example: CutExample, scored: Iterable[ScoredWindow], options: Options) -> Prediction:
        """Make the prediction of an example from all of its windows, in any order."""
        ordered = sorted(scored, key=lambda part: part.window.token_offset)
        return make_prediction(example, ordered, options, temperature=self.temperature_for(options))

    def temperature_for(self, options: Options) -> float:
        """Return what divides scores: overlapping answers have the plain softmax that transformers has."""
        return 1.0 if options.overlapping else self.temperature

    def stream(
        self,
        examples: Iterable[AnyExample],
        options: Options,
        *,
        on_run: Callable[[int, int], object] | None = None,
    ) -> Iterator[tuple[list[CutExample], list[WindowLogits]]]:
        """Cut and run examples portion by portion; on a GPU the next portion is cut while one runs.

        Args:
            examples: any number.
            options: of all of them.
            on_run: is called after each batch, not always in the caller's thread, with the windows that have run
                so far and those of all portions that were begun.

        Yields:
            The examples of each portion, and their windows in any order. `window.example` counts from the
            first example of the portion.
        """
        return self._stream(examples, options, self.cut, on_run)

    def _stream(
        self,
        examples: Iterable[AnyExample],
        options: Options,
        cut_portion: Callable[[Sequence[Example], Options], list[_Cut]],
        on_run: Callable[[int, int], object] | None = None,
    ) -> Iterator[tuple[list[_Cut], list[WindowLogits]]]:
        done = total = 0

        def run(cut: list[_Cut], stop: Stop | None = None) -> Iterator[list[WindowLogits]]:
            nonlocal done, total
            windows = [window for example in cut if isinstance(example, CutExample) for window in example.windows]
            total += len(windows)
            for _, rows in self.run(windows, batch_tokens=options.batch_tokens, stop=stop):
                done += len(rows)
                if on_run is not None:
                    on_run(done, total)
                yield rows

        def run_whole(cut: list[_Cut]) -> list[list[WindowLogits]]:
            if not is_endable(self.session):
                return list(run(cut))
            return interruptible(lambda stop: list(run(cut, stop)))  # one helper for all of its batches

        portions = ((cut_portion(portion, options), more) for portion, more in _portions(examples))
        if self.session.leaves_cpu_idle:
            ran = overlapped(portions, run)
        else:
            ran = ((cut, run_whole(cut)) for cut, _ in portions)
        for cut, batches in ran:
            yield cut, [row for rows in batches for row in rows]

    def predictions(
        self,
        examples: Iterable[AnyExample],
        options: Options,
        *,
        on_run: Callable[[int, int], object] | None = None,
    ) -> Iterator[Prediction]:
        """Take all steps for a stream of examples; see `Reader.predict_iter`, and `stream` for `on_run`."""
        for cut, rows in self.stream(examples, options, on_run=on_run):
            for example, parts in zip(cut, self._scored(len(cut), rows, options), strict=True):
                yield self.merge(example, parts, options)

    def predict_each(self, examples: Iterable[Example], options: Options) -> Iterator[Prediction | InputError]:
        """Take all steps for a stream of examples; one that cannot be cut has its error instead."""
        for cut, rows in self._stream(examples, options, self.windower.cut_each):
            for example, parts in zip(cut, self._scored(len(cut), rows, options), strict=True):
                yield example if isinstance(example, InputError) else self.merge(example, parts, options)

    def _scored(self, count: int, rows: Sequence[WindowLogits], options: Options) -> list[list[ScoredWindow]]:
        """Find the best spans of the windows of a portion, for each of its examples."""
        scored: list[list[ScoredWindow]] = [[] for _ in range(count)]
        for part in self.search(rows, options):
            scored[part.window.example].append(part)
        return scored

    def logits(self, examples: Iterable[AnyExample], options: Options) -> Iterator[WindowLogits]:
        """Cut and run a stream of examples; see `Reader.logits`."""
        done = 0
        for cut, rows in self.stream(examples, options):
            for row in sorted(rows, key=lambda row: (row.window.example, row.window.token_offset)):
                window, *logits = row.without_padding()
                yield WindowLogits(replace(window, example=done + window.example), *logits)
            done += len(cut)


def _portions(examples: Iterable[AnyExample]) -> Iterator[tuple[list[Example], bool]]:
    """Yield portions of examples, at least one in each, and whether another one follows."""
    portion: list[Example] = []
    characters = 0
    try:
        stream = iter(examples)
    except TypeError as error:
        problem = f"examples is {quoted(examples)}; it must be a list or another iterable"
        raise InputError(problem, remedy="put a single example in a list") from error
    for example in map(as_example, stream):
        size = len(example.question) + len(example.context)
        if portion and (characters + size > _PORTION_CHARACTERS or len(portion) == _PORTION_EXAMPLES):
            yield portion, True
            portion, characters = [], 0
        portion.append(example)
        characters += size
    if portion:
        yield portion, False
