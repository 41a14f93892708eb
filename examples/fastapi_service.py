"""Answers inside your own FastAPI app: `uvicorn fastapi_service:app`, in this folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from qa_onnx import AsyncReader, DeadlineError, QueueFullError, Reader


class Question(BaseModel):
    question: str
    context: str = Field(max_length=50_000)  # what your machine reads within timeout_s


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncReader(Reader.load(), max_queue=256) as app.state.reader:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/answer")
async def answer(asked: Question) -> dict[str, Any]:
    try:
        found = await app.state.reader.ask(asked.question, asked.context, timeout_s=10)
    except QueueFullError as full:
        raise HTTPException(429, "busy", {"Retry-After": str(ceil(full.retry_after_s))}) from full
    except DeadlineError as late:
        raise HTTPException(504, "no answer within 10 s") from late
    return {"text": found.text, "start": found.start, "end": found.end, "probability": found.probability}
