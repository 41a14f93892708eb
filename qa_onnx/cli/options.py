"""Options and arguments that several commands share."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from qa_onnx.engines.names import DEVICES, ENGINES, PRECISIONS
from qa_onnx.machine.files import did_you_mean
from qa_onnx.options import BOUNDS, CALL_OPTIONS, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from qa_onnx import Reader
    from qa_onnx.options import Bounds


def _threshold(ctx: click.Context, param: click.Parameter, value: str | None) -> float | Literal["bundle"] | None:
    """Read a number, or `off` as None; without the option the bundle decides."""
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


# Options that stay as the reader has them where the user sets none; the other two have defaults of their own.
CHANGES = tuple(name for name in CALL_OPTIONS if name not in {"n_best", "null_threshold"})

_Command = TypeVar("_Command", bound="Callable[..., Any]")
_REVISION = "qa_onnx.revision"  # keys of the context
_SIGNATURE = "qa_onnx.require_signature"


def _keep_revision(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    ctx.meta[_REVISION] = value


def _bundle(ctx: click.Context, _: click.Parameter, value: str | None) -> Path | None:
    """Return where the bundle is that the user named; a name on the hub is fetched if it is not here."""
    from qa_onnx.bundle.folder import bundle_path

    revision = ctx.meta.get(_REVISION)
    if value is None and revision is None:
        return None
    return bundle_path(value, revision=revision, require_signature=ctx.meta.get(_SIGNATURE))


def _keep_signature(ctx: click.Context, _: click.Parameter, value: Path | None) -> Path | None:
    ctx.meta[_SIGNATURE] = value
    return value


def bundle_option(command: _Command) -> _Command:
    """Add the options that name a bundle; the command gets its folder, or None for the default one."""
    revision = click.option(
        "--revision",
        is_eager=True,  # it is read before --bundle
        expose_value=False,
        callback=_keep_revision,
        help="Branch, tag or commit of a bundle on the hub.  [default: main]",
    )
    bundle = click.option(
        "-b",
        "--bundle",
        metavar="BUNDLE",
        callback=_bundle,
        help="Folder or .qab file of a bundle, or org/name on the hub.  [default: the bundle of qa-onnx]",
    )
    return bundle(revision(command))


class BundleCommand(click.Command):
    """Command about a bundle that takes options alone; its errors explain how to name the bundle."""

    allow_extra_args = True  # to explain them

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse words without an option."""
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            ctx.fail(f"unexpected argument {rest[0]!r}: did you mean -b {shlex.quote(rest[0])}?")
        return rest


class ExistingPath(click.Path):
    """Path that must exist; the error names one that is much like it, if there is one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            if instead := did_you_mean(value):
                raise click.BadParameter(f"{error.message.rstrip('.')}: {instead}", ctx, param) from None
            raise


class DataPath(ExistingPath):
    """Path of data that must exist, or the name of a data set on the Hugging Face hub."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; the name of a data set is not looked up here."""
        from qa_onnx.data.hub import is_name

        return self.coerce_path_result(value) if is_name(str(value)) else super().convert(value, param, ctx)


data_file = DataPath(exists=True, dir_okay=False, path_type=Path)
data_option = click.option(
    "--data",
    type=data_file,
    help="Questions like yours, a file or the name of a data set on the hub.  [default: questions that come with "
    "qa-onnx]",
)
limit_option = click.option(
    "--limit", type=click.IntRange(1), help="Size of a random sample of the questions.  [default: all]"
)
seed_option = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random choices."
)
threads_option = click.option(
    "--threads", type=between("threads"), help="Threads of one run on the CPU.  [default: all cores]"
)

