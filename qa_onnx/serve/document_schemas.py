"""Pydantic models of the responses about documents, and of progress; the requests are in schemas.py."""

from __future__ import annotations

from pydantic import BaseModel, Field

from qa_onnx.retrieval.document_answers import Stopped  # noqa: TC001 - pydantic reads the annotations
from qa_onnx.serve.schemas import AnswerResult


class DocumentText(BaseModel):
    """The text of a file."""

    name: str
    kind: str = Field(description="text, markdown, html, pdf, docx, csv or tsv.")
    pages: int = Field(ge=1, description="1 where the file has none.")
    text: str = Field(description="Its pages are separated by a newline and a form feed.")


class DocumentsResult(AnswerResult):
    """The answers of several documents to one question; scores are logits above "no answer"."""

    read: int = Field(ge=0, description="Passages that were read.")
    passages: int = Field(ge=0, description="Passages that the documents have.")
    stopped: Stopped = Field(
        description='Why no more were read: "all read"; "read" or "seconds", which are limits; "sure", no other '
        "passage was expected to have a better answer."
    )


class ProgressCount(BaseModel):
    """How much was read so far."""

    done: int = Field(ge=0, description="Windows of the context, or passages of the documents, that were read.")
    total: int = Field(ge=1, description="All of them; of documents, those that are read at most.")


class Progress(BaseModel):
    """A line before the result, where the request asks for progress."""

    progress: ProgressCount
