"""Arrow record batches -> the same rows with columns of answers; what `map` and the recipes for clusters run.

Rows keep their order and their other columns. A row that cannot be answered has null answers and the reason in the
column `..._error`; it never stops the others. Needs pyarrow (extra `map`).

Left out: reading and writing files (map.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qa_onnx.errors import InputError, quoted
from qa_onnx.machine.packages import require
from qa_onnx.options import check_bounds
from qa_onnx.windows import Example

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qa_onnx.answers import Prediction
    from qa_onnx.options import Options
    from qa_onnx.reader import Reader

_LONGEST_ERROR = 500  # characters


@dataclass(frozen=True, slots=True)
class Asked:
    """Which columns hold the questions and the contexts, and what the columns of answers are called.

    Attributes:
        context: column of the contexts.
        question: column of the questions; not read where `questions` has any.
        questions: name -> a question that is asked of each row; its columns are `<name>_text` and so on.
        n_best: more than 1: a further column `<name>_n_best` with so many answers, best first.

    Raises:
        InputError: `n_best` is out of its bounds, those of `Options`.
    """

    context: str = "context"
    question: str = "question"
    questions: Mapping[str, str] = field(default_factory=dict)
    n_best: int = 1

    def __post_init__(self) -> None:
        check_bounds("n_best", self.n_best)

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns of answers begin with: the names of the questions; "answer" for a column of them."""
        return tuple(self.questions) or ("answer",)


def answer_schema(schema: Any, asked: Asked = Asked()) -> Any:
    """Return the schema of the rows with their answers, a `pyarrow.Schema`; see `answer_batches`.

    Args:
        schema: of the rows, a `pyarrow.Schema`.
        asked: which columns are read.

    Raises:
        InputError: a column is missing, is there twice, or holds no text; or one of the new names is taken.
        MissingExtraError: pyarrow is not installed.
    """
    require("map")
    return _answered(schema, asked)


def _answered(schema: Any, asked: Asked) -> Any:
    """See `answer_schema`."""
    import pyarrow

    for name in [asked.context, *([] if asked.questions else [asked.question])]:
        _check_column(schema, name)
    taken = [column for column in answer_columns(asked) if column in schema.names]
    if taken:
        raise InputError(
            f"the rows have a column {quoted(taken[0])} already, where an answer would go",
            remedy="rename it" if not asked.questions else "rename it, or name the question otherwise",
        )
    return pyarrow.schema([*schema, *answer_columns(asked).items()], metadata=schema.metadata)


def answer_batches(
    batches: Iterable[Any],
    reader: Reader,
    asked: Asked = Asked(),
    *,
    options: Options | None = None,
) -> Iterator[Any]:
    """Answer the questions of rows.

    The new columns, for each name of `Asked.names`, here "answer":

        answer_text              string   context[start:end]; empty: no answer
        answer_start             int64    index of its first character (code point)
        answer_end               int64    index after its last character
        answer_score             double   start logit + end logit; of "no answer": the null score
        answer_probability       double   0 to 1
        answer_null_probability  double   of "no answer", 0 to 1
        answer_error             string   why the row could not be answered; then the others are null
        answer_n_best            list of {text, start, end, score, probability}; only with `n_best`

    Args:
        batches: of type `pyarrow.RecordBatch`, all of one schema.
        reader: answers them. Load one in each process, not one for each call.
        asked: which columns are read.
        options: of the reader; None: its own. `asked` has the `n_best`.

    Yields:
        A `pyarrow.RecordBatch` for each one, with the same rows in the same order.

    Raises:
        InputError: see `answer_schema`.
        EngineError: the model cannot be run.
        MissingExtraError: pyarrow is not installed.
    """
    require("map")
    import pyarrow

    options = replace(reader.resolve(options), n_best=asked.n_best)
    fields = _fields(asked)
    for batch in batches:
        schema = _answered(batch.schema, asked)
        contexts = _texts(batch, asked.context)
        columns = list(batch.columns)
        for name in asked.names:
            ask = asked.questions.get(name)
            questions = _texts(batch, asked.question) if ask is None else [ask] * batch.num_rows
            rows = [
                _row(reader, result, options)
                for result in _predictions(reader, list(zip(questions, contexts, strict=True)), options)
            ]
            columns += [pyarrow.array([row.get(key) for row in rows], type=kind) for key, kind in fields.items()]
        yield pyarrow.RecordBatch.from_arrays(columns, schema=schema)


def _fields(asked: Asked) -> dict[str, Any]:
    """Names of a question's new columns without its prefix -> their types."""
    import pyarrow as pa

    answer = {
        "text": pa.string(),
        "start": pa.int64(),
        "end": pa.int64(),
        "score": pa.float64(),
        "probability": pa.float64(),
    }
    fields = {**answer, "null_probability": pa.float64(), "error": pa.string()}
    return fields if asked.n_best == 1 else {**fields, "n_best": pa.list_(pa.struct(list(answer.items())))}


def answer_columns(asked: Asked) -> dict[str, Any]:
    """Names of all new columns -> their types."""
    return {f"{name}_{key}": kind for name in asked.names for key, kind in _fields(asked).items()}


def _check_column(schema: Any, name: str) -> None:
    from pyarrow import types

    count = Counter(schema.names)[name]
    if count != 1:
        there = "no" if not count else f"{count}"
        raise InputError(
            f"there {'are' if count else 'is'} {there} column{'s' if count else ''} {quoted(name)}; the columns "
            f"are {quoted(schema.names)}",
            remedy="rename one of them" if count else "name the column of the questions, or of the contexts",
        )
    kind = schema.field(name).type
    value = kind.value_type if types.is_dictionary(kind) else kind
    texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    if not any(is_text(value) for is_text in texts):
        raise InputError(f"the column {quoted(name)} is of type {kind}; it must hold text", remedy="cast it")


def _texts(batch: Any, name: str) -> list[Any]:
    """Return the texts of a column; None where there is none, and bytes where it is not UTF-8."""
    column = batch.column(name)
    try:
        texts: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        texts = column.cast("large_binary").to_pylist()
        for index, text in enumerate(texts):
            try:
                texts[index] = None if text is None else text.decode()
            except UnicodeDecodeError:
                continue
    return texts


def _predictions(
    reader: Reader, pairs: list[tuple[Any, Any]], options: Options
) -> Iterator[Prediction | InputError]:
    """Yield for each question and context a prediction, or why there is none."""
    examples = [_example(*pair) for pair in pairs]
    good = [example for example in examples if isinstance(example, Example)]
    done = reader.steps.predict_each(good, options)
    for example in examples:
        yield next(done) if isinstance(example, Example) else example


def _example(question: Any, context: Any) -> Example | InputError:
    for name, text in (("question", question), ("context", context)):
        if text is None:
            return InputError(f"the {name} is null")
        if isinstance(text, bytes):
            return InputError(f"the {name} is not UTF-8: {quoted(text)}")
    return Example(question, context)


def _row(reader: Reader, result: Prediction | InputError, options: Options) -> dict[str, Any]:
    """Return the values of the new columns."""
    if isinstance(result, InputError):
        return {"error": str(result)[:_LONGEST_ERROR]}
    answer = reader.choose(result, options=options)
    best = [other.to_dict() for other in result.answers]
    return {**answer.to_dict(), "null_probability": result.null_probability, "n_best": best}
