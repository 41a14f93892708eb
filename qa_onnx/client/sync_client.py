"""Client: a server of `qa-onnx serve`, with the calls of a Reader."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx

from qa_onnx.client import messages
from qa_onnx.client.attempts import Reply, ServerTarget
from qa_onnx.errors import DeadlineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self, Unpack

    from qa_onnx.answers import Answer
    from qa_onnx.client.attempts import Attempts
    from qa_onnx.client.messages import AskOptions, Exchange, ServedPrediction, T
    from qa_onnx.windows import AnyExample

LIMITS = httpx.Limits(keepalive_expiry=2.0)  # the server closes connections that idle for 5 s
POLL_S = 0.2  # between two looks whether a server is ready


class Client:
    """Asks a server; a context manager. Any number of threads may share one.

    A busy or starting server, and a broken connection, are tried again after the time that the server asks for, as
    long as there is time.

    Args:
        url: of the server, such as http://127.0.0.1:8000 or https://example.org/qa.
        api_key: if the server wants one.
        timeout_s: seconds that a request may take with all of its attempts. Only a server that falls silent in the
            middle of its answer can take twice as long.
        retries: attempts after the first one, at most.
        http: sends the requests; it stays open. None: one of its own. Give one to set certificates, a proxy or a
            number of connections.

    Raises:
        InputError: the URL, the key or a number is not usable.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 5,
        http: httpx.Client | None = None,
    ) -> None:
        self._target = ServerTarget(url=url, api_key=api_key, timeout_s=timeout_s, retries=retries)
        self._own = http is None
        self._http = httpx.Client(limits=LIMITS) if http is None else http

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target.url!r})"

    def ask(
        self, question: str, context: str, *, timeout_s: float | None = None, **options: Unpack[AskOptions]
    ) -> Answer:
        """Answer one question from one context, as `Reader.ask` does.

        Args:
            question: in plain words.
            context: a text; a server takes 1 MiB by default.
            timeout_s: instead of the client's own.
            options: instead of the server's own.

        Raises:
            ServerError: the server refused, failed or could not be reached; see its `status`.
            DeadlineError: there was no answer in time.
            InputError: a text is not a str, or an option cannot be written as JSON.
        """
        return self._result(messages.asking_one(question, context, options), timeout_s)

    def predict(
        self, examples: Iterable[AnyExample], *, timeout_s: float | None = None, **options: Unpack[AskOptions]
    ) -> list[ServedPrediction]:
        """Predict any number of examples, or (question, context) tuples or dicts; see `predict_iter`."""
        return list(self.predict_iter(examples, timeout_s=timeout_s, **options))

    def predict_iter(
        self, examples: Iterable[AnyExample], *, timeout_s: float | None = None, **options: Unpack[AskOptions]
    ) -> Iterator[ServedPrediction]:
        """Predict a stream of examples, up to 64 in a request; errors are those of `ask`.

        Args:
            examples: questions with their contexts.
            timeout_s: for each request, instead of the client's own.
            options: instead of the server's own.

        Yields:
            A prediction for each example, in their order, with the answer that the server chose.
        """
        for request in messages.asking_many(examples, options):
            yield from self._result(request, timeout_s)

    def bundle(self) -> dict[str, Any]:
        """Return what the server says of its bundle: name, precision, engine, hashes, receipt."""
        return self._result(messages.bundle_info(), None)

    def is_alive(self) -> bool:
        """Return whether the server answers at all, and needs no restart; it is asked once."""
        return self._healthy("/health/live", self._target.timeout_s)

    def is_ready(self) -> bool:
        """Return whether the server answers questions now; it is asked once."""
        return self._healthy("/health/ready", self._target.timeout_s)

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until the server answers questions.

        Raises:
            DeadlineError: it does not after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            if self._healthy("/health/ready", left):
                return
            time.sleep(min(POLL_S, left))
        raise DeadlineError(f"{self._target.url} was not ready within {timeout_s:g} s")

    def close(self) -> None:
        """Close the connections; it may be called several times."""
        if self._own:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _result(self, request: Exchange[T], timeout_s: float | None) -> T:
        attempts = self._target.attempts(request, timeout_s)
        while True:
            try:
                outcome: Reply | httpx.RequestError = self._send(request, attempts)
            except httpx.RequestError as error:
                outcome = error
            step = attempts.after(outcome)
            if isinstance(step, Reply):
                return attempts.read(request, step)
            time.sleep(step)

    def _send(self, request: Exchange[T], attempts: Attempts) -> Reply:
        method = "GET" if request.content is None else "POST"
        content, headers, left = request.content, self._target.headers, attempts.left()
        with self._http.stream(
            method, attempts.address, content=content, headers=headers, timeout=left
        ) as response:
            parts = []
            for part in response.iter_bytes():
                parts.append(part)
                attempts.left()
            return Reply(response.status_code, response.headers, b"".join(parts))

    def _healthy(self, path: str, timeout_s: float) -> bool:
        try:
            return self._http.get(f"{self._target.url}{path}", timeout=timeout_s).status_code == 200
        except httpx.RequestError:
            return False
