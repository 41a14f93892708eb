"""The whole server of `qa-onnx serve` inside your own FastAPI app: `uvicorn fastapi_mounted:app`, in this folder.

Its page is at /qa/, its endpoints at /qa/v1/answer and so on. Your own endpoints share its reader.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from qa_onnx.serve import Settings, create_app

# Hosts besides localhost, addresses and names without a dot: what clients call your app.
qa = create_app(settings=Settings(allowed_hosts=("app.example.org",)))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with qa.lifespan():  # a mounted app's own lifespan is never run
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/qa", qa)


@app.get("/colour")
async def colour(text: str) -> dict[str, str]:
    answer = await qa.reader.ask("What colour is the boat?", text, timeout_s=10)
    return {"colour": answer.text}
