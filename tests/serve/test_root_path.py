"""The server behind a reverse proxy that shows it below a path."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest

from qa_onnx import InputError
from tests.served import Served, serve
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

from qa_onnx.serve import Settings

pytestmark = pytest.mark.slow

BOAT = {"question": "What colour is the boat?", "context": "The boat is blue and the sail is white."}


@contextmanager
def proxy(port: int, change: Callable[[str], str]) -> Iterator[str]:
    """A reverse proxy for a server on a port, which changes the paths; the block gets its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            headers = {name: value for name, value in self.headers.items() if name != "Connection"}
            reply = httpx.request(
                self.command,
                f"http://127.0.0.1:{port}{change(self.path)}",
                headers=headers,
                content=self.rfile.read(size),
                timeout=PATIENCE_S,
                trust_env=False,
            )
            self.send_response(reply.status_code)
            for name, value in reply.headers.items():
                if name not in {"transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def check_below(client: httpx.Client, root: str) -> None:
    """The page, the documents and the endpoints work below a path, and links lead nowhere else."""
    page = client.get(f"{root}/")
    assert page.status_code == 200
    assert "<title>" in page.text
    documents = client.get(f"{root}/docs")
    assert 'href="openapi.json"' in documents.text  # relative to /qa/docs
    schema = client.get(f"{root}/openapi.json").json()
    assert schema["servers"] == [{"url": root}]
    assert {"/v1/answer", "/health/ready"} <= set(schema["paths"])
    for path in ("/health/ready", "/v1/bundle", "/metrics", "/v2"):
        assert client.get(root + path).status_code == 200, path
    reply = client.post(schema["servers"][0]["url"] + "/v1/answer", json=BOAT)
    assert reply.status_code == 200
    assert reply.json()["state"] == "answer"
    missing = client.get(f"{root}/nothing")
    assert missing.status_code == 404
    assert missing.headers["Content-Type"] == "application/problem+json"
    refused = client.post(f"{root}/v1/answer", json={"question": 1})
    assert refused.status_code == 422
    assert client.get(f"{root}/v2/models/none").json().keys() == {"error"}  # in the form of that protocol
    counted = re.findall(r"^qa_onnx_requests_total\{(.*)\}", client.get(f"{root}/metrics").text, re.MULTILINE)
    assert 'code="200",endpoint="/v1/answer"' in counted


@pytest.fixture(scope="module")
def below() -> Iterator[Served]:
    with serve("--root-path", "/tools/qa/") as running:
        yield running


@pytest.mark.parametrize("cuts", [True, False], ids=["the proxy cuts it off", "the proxy passes it on"])
def test_a_proxy_shows_the_server_below_a_path(below: Served, cuts: bool) -> None:
    def change(path: str) -> str:
        return path.removeprefix("/tools/qa") if cuts else path

    with proxy(below.port, change) as address, httpx.Client(base_url=address, trust_env=False) as client:
        check_below(client, "/tools/qa")


def test_the_path_without_its_slash_leads_to_the_page(below: Served) -> None:
    reply = below.client.get("/tools/qa")
    assert (reply.status_code, reply.headers["Location"]) == (307, "/tools/qa/")


def test_probes_reach_the_server_without_the_path(below: Served) -> None:
    assert below.client.get("/health/ready").status_code == 200
    assert below.client.get("/tools/qax/health/ready").status_code == 404


def test_the_page_asks_below_the_path(below: Served, browser: Browser) -> None:
    with proxy(below.port, lambda path: path.removeprefix("/tools/qa")) as address:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        with page.expect_response(lambda reply: reply.url.endswith("/v1/bundle")) as reply:
            page.goto(f"{address}/tools/qa/")
        assert reply.value.status == 200
        assert [url for url in asked if not url.startswith((f"{address}/tools/qa/", "data:"))] == []
        page.close()


@pytest.mark.parametrize("root", ["qa", "/qa?x", "//qa", "/qa/../v1", "/q a", "http://host/qa", "/qa//", "/é"])
def test_a_root_path_that_is_none_is_refused(root: str) -> None:
    with pytest.raises(InputError, match=r"root_path is .*; it must be a path such as /qa"):
        Settings(root_path=root)


@pytest.mark.parametrize(("root", "kept"), [("", ""), ("/", ""), ("/qa/", "/qa"), ("/a-b/c.d", "/a-b/c.d")])
def test_a_slash_at_the_end_of_a_root_path_is_not_kept(root: str, kept: str) -> None:
    assert Settings(root_path=root).root_path == kept


def test_a_root_path_that_an_endpoint_begins_with_is_refused(below: Served) -> None:
    """Where a proxy cuts /v1 off, /v1/v1/answer comes as /v1/answer, and would be /answer below /v1."""
    paths = {*below.client.get("/openapi.json").json()["paths"], "/docs", "/openapi.json"}
    roots = {path[:end] for path in paths for end in range(2, len(path) + 1) if path[end : end + 1] in {"", "/"}}
    assert {"/v1", "/v2", "/health", "/v1/answer"} <= roots
    for root in roots:
        with pytest.raises(InputError, match="is a path of the server's own: choose another one, such as /qa/"):
            Settings(root_path=root.replace("{", "").replace("}", ""))
    for root in ("/v1/qa", "/v3", "/documents", "/api/v1", "/v1beta"):
        assert Settings(root_path=root).root_path == root
