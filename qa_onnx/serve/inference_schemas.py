"""Pydantic models of the Open Inference Protocol, version 2: its requests, which they check, and its responses.

Unknown fields and parameters are refused, but for those of a tensor, where clients leave notes for each other.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from qa_onnx.serve.schemas import AnswerOptions
from qa_onnx.serve.settings import MAX_EXAMPLES

NAMES = ("question", "context")  # of the inputs, both BYTES
OUTPUTS = {
    "text": "BYTES",
    "start": "INT64",
    "end": "INT64",
    "score": "FP64",
    "probability": "FP64",
    "null_probability": "FP64",
}
Rows = Annotated[int, Field(ge=1, le=MAX_EXAMPLES)]


class _Loose(BaseModel):
    model_config = ConfigDict(strict=True)  # ignores unknown fields


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


def _flat(value: Any) -> Any:
    """Flatten the data of a tensor of shape [N, 1], before anything else of it is looked at."""
    if not isinstance(value, list):
        return value
    if len(value) > MAX_EXAMPLES:
        raise PydanticCustomError("rows", f"Input should have at most {MAX_EXAMPLES} rows")
    rows = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in value]
    if not all(isinstance(row, str) for row in rows):
        raise PydanticCustomError("rows", "Input should be an array of strings, or of arrays of one string each")
    return rows


class InferInputParameters(_Loose):
    """Parameters of an input; those of other servers are ignored."""

    binary_data_size: int | None = Field(
        None, ge=0, description="Bytes of this tensor after the JSON, instead of `data`."
    )
    shared_memory_region: Any = Field(None, description="Not supported: this server shares no memory.")


class InferInput(_Strict):
    """A column of texts: every question, or every context."""

    name: Literal["question", "context"]
    shape: list[Rows] = Field(min_length=1, max_length=2, description="[N] or [N, 1].")
    datatype: Literal["BYTES"]
    parameters: InferInputParameters = Field(default_factory=lambda: InferInputParameters.model_validate({}))
    data: Annotated[list[str], BeforeValidator(_flat)] | None = Field(None, description="N texts.")

    @model_validator(mode="after")
    def _check(self) -> InferInput:
        if len(self.shape) == 2 and self.shape[1] != 1:
            raise PydanticCustomError("shape", "shape should be [N] or [N, 1]")
        if self.parameters.shared_memory_region is not None:
            raise PydanticCustomError("memory", "shared memory is not supported: send the data with the request")
        if (self.data is None) == (self.parameters.binary_data_size is None):
            raise PydanticCustomError("data", "give either data or the parameter binary_data_size")
        if self.data is not None and len(self.data) != self.shape[0]:
            raise PydanticCustomError("data", f"data has {len(self.data)} rows, but shape says {self.shape[0]}")
        return self


class InferOutputParameters(_Loose):
    """Parameters of an output; those of other servers are ignored."""

    binary_data: bool | None = Field(None, description="Return it after the JSON.")
    classification: Any = Field(None, description="Not supported.")
    shared_memory_region: Any = Field(None, description="Not supported.")


class InferRequestedOutput(_Strict):
    """An output that is asked for."""

    name: Literal["text", "start", "end", "score", "probability", "null_probability"]
    parameters: InferOutputParameters = Field(default_factory=lambda: InferOutputParameters.model_validate({}))

    @model_validator(mode="after")
    def _check(self) -> InferRequestedOutput:
        if self.parameters.classification is not None or self.parameters.shared_memory_region is not None:
            raise PydanticCustomError("output", "classification and shared memory are not supported: omit them")
        return self


class InferParameters(AnswerOptions):
    """Options of a request, those of /v1/answer; those that are missing have the server's defaults."""

    n_best: Literal[1] = Field(1, description="A row has one answer.")
    evidence: Literal[False] = Field(default=False, description="No output has it.")
    binary_data_output: bool = Field(
        default=False, description="Return all outputs after the JSON, unless one says otherwise."
    )


class InferRequest(_Strict):
    """Questions with their contexts, row by row."""

    id: str | None = Field(None, max_length=200, description="Returned with the response.")
    parameters: InferParameters = Field(default_factory=lambda: InferParameters.model_validate({}))
    inputs: list[InferInput] = Field(min_length=2, max_length=2, description="question and context.")
    outputs: list[InferRequestedOutput] = Field(
        default=[], max_length=len(OUTPUTS), description="What to return; none: all."
    )

    @model_validator(mode="after")
    def _check(self) -> InferRequest:
        first, second = self.inputs
        if first.name == second.name:
            raise PydanticCustomError("inputs", "there must be one input question and one input context")
        if first.shape[0] != second.shape[0]:
            raise PydanticCustomError("inputs", "question and context must have the same number of rows")
        if len({output.name for output in self.outputs}) < len(self.outputs):
            raise PydanticCustomError("outputs", "an output is named twice: name each once")
        return self


class TensorMetadata(BaseModel):
    """An input or an output of the model."""

    name: str
    datatype: str
    shape: list[int] = Field(description="-1: as many as there are rows in the request.")


class ModelMetadata(BaseModel):
    """The model: a bundle that takes texts, and answers in a row of all outputs for each.

    Where a context has no answer, or one that is less probable than min_probability, `text` is empty, `start` and
    `end` are -1, and `score` and `probability` are those of "no answer". `start` and `end` count characters unless
    the parameter offset_unit says otherwise.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(BaseModel):
    """The server."""

    name: str
    version: str = Field(description="Of qa-onnx.")
    extensions: list[str]


class Live(BaseModel):
    """Health of the process."""

    live: bool


class Ready(BaseModel):
    """Health of the model."""

    ready: bool


class ModelReady(Ready):
    """Health of a model by its name."""

    name: str


class InferOutput(BaseModel):
    """A column of results, row by row."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = Field(
        default=None, description="binary_data_size: its bytes after the JSON, instead of data."
    )
    data: list[str] | list[int] | list[float] | None = None


class InferResponse(BaseModel):
    """The answers; with binary outputs, their bytes follow."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]


class ProtocolError(BaseModel):
    """Why a request was refused, or failed."""

    error: str
