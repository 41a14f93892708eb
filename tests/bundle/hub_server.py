"""A server on the loopback that speaks the part of the Hugging Face hub's protocol that downloads use.

HEAD or GET /org/name/resolve/revision/file   the file, or a redirect to where large ones lie
HEAD or GET /large/sha256                     a large file
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Repository:
    """Files by commit, and the commit of each branch and tag."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def commit(self, files: dict[str, bytes], *refs: str) -> str:
        """Add a commit, let branches or tags point to it, and return its hash."""
        name = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[name] = files
        self.refs |= dict.fromkeys((*refs, name), name)
        return name


class Hub:
    """The server; it runs until it is closed.

    Attributes:
        repositories: by "org/name".
        requests: method and path of each request so far.
        url: of the server.
        failing: whether every request is answered with 503.
        portal: whether every request is answered with a page, as by a network that wants a login first.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.failing = self.portal = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self)

            def do_GET(self) -> None:
                self.wfile.write(hub.answer(self))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Stop the server: the hub cannot be reached any more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> bytes:
        """Send the status and headers of a file, and return its content."""
        self.requests.append(f"{request.command} {request.path}")
        status, headers, content = self._look_up(request.path)
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        return content

    def _look_up(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if self.failing:
            return 503, {}, b""
        if self.portal:
            return 200, {"ETag": '"page"'}, b"<html>Accept our terms</html>"
        parts = path.strip("/").split("/")
        if parts[0] == "large":
            everything = (
                file
                for one in self.repositories.values()
                for files in one.commits.values()
                for file in files.values()
            )
            content = next(file for file in everything if hashlib.sha256(file).hexdigest() == parts[1])
            return 200, {"ETag": f'"{parts[1]}"'}, content
        repository = self.repositories.get("/".join(parts[:2]))
        if repository is None:
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        if repository.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        commit = repository.refs.get(parts[3])
        if commit is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        files = repository.commits[commit]
        if parts[4] not in files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        content = files[parts[4]]
        sha256 = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        if not path.endswith(".onnx"):
            return 200, headers, content
        headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
        # Another host than the hub's: to one of its own, huggingface_hub would follow while it asks for the size.
        return 302, {**headers, "Location": f"{self.url.replace('127.0.0.1', 'localhost')}/large/{sha256}"}, b""


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder, and others that a repository has beside a bundle's."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return {**files, "README.md": b"# A model", "pytorch_model.bin": b"no part of a bundle"}
