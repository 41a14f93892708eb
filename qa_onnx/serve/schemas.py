"""Pydantic models of the requests, which they check, and of the responses; FastAPI documents both with them.

Unknown fields are refused, so that a misspelt option is not ignored silently.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)
from pydantic.config import JsonDict  # noqa: TC002 - pydantic reads the annotations
from pydantic_core import PydanticCustomError

from qa_onnx.answers import State  # noqa: TC001 - pydantic reads the annotations
from qa_onnx.options import BOUNDS
from qa_onnx.serve.results import OffsetUnit  # noqa: TC001 - pydantic reads the annotations
from qa_onnx.serve.settings import MAX_EXAMPLES, MAX_N_BEST, MAX_SCORE_CHARACTERS

MAX_READ = 1000  # passages of a question of several documents


def _one_message(message: str) -> WrapValidator:
    """Replace the messages of all choices of a union by one."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("choice", message) from None

    return WrapValidator(check)


def _whole(value: Any) -> Any:
    """Turn 17.0 into 17: JSON Schema and JavaScript call both an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Threshold = Annotated[
    Annotated[float, Field(allow_inf_nan=False)] | Literal["bundle"] | None,
    _one_message('Input should be a finite number, null (off) or "bundle"'),
]
Id = Annotated[
    Annotated[str, Field(max_length=200)]
    | Annotated[int, Field(ge=-(2**53), le=2**53), BeforeValidator(_whole)]
    | None,
    _one_message("Input should be a string of at most 200 characters, an integer of at most 53 bits, or null"),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _progress() -> Any:
    return Field(
        default=False,
        description="With Accept: application/jsonl, lines that say how much was read come before the result.",
    )


_DOCUMENTS_EXAMPLE: JsonDict = {
    "question": "When is the rent due?",
    "documents": [
        {"name": "lease.txt", "text": "The rent is 940 euros. It is due on the fifth day of the month."},
        {"name": "rules.txt", "text": "Bicycles are kept in the yard."},
    ],
    "evidence": True,
}


class AnswerOptions(_Body):
    """Options of a request; those that are missing have the server's defaults."""

    n_best: int = Field(1, ge=BOUNDS["n_best"].low, le=MAX_N_BEST, description="Number of answers.")
    overlapping: bool = Field(
        default=False, description="Let answers overlap, each with the probability of itself alone."
    )
    null_threshold: Threshold = Field(
        "bundle",
        description="There is no answer if null score - best score is greater. null: always answer; "
        "bundle: the calibrated threshold of the bundle.",
    )
    min_probability: float = Field(
        0.0,
        ge=BOUNDS["min_probability"].low,
        le=BOUNDS["min_probability"].high,
        description="An answer that is less probable is withheld: the state of the question is unsure.",
    )
    max_answer_length: int = Field(
        30, ge=BOUNDS["max_answer_length"].low, le=BOUNDS["max_answer_length"].high, description="In tokens."
    )
    doc_stride: int = Field(
        128, ge=BOUNDS["doc_stride"].low, description="Overlap of two windows of a long context, in tokens."
    )
    across_blocks: bool = Field(
        default=False, description="Let answers run from one paragraph, list item or table cell into the next one."
    )
    align_to_words: bool = Field(
        default=True, description="Widen an answer that begins or ends inside a word to the whole word."
    )
    evidence: bool = Field(
        default=False, description="Say of each answer where it stands: sentence, paragraph, line, page, place."
    )
    offset_unit: OffsetUnit = Field(
        "character", description="Unit of start and end: code points, UTF-8 bytes or UTF-16 units."
    )

    _integers = field_validator("n_best", "max_answer_length", "doc_stride", mode="before")(_whole)


class AskOne(AnswerOptions):
    """A question and its context."""

    question: str
    context: str
    progress: bool = _progress()


class AskDocument(_Body):
    """A document of which a question is asked."""

    name: str = Field(min_length=1, max_length=1000, description="Different from those of the others.")
    text: str = Field(description="Pages end at form feeds; POST /v1/documents makes it of a file.")


