"""The server inside of another application, and behind a proxy that shows it below a path."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from qa_onnx import ClosedError, MissingExtraError, Reader
from tests.conftest import TINY
from tests.examples.hosted import hosted
from tests.fresh import printed
from tests.serve.test_root_path import BOAT, check_below
from tests.waiting import PATIENCE_S, eventually

if TYPE_CHECKING:
    import subprocess
    from contextlib import AbstractContextManager

from fastapi import FastAPI

from qa_onnx.serve import MountedApp, Settings, create_app

pytestmark = pytest.mark.slow


def uvicorn(application: str) -> AbstractContextManager[tuple[httpx.Client, subprocess.Popen[str]]]:
    """An application of examples/ under uvicorn's own command, and a client for it."""
    return hosted("-m", "uvicorn", application, "--fd", "{fd}", "--no-access-log")


def test_the_server_inside_of_a_fastapi_app() -> None:
    with uvicorn("fastapi_mounted:app") as (client, process):
        check_below(client, "/qa")
        expected = Reader.load().ask(*BOAT.values())
        assert client.get("/colour", params={"text": BOAT["context"]}).json() == {"colour": expected.text}
        assert client.get("/qa", follow_redirects=True).url.path == "/qa/"
        assert client.get("/v1/bundle").status_code == 404  # the host's own 404
        for host, status in (("app.example.org", 200), ("evil.example", 421), ("10.1.2.3", 200)):
            assert client.get("/qa/v1/bundle", headers={"Host": host}).status_code == status
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=PATIENCE_S)
        assert process.returncode in {0, -signal.SIGTERM}
        assert "Finished server process" in log
        assert "Traceback" not in log
        assert '"request_id"' not in log  # the host has not asked for logs


def test_it_runs_by_itself_too() -> None:
    with uvicorn("fastapi_mounted:qa") as (client, _):
        assert client.get("/health/ready").status_code == 200
        assert client.post("/v1/answer", json=BOAT).json()["answer"]["text"] == "blue"
        assert "servers" not in client.get("/openapi.json").json()


@pytest.fixture
def qa() -> MountedApp:
    return create_app(TINY, precision="fp32", threads=1)


async def asked(app: Any, path: str = "/qa/v1/answer") -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.post(path, json=BOAT)


def test_a_lifespan_that_nobody_runs_is_told(qa: MountedApp) -> None:
    app = FastAPI()
    app.mount("/qa", qa)
    reply = asyncio.run(asked(app))
    assert reply.status_code == 503
    assert "FastAPI(lifespan=qa.lifespan)" in reply.json()["detail"]
    with pytest.raises(ClosedError, match="the model is not loaded"):
        qa.reader  # noqa: B018


def test_the_lifespan_may_be_run_again_and_ends_what_it_began(
    qa: MountedApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "qa_onnx")

    async def life() -> list[int]:
        async with qa.lifespan():
            assert (await qa.reader.ask(*BOAT.values())).text
            return [(await asked(qa, "/v1/answer")).status_code, (await asked(qa, "/qa/v1/answer")).status_code]

    before = threading.active_count()
    assert [asyncio.run(life()) for _ in range(2)] == [[200, 404]] * 2
    eventually(lambda: threading.active_count() <= before + 1, "its threads have ended")  # + asyncio's own
    assert asyncio.run(asked(qa, "/v1/answer")).status_code == 503
    assert [record.message for record in caplog.records].count("request") == 4


def test_limits_keys_and_options_are_those_of_the_caller() -> None:
    settings = Settings(keys=(hashlib.sha256(b"k" * 16).digest(),), max_request_bytes=1024)
    options = dataclasses.replace(Reader.load(TINY).options, n_best=3)
    qa = create_app(TINY, precision="fp32", threads=1, settings=settings, options=options)

    async def life() -> list[httpx.Response]:
        async with qa.lifespan():
            transport = httpx.ASGITransport(qa)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                key = {"Authorization": "Bearer " + "k" * 16}
                long = {**BOAT, "context": "x" * 2000}
                return [
                    await client.post("/v1/answer", json=BOAT),
                    await client.post("/v1/answer", json=long, headers=key),
                    await client.post("/v1/answer", json=BOAT, headers=key),
                ]

    locked, large, answered = asyncio.run(life())
    assert (locked.status_code, large.status_code) == (401, 413)
    assert len(answered.json()["answers"]) == 3


def test_what_is_missing_is_told() -> None:
    code = """
import sys
sys.modules["fastapi"] = None
import qa_onnx.serve
try:
    qa_onnx.serve.create_app
except Exception as error:
    print(type(error).__name__, error)
"""
    found = printed(code)
    assert found.startswith(MissingExtraError.__name__)
    assert "pip install 'qa-onnx[serve]'" in found


def test_importing_the_room_imports_no_web_framework() -> None:
    assert printed("import sys, qa_onnx.serve; print('fastapi' in sys.modules)") == "False\n"
