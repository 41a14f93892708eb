"""Options that several commands share."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from qa_onnx.engines.names import ENGINES, PRECISIONS
from qa_onnx.options import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qa_onnx import Options, Reader
    from qa_onnx.options import Bounds


def _threshold(ctx: click.Context, param: click.Parameter, value: str | None) -> float | Literal["bundle"] | None:
    """A number, `off` for None; not set is another thing than off."""
    if value is None:
        return "bundle"
    if value == "off":
        return None
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number nor off", ctx, param) from None


def between(option: str, table: Mapping[str, Bounds] = BOUNDS) -> click.IntRange | click.FloatRange:
    """Return the type of an option whose bounds are in a table."""
    low, high = table[option]
    if isinstance(low, int) and isinstance(high, int):
        return click.IntRange(low, high)
    return click.FloatRange(low, high)


bundle_option = click.option(
    "-b",
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Folder of the bundle.  [default: the one that comes with qa-onnx]",
)

_READER_OPTIONS = (
    bundle_option,
    click.option("--precision", type=click.Choice(PRECISIONS), help="[default: the best for engine and device]"),
    click.option("--device", type=click.Choice(["cpu", "cuda"]), help="[default: cpu, or what tune found]"),
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        help="openvino runs int8-static and fp32 graphs on the CPU, and it alone the bf16 precisions; tensorrt, "
        "with --device cuda, unfused ones.  [default: onnxruntime, openvino for bf16, or what tune found]",
    ),
    click.option("--allow-fallback", is_flag=True, help="Warn, and use the CPU, where the GPU cannot be used."),
    click.option("--threads", type=between("threads"), help="Of one run on the CPU.  [default: all cores]"),
    click.option("--n-best", type=between("n_best"), help="How many answers to show.  [default: 1]"),
    click.option("--max-answer-length", type=between("max_answer_length"), metavar="TOKENS", help="[default: 30]"),
    click.option(
        "--doc-stride",
        type=between("doc_stride"),
        metavar="TOKENS",
        help="Overlap of two windows of a long text.  [default: 128]",
    ),
    click.option(
        "--null-threshold",
        callback=_threshold,
        metavar="X|off",
        help="Say 'no answer' when its score leads by more than X; off: always answer.  [default: the bundle's]",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSettings:
    """What the user set of the options above; None where nothing was."""

    bundle: Path | None
    precision: str | None
    device: str | None
    engine: str | None
    allow_fallback: bool
    threads: int | None
    n_best: int | None
    max_answer_length: int | None
    doc_stride: int | None
    null_threshold: float | Literal["bundle"] | None

    def runtime(self) -> dict[str, Any]:
        """What was set of how to run the bundle, as `Reader.load` takes it."""
        return {name: getattr(self, name) for name in ("precision", "device", "engine", "threads")}

    def load(self) -> tuple[Reader, Options]:
        """The reader, and its options with the user's changes."""
        import dataclasses

        from qa_onnx import Reader

        reader = Reader.load(self.bundle, **self.runtime(), allow_fallback=self.allow_fallback)
        chosen = {
            "n_best": 1 if self.n_best is None else self.n_best,
            "max_answer_length": self.max_answer_length,
            "doc_stride": self.doc_stride,
        }
        changes: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
        return reader, dataclasses.replace(reader.options, null_threshold=self.null_threshold, **changes)


def reader_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that set up a reader, as one argument `settings`."""

    @functools.wraps(command)  # which also hands on the options that it has so far
    def call(**values: Any) -> None:
        settings = ReaderSettings(**{name: values.pop(name) for name in ReaderSettings.__dataclass_fields__})
        command(settings=settings, **values)

    decorated: Callable[..., None] = call
    for option in reversed(_READER_OPTIONS):
        decorated = option(decorated)
    return decorated