class AskDocuments(AnswerOptions):
    """A question and several documents, of which the best passages are read."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DOCUMENTS_EXAMPLE]})

    question: str
    documents: list[AskDocument] = Field(min_length=1, max_length=MAX_EXAMPLES)
    read: int = Field(50, ge=1, le=MAX_READ, description="Passages that are read at most, the best ones first.")
    all: bool = Field(default=False, description="List all answers, of at least 0.1 or min_probability each.")
    progress: bool = _progress()

    _whole_read = field_validator("read", mode="before")(_whole)


class AskExample(_Body):
    """One of many questions."""

    id: Id = Field(None, description="Returned with the result.")
    question: str
    context: str


class AskMany(AnswerOptions):
    """Several questions with their contexts, answered with the same options."""

    examples: list[AskExample] = Field(min_length=1, max_length=MAX_EXAMPLES)


def _kind_of_ask(value: Any) -> str:
    if not isinstance(value, dict):
        return "one"
    return "many" if "examples" in value else "several" if "documents" in value else "one"


Ask: TypeAlias = Annotated[
    Annotated[AskOne, Tag("one")] | Annotated[AskMany, Tag("many")] | Annotated[AskDocuments, Tag("several")],
    Discriminator(_kind_of_ask),
]


class AskScores(_Body):
    """A question and the context whose token scores are requested."""

    question: str
    context: str = Field(max_length=MAX_SCORE_CHARACTERS)
    offset_unit: OffsetUnit = "character"


class ExcerptItem(BaseModel):
    """A part of the context around an answer."""

    text: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)


class EvidenceItem(BaseModel):
    """Where an answer stands in the context."""

    sentence: ExcerptItem
    paragraph: ExcerptItem
    line: int = Field(ge=1)
    page: int = Field(ge=1, description="Pages end at form feeds.")
    occurrence: int | None = Field(description="Which of the places with this text it is; null: not counted.")
    occurrences: int | None


class AnswerItem(BaseModel):
    """A part of the context that may answer the question."""

    text: str
    start: int = Field(ge=0, description="Index of its first unit, see offset_unit.")
    end: int = Field(ge=0, description="Index after its last unit.")
    score: float = Field(description="Start logit + end logit.")
    probability: float = Field(ge=0, le=1, description='Among all spans of the context and "no answer".')
    evidence: EvidenceItem | None = Field(None, description="Only if the request asks for it.")
    document: str = Field("", description="Its name, where several were asked; start and end count in its text.")


class AnswerResult(BaseModel):
    """The answers to one question."""

    question: str
    state: State = Field(description='"unsure": the best answer is less probable than min_probability.')
    answer: AnswerItem | None = Field(description='null unless the state is "answer".')
    answers: list[AnswerItem] = Field(description="The n best, best first.")
    null_score: float = Field(description='Score of "no answer".')
    null_probability: float = Field(ge=0, le=1)
    warnings: list[str]
    milliseconds: float = Field(ge=0, description="Time from the request's arrival to this result.")
    offset_unit: OffsetUnit


class ExampleResult(AnswerResult):
    """The answers to one of several questions."""

    id: str | int | None


class AnswerResults(BaseModel):
    """The answers to several questions, in their order."""

    results: list[ExampleResult]


class FieldError(BaseModel):
    """A wrong field of a request."""

    pointer: str = Field(description="JSON pointer into the body.")
    detail: str


class ProblemDetails(BaseModel):
    """Why a request was refused, or failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldError] = Field(default=[], description="The wrong fields, if any.")


class TokenScore(BaseModel):
    """A token of the context with its logits, from the window with most context around it."""

    start: int = Field(ge=0)
    end: int = Field(ge=0)
    start_logit: float
    end_logit: float


class Scores(BaseModel):
    """The two logits of every token of the context."""

    tokens: list[TokenScore]
    windows: int = Field(ge=1, description="Number of windows of the context.")


class BundleInfo(BaseModel):
    """The bundle that is served, and its measurements."""

    name: str
    precision: str
    engine: str
    device: str
    threads: int = Field(description="Threads of one run on the CPU.")
    max_length: int = Field(description="Tokens of a window.")
    null_threshold: float | None
    temperature: float
    source: dict[str, Any]
    licence: dict[str, str] | None = Field(description="Its name, url and attribution; null: unknown.")
    architecture: dict[str, Any]
    hashes: dict[str, str] = Field(description="SHA-256 of each file in use.")
    receipt: dict[str, Any] | None = Field(description="Measurements of the export, if any.")
    version: str = Field(description="Version of qa-onnx.")


class Health(BaseModel):
    """Health of the process or its model."""

    status: Literal["alive", "ready"]
