"""What the endpoints read and write, as pydantic models.

Bodies are parsed here and not by FastAPI: pydantic reads JSON strictly (no NaN, no lone surrogates, bounded depth)
and refuses unknown fields, so that a misspelt option is not silently left out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic_core import PydanticCustomError

from qa_onnx.options import BOUNDS
from qa_onnx.serve.offsets import OffsetUnit  # noqa: TC001 - pydantic reads the annotations
from qa_onnx.serve.settings import MAX_EXAMPLES, MAX_N_BEST, MAX_SCORE_CHARACTERS


def _said(message: str) -> WrapValidator:
    """One message in place of one for each choice of a union."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("choice", message) from None

    return WrapValidator(check)


def _whole(value: Any) -> Any:
    """17.0 is an integer to JSON Schema, and to JavaScript."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Threshold = Annotated[
    Number | Literal["bundle"] | None, _said('Input should be a finite number, null (off) or "bundle"')
]
Id = Annotated[
    Annotated[str, Field(max_length=200)]
    | Annotated[int, Field(ge=-(2**53), le=2**53), BeforeValidator(_whole)]
    | None,
    _said("Input should be a string of at most 200 characters, an integer of at most 53 bits, or null"),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AnswerOptions(_Body):
    """How questions are answered; what is left out has the server's default."""

    n_best: int = Field(1, ge=BOUNDS["n_best"].low, le=MAX_N_BEST, description="Answers to give, best first.")
    null_threshold: Threshold = Field(
        "bundle",
        description="There is no answer when null score - best score is greater. null: always answer; "
        "bundle: what it was calibrated to.",
    )
    max_answer_length: int = Field(
        30, ge=BOUNDS["max_answer_length"].low, le=BOUNDS["max_answer_length"].high, description="In tokens."
    )
    doc_stride: int = Field(
        128, ge=BOUNDS["doc_stride"].low, description="Tokens that two windows of a long context share."
    )
    offset_unit: OffsetUnit = Field(
        "character", description="What start and end count: code points, UTF-8 bytes or UTF-16 units."
    )

    _integers = field_validator("n_best", "max_answer_length", "doc_stride", mode="before")(_whole)


class AskOne(AnswerOptions):
    """A question and the context that may answer it."""

    question: str
    context: str


class AskExample(_Body):
    """One of many questions."""

    id: Id = Field(None, description="Comes back with the result.")
    question: str
    context: str


class AskMany(AnswerOptions):
    """Questions with their contexts, answered with the same options."""

    examples: list[AskExample] = Field(min_length=1, max_length=MAX_EXAMPLES)


def _one_or_many(value: Any) -> str:
    return "many" if isinstance(value, dict) and "examples" in value else "one"


Ask = Annotated[Annotated[AskOne, Tag("one")] | Annotated[AskMany, Tag("many")], Discriminator(_one_or_many)]


class AskScores(_Body):
    """A question and a context whose token scores are wanted."""

    question: str
    context: str = Field(max_length=MAX_SCORE_CHARACTERS)
    offset_unit: OffsetUnit = "character"


read_ask: TypeAdapter[AskOne | AskMany] = TypeAdapter(Ask)
read_scores: TypeAdapter[AskScores] = TypeAdapter(AskScores)


class AnswerItem(BaseModel):
    """A piece of the context."""

    text: str
    start: int = Field(ge=0, description="Of its first unit, see offset_unit.")
    end: int = Field(ge=0, description="After its last unit.")
    score: float = Field(description="Start logit + end logit.")
    probability: float = Field(ge=0, le=1, description='Among all spans of the context and "no answer".')


class AnswerResult(BaseModel):
    """What the model makes of one question."""

    question: str
    answer: AnswerItem | None = Field(description="null where there is none.")
    answers: list[AnswerItem] = Field(description="The n best, best first.")
    null_score: float = Field(description='Score of "no answer".')
    null_probability: float = Field(ge=0, le=1)
    warnings: list[str]
    milliseconds: float = Field(ge=0, description="From the request's arrival until this result was ready.")
    offset_unit: OffsetUnit


class ExampleResult(AnswerResult):
    """What the model makes of one of many questions."""

    id: str | int | None


class AnswerResults(BaseModel):
    """Of many questions, in their order."""

    results: list[ExampleResult]


class FieldError(BaseModel):
    """A field at fault."""

    pointer: str = Field(description="JSON pointer into the body.")
    detail: str


class ProblemDetails(BaseModel):
    """Why a request was refused, or failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldError] = Field(default=[], description="The fields at fault, where there are any.")


class FailedExample(BaseModel):
    """A question of a stream that could not be answered."""

    id: str | int | None
    error: ProblemDetails


class TokenScore(BaseModel):
    """A token of the context with its logits, from the window that shows most of what is around it."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    start_logit: float
    end_logit: float


class Scores(BaseModel):
    """The two logits of every token of the context."""

    tokens: list[TokenScore]
    windows: int = Field(ge=1, description="How many the context was cut into.")


class BundleInfo(BaseModel):
    """What is served, and what was measured of it."""

    name: str
    precision: str
    engine: str
    device: str
    threads: int = Field(description="Of one run on the CPU.")
    max_length: int = Field(description="Tokens a window.")
    null_threshold: float | None
    temperature: float
    source: dict[str, Any]
    architecture: dict[str, Any]
    hashes: dict[str, str] = Field(description="SHA-256 of the files in use.")
    receipt: dict[str, Any] | None = Field(description="Measured at export; null where it was not.")
    version: str = Field(description="Of qa-onnx.")


class Health(BaseModel):
    """Of the process, or of its model."""

    status: Literal["alive", "ready"]
