"""The two HTML pages, which load nothing from other sites.

`/` is page/page.html with page.css and the scripts beside it inside. `/docs` is made from the OpenAPI document:
FastAPI's own page loads scripts from a content delivery network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from html import escape
from importlib import resources
from typing import Any

from fastapi.responses import HTMLResponse

from qa_onnx.appearance.pages import page

_SCRIPTS = ("head", "examples", "text", "server", "documents", "answers", "expert", "wiring")
_PARTS = ("page.css", "page.html", *(f"{name}.js" for name in _SCRIPTS))
_DOCS = """<h1>qa-onnx</h1>
<p>The endpoints, with their OpenAPI descriptions from <a href="openapi.json">openapi.json</a>.</p>
"""


@cache
def demo() -> HTMLResponse:
    """Return the page at /, with its style and its scripts, in their order, inside."""
    folder = resources.files("qa_onnx.serve").joinpath("page")
    style, source, *scripts = (folder.joinpath(name).read_text(encoding="utf-8") for name in _PARTS)
    source = source.replace("<style></style>", f"<style>\n{style}</style>")
    return _page(source.replace("<script></script>", "<script>\n" + "\n".join(scripts) + "</script>"))


def docs(document: dict[str, Any]) -> HTMLResponse:
    """Return the page at /docs, made from an OpenAPI document."""
    names, parts = [], []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name, place = f"{method.upper()} {escape(path)}", f"{method}{escape(path)}"
            names += [f'<li><a href="#{place}">{name}</a></li>']
            parts += [f'<h2 id="{place}">{name}</h2><p>{escape(operation["description"])}</p>']
            parts += [_pre({name: operation.get(name) for name in ("requestBody", "responses")})]
    for name, schema in document["components"]["schemas"].items():
        parts += [f'<h2 id="{escape(name)}">{escape(name)}</h2>{_pre(schema)}']
    listed = f'<nav aria-label="Endpoints"><ul>{"".join(names)}</ul></nav>'
    return _page(page("qa-onnx: endpoints", "".join([_DOCS, listed, *parts])))


def _pre(content: Any) -> str:
    """Return JSON with links to the schemas that it names."""
    text = escape(json.dumps(content, indent=2, ensure_ascii=False), quote=False)
    linked = re.sub(r"#/components/schemas/(\w+)", r'<a href="#\1">\1</a>', text)
    return f"<pre>{linked}</pre>"


def _page(source: str) -> HTMLResponse:
    """Return a page that may run only its own script and style, and call only this server."""
    policy = (
        "default-src 'none'",
        f"script-src {_hashes('script', source)}",
        f"style-src {_hashes('style', source)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    headers = {
        "Content-Security-Policy": "; ".join(policy),
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
    return HTMLResponse(source, headers=headers)


def _hashes(tag: str, source: str) -> str:
    """Return the hashes of all elements of a tag, as a policy names them."""
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