_READER_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "bundle": bundle_option,
    "require_signature": click.option(
        "--require-signature",
        type=click.Path(path_type=Path),
        metavar="KEY",
        is_eager=True,  # a bundle on the hub is checked while it is fetched
        callback=_keep_signature,
        help="Public key that must have signed the bundle, see qa-onnx sign.  [default: none]",
    ),
    "precision": click.option(
        "--precision", type=click.Choice(PRECISIONS), help="[default: the best for engine and device]"
    ),
    "device": click.option("--device", type=click.Choice(DEVICES), help="[default: cpu, or the result of tune]"),
    "engine": click.option(
        "--engine",
        type=click.Choice(ENGINES),
        help="openvino runs int8-static and fp32 graphs on the CPU, and it alone the bf16 precisions; tensorrt, "
        "with --device cuda, unfused ones.  [default: the result of tune, or the fastest that is known here]",
    ),
    "allow_fallback": click.option(
        "--allow-fallback", is_flag=True, help="Use the CPU, with a warning, if the GPU cannot be used."
    ),
    "threads": threads_option,
    "n_best": click.option("--n-best", type=between("n_best"), help="Number of answers to show.  [default: 1]"),
    "overlapping": click.option(
        "--overlapping/--no-overlapping",
        default=None,
        help="Let answers overlap, each with the probability of itself alone.  [default: no-overlapping]",
    ),
    "max_answer_length": click.option(
        "--max-answer-length",
        type=between("max_answer_length"),
        metavar="TOKENS",
        help=f"Longest answer.  [default: {Options().max_answer_length}]",
    ),
    "doc_stride": click.option(
        "--doc-stride",
        type=between("doc_stride"),
        metavar="TOKENS",
        help=f"Overlap of two windows of a long text.  [default: {Options().doc_stride}]",
    ),
    "across_blocks": click.option(
        "--across-blocks/--no-across-blocks",
        default=None,
        help="Let answers run from one paragraph, list item or table cell into the next one.  "
        "[default: no-across-blocks]",
    ),
    "align_to_words": click.option(
        "--align-to-words/--no-align-to-words",
        default=None,
        help="Widen an answer that begins or ends inside a word to the whole word.  [default: align-to-words]",
    ),
    "min_probability": click.option(
        "--min-probability",
        type=between("min_probability"),
        metavar="P",
        help="Withhold an answer that is less probable, from 0 to 1: the question is unsure.  [default: 0]",
    ),
    "null_threshold": click.option(
        "--null-threshold",
        callback=_threshold,
        metavar="X|off",
        help="Give no answer if the score of 'no answer' leads by more than X; off: always answer.  "
        "[default: the bundle's]",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSettings:
    """The values of the options above; None for those that the user did not set."""

    bundle: Path | None
    require_signature: Path | None
    precision: str | None
    device: str | None
    engine: str | None
    allow_fallback: bool
    threads: int | None
    n_best: int | None
    overlapping: bool | None
    max_answer_length: int | None
    doc_stride: int | None
    across_blocks: bool | None
    align_to_words: bool | None
    min_probability: float | None
    null_threshold: float | Literal["bundle"] | None

    def runtime(self) -> dict[str, Any]:
        """Return the options that `Reader.load` takes."""
        return {name: getattr(self, name) for name in ("precision", "device", "engine", "threads")}

    def load(self) -> tuple[Reader, Options]:
        """Return the reader, and its options with the user's changes."""
        from qa_onnx import Reader

        reader = Reader.load(
            self.bundle,
            **self.runtime(),
            require_signature=self.require_signature,
            allow_fallback=self.allow_fallback,
        )
        return reader, self.change(reader.options)

    def change(self, options: Options) -> Options:
        """Return options with the user's changes."""
        changes: dict[str, Any] = {"n_best": 1 if self.n_best is None else self.n_best}
        for name in CHANGES:
            if getattr(self, name) is not None:
                changes[name] = getattr(self, name)
        return dataclasses.replace(options, null_threshold=self.null_threshold, **changes)


def reader_options(command: Callable[..., None], *, without: Collection[str] = ()) -> Callable[..., None]:
    """Add the options that set up a reader to a command, which gets them as one argument `settings`.

    Args:
        command: the command.
        without: fields of `ReaderSettings` that get no option, and are None or False.
    """

    @functools.wraps(command)  # this also copies the options that the command has so far
    def call(**values: Any) -> None:
        fields = ReaderSettings.__dataclass_fields__
        left_out: dict[str, Any] = {name: False if name == "allow_fallback" else None for name in without}
        settings = ReaderSettings(**{name: values.pop(name) for name in fields if name not in without}, **left_out)
        command(settings=settings, **values)

    decorated: Callable[..., None] = call
    for name in reversed(_READER_OPTIONS):
        decorated = decorated if name in without else _READER_OPTIONS[name](decorated)
    return decorated
