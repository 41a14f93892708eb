"""AsyncClient: `Client` for asyncio, with the same calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

from qa_onnx.client import messages
from qa_onnx.client.attempts import Reply, ServerTarget
from qa_onnx.client.sync_client import LIMITS, POLL_S
from qa_onnx.errors import DeadlineError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from typing import Self, Unpack

    from qa_onnx.answers import Answer
    from qa_onnx.client.attempts import Attempts
    from qa_onnx.client.messages import AskOptions, Exchange, ServedPrediction, T
    from qa_onnx.windows import AnyExample


class AsyncClient:
    """Asks a server; an async context manager, for the tasks of one event loop. See `Client`, also for errors.

    Args:
        url: of the server.
        api_key: if the server wants one.
        timeout_s: seconds that a request may take with all of its attempts.
        retries: attempts after the first one, at most.
        http: sends the requests; it stays open. None: one of its own.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 5,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._target = ServerTarget(url=url, api_key=api_key, timeout_s=timeout_s, retries=retries)
        self._own = http is None
        self._http = httpx.AsyncClient(limits=LIMITS) if http is None else http

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target.url!r})"

    async def ask(
        self, question: str, context: str, *, timeout_s: float | None = None, **options: Unpack[AskOptions]
    ) -> Answer:
        """Answer one question from one context; see `Client.ask`."""
        return await self._result(messages.asking_one(question, context, options), timeout_s)

    async def predict(
        self, examples: Iterable[AnyExample], *, timeout_s: float | None = None, **options: Unpack[AskOptions]
    ) -> list[ServedPrediction]:
        """Predict any number of examples; see `Client.predict`."""
        return [found async for found in self.predict_iter(examples, timeout_s=timeout_s, **options)]

    async def predict_iter(
        self, examples: Iterable[AnyExample], *, timeout_s: float | None = None, **options: Unpack[AskOptions]
    ) -> AsyncIterator[ServedPrediction]:
        """Predict a stream of examples; see `Client.predict_iter`."""
        for request in messages.asking_many(examples, options):
            for found in await self._result(request, timeout_s):
                yield found

    async def bundle(self) -> dict[str, Any]:
        """Return what the server says of its bundle; see `Client.bundle`."""
        return await self._result(messages.bundle_info(), None)

    async def is_alive(self) -> bool:
        """Return whether the server answers at all; see `Client.is_alive`."""
        return await self._healthy("/health/live", self._target.timeout_s)

    async def is_ready(self) -> bool:
        """Return whether the server answers questions now; see `Client.is_ready`."""
        return await self._healthy("/health/ready", self._target.timeout_s)

    async def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the server answers questions; DeadlineError after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._healthy("/health/ready", timeout_s):
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise DeadlineError(f"{self._target.url} was not ready within {timeout_s:g} s") from None

    async def close(self) -> None:
        """Close the connections; it may be called several times."""
        if self._own:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _result(self, request: Exchange[T], timeout_s: float | None) -> T:
        attempts = self._target.attempts(request, timeout_s)
        while True:
            try:
                async with asyncio.timeout(attempts.left()):
                    outcome: Reply | httpx.RequestError = await self._send(request, attempts)
            except httpx.RequestError as error:
                outcome = error
            except TimeoutError:
                raise attempts.too_late() from None
            step = attempts.after(outcome)
            if isinstance(step, Reply):
                return attempts.read(request, step)
            await asyncio.sleep(step)

    async def _send(self, request: Exchange[T], attempts: Attempts) -> Reply:
        method = "GET" if request.content is None else "POST"
        response = await self._http.request(
            method, attempts.address, content=request.content, headers=self._target.headers, timeout=None
        )
        return Reply(response.status_code, response.headers, response.content)

    async def _healthy(self, path: str, timeout_s: float) -> bool:
        try:
            return (await self._http.get(f"{self._target.url}{path}", timeout=timeout_s)).status_code == 200
        except httpx.RequestError:
            return False
